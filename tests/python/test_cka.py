"""CKA between layers: the program's and the package's network.cka against NumPy, and what the formats say of it."""
import json, os, subprocess, sys, tempfile, unittest

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("ACTSCOPE_BUILD", "build"))
os.environ["ACTSCOPE_BUILD"] = BUILD
PROGRAM = os.path.join(BUILD, "actscope")
sys.path.insert(0, os.path.join(ROOT, "python"))
import actscope


def hsic1(k, l):
    """Song et al. 2012, of matrices whose diagonals are 0."""
    n = len(k)
    return (np.trace(k @ l) + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k.sum(0) @ l.sum(1))) / (n * (n - 3))


def cka(x, y):
    """Debiased linear CKA, features with values that are not finite left out; None where it does not exist."""
    if len(x) != len(y) or len(x) < 4:
        return None
    grams = []
    for a in (x, y):
        a = a.reshape(len(a), -1).astype(np.float64)
        a = a[:, np.isfinite(a).all(0)]
        k = (a - a.mean(0)) @ (a - a.mean(0)).T
        np.fill_diagonal(k, 0)
        grams.append(k)
    own, other = hsic1(grams[0], grams[0]), hsic1(grams[1], grams[1])
    return hsic1(*grams) / np.sqrt(own * other) if own > 1e-9 and other > 1e-9 else None


def layers(g):
    x = g.standard_normal((70, 8, 6))
    flat = x.reshape(70, -1)
    noise = g.standard_normal((70, 400))
    y = np.maximum(flat @ g.standard_normal((48, 400)), 0) + 30
    holes = flat[:, :20].copy()
    holes[3, 4], holes[8, 9] = np.nan, np.inf
    return {"x": x, "y": y, "noise": noise, "y.gradient": y, "holes": holes, "y.weight": flat[:, :5], "other": noise[:50],
            "constant": np.ones((70, 9)), "three": flat[:3], "nan": np.full((70, 4), np.nan), "f64": flat[:, :3] * 1e140}


