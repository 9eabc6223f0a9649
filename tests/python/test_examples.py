"""The examples run, and say what is true: the trainer's last measured line is checked with NumPy against the very
activations it then wrote, and the shipped activations are what it writes."""
import json, os, re, struct, subprocess, tempfile, unittest, zipfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXAMPLES = os.path.join(ROOT, os.environ.get("ACTSCOPE_BUILD", "build"), "examples")
DATA = os.path.join(ROOT, "examples", "data")
LAYERS = ("conv1", "conv2", "fc1", "fc2")


def example(name, *arguments):
    done = subprocess.run([os.path.join(EXAMPLES, name), *arguments], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=120)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def safetensors(path):
    with open(path, "rb") as file:
        raw = file.read()
    length, = struct.unpack("<Q", raw[:8])
    data, out = raw[8 + length:], {}
    for name, entry in json.loads(raw[8:8 + length]).items():
        low, high = entry["data_offsets"]
        kind = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[entry["dtype"]]
        values = np.frombuffer(data[low:high], kind).reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            values = (values.astype("<u4") << 16).view("<f4")
        out[name] = (entry["dtype"], values)
    return out


def features(array):
    return array.reshape(len(array), -1).astype(np.float64)


class TestSmall(unittest.TestCase):
    def test_minimal(self):
        status, out, err = example("minimal")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("8000 finite of 8000", out)
        self.assertIn("8, of which 1 dead", out)
        match = re.search(r"mean \|r\| ([\d.]+) over (\d+) pairs .*?([\d.]+)\), largest ([\d.]+)", out)
        mean, pairs, floor, largest = map(float, match.groups())
        self.assertEqual(pairs, 21)  # 7 features that vary
        self.assertEqual(largest, 1)  # the doubled one
        self.assertAlmostEqual(floor, 0.025, delta=0.001)
        self.assertLess(abs(mean - (1 + 20 * floor) / 21), 0.02)

    def test_plan(self):
        status, out, err = example("plan")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("ACTSCOPE_BUDGET_TOO_SMALL", out)
        rows = re.findall(r"step (\d)  (hidden|feature map) +mean ([\d.]+), mean \|r\| ([\d.]+) \(floor ([\d.]+)\)", out)
        self.assertEqual(len(rows), 6)
        hidden = [float(r) for step, name, mean, r, floor in rows if name == "hidden"]
        maps = [float(r) for step, name, mean, r, floor in rows if name == "feature map"]
        self.assertLess(hidden[0], float(rows[0][4]) * 1.1)  # independent: the floor
        self.assertTrue(hidden[0] < hidden[1] < hidden[2])  # shares more from step to step
        self.assertEqual(maps[0], maps[1])  # skipped at step 1: the last report stays
        self.assertNotEqual(maps[1], maps[2])


