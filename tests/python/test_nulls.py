"""--split-half and --null shift: the program and the package against NumPy, and where the fields are."""
import csv, io, json, os, subprocess, sys, tempfile, unittest

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("ACTSCOPE_BUILD", "build"))
os.environ["ACTSCOPE_BUILD"] = BUILD
PROGRAM = os.path.join(BUILD, "actscope")
sys.path.insert(0, os.path.join(ROOT, "python"))
import actscope

FIELDS = ("split_half", "split_half_rms", "noise_floor_shift")


def halves(x):
    """Congruence and root mean product of the correlations in the two halves."""
    x = x.reshape(len(x), -1).astype(np.float64)
    upper = np.triu_indices(x.shape[1], 1)
    a, b = (np.corrcoef(half.T)[upper] for half in (x[:len(x) // 2], x[len(x) // 2:]))
    return a @ b / np.sqrt(a @ a * (b @ b)), np.sqrt(max(0, (a * b).mean()))


@unittest.skipUnless(os.path.exists(PROGRAM), f"{PROGRAM} is not built")
class Nulls(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        g = np.random.default_rng(4)
        self.x = (g.standard_normal((41, 4)) @ g.standard_normal((4, 120)) + g.standard_normal((41, 120))).astype(np.float32)
        self.tails = (g.standard_normal((128, 200)) ** 7).astype(np.float32)
        self.file = os.path.join(self.directory.name, "x.npz")
        np.savez(self.file, x=self.x, tails=self.tails, few=self.x[:5])

    def run_program(self, *arguments):
        return subprocess.run([PROGRAM, "report", "--device", "cpu", "-q", *arguments], capture_output=True, text=True, timeout=300)

    def correlations(self, *arguments):
        p = self.run_program("--format", "json", *arguments, self.file)
        self.assertEqual(p.returncode, 0, p.stderr)
        return json.loads(p.stdout)["options"], [layer["correlation"] for layer in json.loads(p.stdout)["layers"]]

    def test_against_numpy(self):
        options, (x, tails, few) = self.correlations("--split-half", "--null", "shift")
        self.assertEqual((options["split_half"], options["null"]), (True, "shift"))
        for got, array in ((x, self.x), (tails, self.tails)):
            congruence, rms = halves(array)
            self.assertLess(abs(got["split_half"] - congruence), 1e-5)
            self.assertLess(abs(got["split_half_rms"] ** 2 - rms ** 2), 5e-6)
        self.assertGreater(x["split_half"], 0.5)
        self.assertIsNone(few["split_half"])
        self.assertIsNone(few["split_half_rms"])
        # the marginals alone: far below the formula, and where independent features are
        self.assertLess(tails["noise_floor_shift"], 0.8 * tails["noise_floor"])
        self.assertLess(abs(tails["noise_floor_shift"] / tails["mean_abs"] - 1), 0.1)
        self.assertLess(abs(x["noise_floor_shift"] / x["noise_floor"] - 1), 0.05)

    def test_not_asked_for(self):
        options, layers = self.correlations()
        self.assertEqual((options["split_half"], options["null"]), (False, "formula"))
        for name in FIELDS:
            self.assertEqual([c[name] for c in layers], [None] * 3)
        self.assertEqual(self.correlations("--null", "formula")[1], layers)
        p = self.run_program("--null", "permutation", self.file)
        self.assertEqual((p.returncode, p.stdout), (1, ""))
        self.assertIn("--null wants formula or shift, not 'permutation'", p.stderr)

    def test_seed(self):
        floors = [self.correlations("--null", "shift", "--seed", s)[1][0]["noise_floor_shift"] for s in ("0", "0", "1")]
        self.assertEqual(floors[0], floors[1])
        self.assertNotEqual(floors[0], floors[2])

    def test_csv(self):
        rows = list(csv.DictReader(io.StringIO(self.run_program("--split-half", "--format", "csv", self.file).stdout)))
        self.assertAlmostEqual(float(rows[0]["correlation.split_half"]), halves(self.x)[0], 4)
        self.assertEqual([rows[2]["correlation.split_half"], rows[0]["correlation.noise_floor_shift"]], ["", ""])

    def test_the_package(self):
        found = actscope.report({"x": self.x}, split_half=True, null="shift", device="cpu")
        want = self.correlations("--split-half", "--null", "shift")[1][0]
        for name in FIELDS:
            self.assertEqual(found["layers"][0]["correlation"][name], want[name])
        self.assertEqual((found["options"]["split_half"], found["options"]["null"]), (True, "shift"))
        with self.assertRaises(actscope.InvalidArgumentError):
            actscope.report({"x": self.x}, null="other")
        file = actscope.report([self.file], split_half=True, null="shift", device="cpu", layers="x")
        self.assertEqual(file["layers"][0]["correlation"]["split_half"], want["split_half"])


if __name__ == "__main__":
    unittest.main()