@unittest.skipUnless(os.path.exists(PROGRAM), f"{PROGRAM} is not built")
class Cka(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.arrays = {name: a.astype(np.float64 if name == "f64" else np.float32) for name, a in layers(np.random.default_rng(3)).items()}
        self.file = os.path.join(self.directory.name, "net.npz")
        np.savez(self.file, **self.arrays)

    def run_program(self, *arguments):
        return subprocess.run([PROGRAM, "report", "--device", "cpu", "-q", *arguments], capture_output=True, text=True, timeout=300)

    def report(self, *arguments):
        p = self.run_program("--format", "json", *arguments)
        self.assertEqual(p.returncode, 0, p.stderr)
        return json.loads(p.stdout)

    def check(self, found):
        """Against NumPy: activations alone, in the order of the file."""
        names = [name for name in self.arrays if name not in ("y.gradient", "y.weight")]
        self.assertEqual(found["layers"], names)
        for a, row in zip(names, found["matrix"]):
            self.assertEqual(len(row), len(names))
            for b, value in zip(names, row):
                want = cka(self.arrays[a] if a != "f64" else self.arrays[a] / 1e140, self.arrays[b] if b != "f64" else self.arrays[b] / 1e140)
                if want is None:
                    self.assertIsNone(value, (a, b))
                elif a == b:
                    self.assertEqual(value, 1, a)
                else:
                    self.assertIsNotNone(value, (a, b))
                    self.assertLessEqual(abs(value - want), 1e-5, (a, b, value, want))
        np.testing.assert_array_equal(np.array(found["matrix"], float), np.array(found["matrix"], float).T)

    def test_against_numpy(self):
        d = self.report("--statistics", "cka", self.file)
        self.assertEqual(d["options"]["statistics"], ["cka"])
        self.check(d["network"]["cka"])
        self.assertEqual(d["network"]["cka"]["sources"], [self.file] * 9)
        self.assertEqual(self.report("--statistics", "all,cka", self.file)["network"]["cka"], d["network"]["cka"])

    def test_not_asked_for(self):
        self.assertNotIn("cka", self.report(self.file)["network"])
        self.assertNotIn("cka", self.report("--statistics", "all", self.file)["network"])
        self.assertNotIn("CKA", self.run_program(self.file).stdout)

    def test_the_package(self):
        found = actscope.report(self.arrays, statistics="cka", device="cpu")
        self.check(found["network"]["cka"])
        self.assertEqual(found["options"]["statistics"], ["cka"])
        self.assertEqual(actscope.report([self.file], statistics=["profile", "cka"], device="cpu")["network"]["cka"]["matrix"],
                         found["network"]["cka"]["matrix"])

    def test_a_plan(self):
        names = ("x", "y", "noise")
        with actscope.Plan([(n, "float32", self.arrays[n].shape) for n in names], statistics="cka", device="cpu") as plan:
            with self.assertRaises(actscope.NotReadyError):
                plan.cka()
            plan.enqueue([self.arrays[n] for n in names])
            for i, row in enumerate(plan.cka()):
                for j, value in enumerate(row):
                    self.assertLessEqual(abs(value - cka(self.arrays[names[i]], self.arrays[names[j]])), 1e-5)
        with self.assertRaises(actscope.InvalidArgumentError):
            actscope.Plan([("x", "float32", (5, 5), "friend")])
        actscope.Plan([("x", "float32", (9000, 5), "weight")], statistics="cka", device="cpu").close()

    def test_formats(self):
        out = {f: self.run_program("--statistics", "all,cka", "--format", f, self.file) for f in ("table", "jsonl", "csv", "html")}
        for p in out.values():
            self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.check(json.loads(out["jsonl"].stdout.splitlines()[-1])["cka"])
        names = [n for n in self.arrays if n not in ("y.gradient", "y.weight")]
        pairs = [(cka(self.arrays[a], self.arrays[b]), a, b) for i, a in enumerate(names) for b in names[i + 1:] if "f64" not in (a, b)]
        value, a, b = max(p for p in pairs if p[0] is not None)
        self.assertIn(f"{a} and {b}, {value:.2f}", " ".join(out["table"].stdout.split()))
        alone = self.run_program("--statistics", "cka", "--layers", "x", self.file)
        self.assertIn("no two layers can be compared", alone.stdout)

    def test_a_layer_that_cannot_be_read_leaves_the_others(self):
        whole = self.report("--statistics", "cka", self.file)["network"]["cka"]
        file = os.path.join(self.directory.name, "bad.npz")
        np.savez(file, **{n: self.arrays[n] for n in ("x", "y")}, z=self.arrays["noise"])
        with open(file, "rb") as f:
            data = bytearray(f.read())
        at = data.index(self.arrays["y"].tobytes())
        data[at] ^= 1  # a checksum that is wrong
        with open(file, "wb") as f:
            f.write(data)
        p = self.run_program("--format", "json", "--statistics", "cka", file)
        self.assertEqual(p.returncode, 2, p.stderr)
        found = json.loads(p.stdout)["network"]["cka"]
        self.assertEqual(found["layers"], ["x", "z"])
        self.assertEqual(found["matrix"][0][1], whole["matrix"][0][2])

    def test_limits(self):
        np.save(os.path.join(self.directory.name, "long.npy"), np.zeros((4097, 2), np.float32))
        p = self.run_program("--statistics", "cka", os.path.join(self.directory.name, "long.npy"))
        self.assertEqual(p.returncode, 2)
        self.assertIn("CKA of 4097 samples: there may be 4096 at most", p.stderr)
        g = np.random.default_rng(1)
        file = os.path.join(self.directory.name, "two.npz")
        np.savez(file, a=g.standard_normal((900, 20)).astype("f"), b=g.standard_normal((30, 20)).astype("f"))
        d = self.report("--statistics", "cka", "--memory", "1MiB", file)
        self.assertEqual([bool(layer["warnings"]) for layer in d["layers"]], [True, False])
        self.assertIn("900 samples do not fit the memory budget: no CKA", d["layers"][0]["warnings"][0])
        self.assertEqual(d["network"]["cka"]["matrix"], [[None, None], [None, 1]])
        self.assertLessEqual(d["memory"]["held_peak_bytes"], 1 << 20)


if __name__ == "__main__":
    unittest.main()