class TestDigits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.runs = {}
        for name, options in (("learns", []), ("collapses", ["--rate", "0.3"])):
            folder = os.path.join(cls.folder.name, name)
            os.mkdir(folder)
            cls.runs[name] = folder, *example("digits", "--dump", folder, *options)

    def test_learns(self):
        folder, status, out, err = self.runs["learns"]
        self.assertEqual((status, err), (0, ""))
        self.assertGreater(float(re.search(r"held-out accuracy ([\d.]+) %", out).group(1)), 95)
        losses = [float(line.split()[1]) for line in out.splitlines() if re.match(r" +\d+ +[\d.]+ +[\d.]+ %", line)]
        self.assertGreaterEqual(len(losses), 10)
        self.assertLess(losses[-1], losses[0] / 20)

    def check_measured(self, name):
        """The line "unseen" is about the batch that was written: the same numbers, another way."""
        folder, status, out, err = self.runs[name]
        self.assertEqual((status, err), (0, ""))
        line, = [line for line in out.splitlines() if line.startswith("unseen")]
        for layer, cell in zip(LAYERS, line.split("|")[1:]):
            r, dead, gradient = cell.split()
            x = features(np.load(os.path.join(folder, layer + ".npy")))
            g = features(np.load(os.path.join(folder, layer + ".gradient.npy")))
            self.assertEqual(int(dead), int((np.abs(x).max(axis=0) <= 1e-6).sum()), layer)
            self.assertAlmostEqual(float(gradient), np.sqrt((g * g).sum()), delta=1e-3 + 1e-5 * np.sqrt((g * g).sum()))
            varying = x[:, (x != x[0]).any(axis=0)]
            if varying.shape[1] < 2:
                self.assertEqual(r, "nan", layer)
                continue
            matrix = np.abs(np.corrcoef(varying.T))
            mean = matrix[np.triu_indices(len(matrix), 1)].mean()
            self.assertAlmostEqual(float(r), mean, delta=6e-4, msg=layer)  # three digits are printed

    def test_measured_numbers(self):
        self.check_measured("learns")

    def test_measured_numbers_of_a_dead_network(self):
        self.check_measured("collapses")
        x = features(np.load(os.path.join(self.runs["collapses"][0], "conv2.npy")))
        self.assertEqual(np.abs(x).max(), 0)

    def test_measuring_does_not_change_the_training(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(example("digits", "--every", "0", "--dump", folder)[0], 0)
            for layer in LAYERS:
                with open(os.path.join(folder, layer + ".npy"), "rb") as a, \
                     open(os.path.join(self.runs["learns"][0], layer + ".npy"), "rb") as b:
                    self.assertEqual(a.read(), b.read(), layer)

    def test_types_are_rounded_to_nearest(self):
        tensors = safetensors(os.path.join(self.runs["learns"][0], "activations.safetensors"))
        self.assertEqual([kind for kind, _ in tensors.values()], ["F32", "F32", "BF16", "F16", "F32", "F32"])
        exact = {name: np.load(os.path.join(self.runs["learns"][0], name + ".npy")) for name in ("conv2", "fc1")}
        bits = exact["conv2"].view("<u4").astype(np.uint64)
        rounded = ((bits + 0x7fff + (bits >> 16 & 1)) >> 16 << 16).astype("<u4").view("<f4")
        np.testing.assert_array_equal(tensors["conv2"][1], rounded)
        np.testing.assert_array_equal(tensors["fc1"][1], exact["fc1"].astype(np.float16))

    def test_shipped_data_is_what_the_trainer_writes(self):
        folder = self.runs["learns"][0]
        for shipped, made in (("digits-activations.safetensors", "activations.safetensors"), ("digits-conv2.npy", "conv2.npy")):
            with open(os.path.join(DATA, shipped), "rb") as a, open(os.path.join(folder, made), "rb") as b:
                self.assertEqual(a.read(), b.read(), shipped)
        for shipped, run, suffix in (("digits-gradients.npz", "learns", ".gradient"), ("digits-collapsed.npz", "collapses", "")):
            with zipfile.ZipFile(os.path.join(DATA, shipped)) as archive:
                names = [layer + suffix + ".npy" for layer in LAYERS + ("fc3",)]
                self.assertEqual(archive.namelist(), names)
                for name in names:
                    self.assertEqual(archive.getinfo(name).compress_type, zipfile.ZIP_DEFLATED)
                    with open(os.path.join(self.runs[run][0], name), "rb") as file:
                        self.assertEqual(archive.read(name), file.read(), f"{shipped}: {name}")

    def test_wrong_usage_and_data(self):
        for arguments in (["--epochs"], ["--rate", "fast"], ["--nonsense"], ["/nonexistent"],
                          [os.path.join(DATA, "digits-conv2.npy")]):
            status, out, err = example("digits", *arguments)
            self.assertEqual(status, 1, arguments)
            self.assertEqual(len(err.splitlines()), 1, arguments)


if __name__ == "__main__":
    unittest.main()
