"""What the documents claim: the recipes run as they stand, the tables of docs/reading.md are measured again, links lead
somewhere."""
import glob, math, os, re, shutil, subprocess, sys, tempfile, unittest

import numpy as np

import runs
from test_package import BUILD, ROOT, actscope

try:
    import torch
except ImportError:
    torch = None


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def rows(text, head):
    """The rows of the table whose first row begins so, as lists of texts."""
    lines = text[text.index("\n| " + head):].splitlines()[3:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:next((i for i, l in enumerate(lines) if not l.startswith("|")), len(lines))]]


class Recipes(unittest.TestCase):
    def test_run_as_they_stand(self):
        blocks = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", read("docs/recipes.md"), flags=re.M | re.S)
        ran = 0
        with tempfile.TemporaryDirectory() as folder:
            for name in ("examples", "include"):
                os.symlink(os.path.join(ROOT, name), os.path.join(folder, name))
            os.symlink(BUILD, os.path.join(folder, "build"))
            os.mkdir(os.path.join(folder, "bin"))
            os.symlink(os.path.join(BUILD, "actscope"), os.path.join(folder, "bin", "actscope"))
            runs.write(os.path.join(folder, "run.jsonl"), runs.records(runs.layers(4), 3))
            environment = {**os.environ, "PATH": os.path.join(folder, "bin") + os.pathsep + os.environ["PATH"],
                           "PYTHONPATH": os.path.join(ROOT, "python"), "ACTSCOPE_BUILD": BUILD}
            for title, text in blocks:
                for language, code in re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.M | re.S):
                    with self.subTest(title):
                        if "# not run here" in code:
                            continue
                        if "# needs: torch" in code and torch is None:
                            self.skipTest("no PyTorch")
                        command = [sys.executable, "-c", code] if language == "python" else ["sh", "-e", "-c", code]
                        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=300)
                        self.assertEqual(done.returncode, 0, done.stderr.decode())
                        for said in re.findall(r"print\(\w+\) +# (.+)$", code, flags=re.M):
                            self.assertIn(said, done.stdout.decode())
                        ran += 1
            self.assertTrue(os.path.getsize(os.path.join(folder, "page.html")) > 10000)
            self.assertTrue(os.path.getsize(os.path.join(folder, "run.html")) > 10000)
        self.assertGreater(ran, 6)


class Reading(unittest.TestCase):
    def test_noise_floor(self):
        table = rows(read("docs/reading.md"), "samples | noise floor")
        self.assertEqual(len(table), 7)
        for n, floor in ((int(a), float(b)) for a, b in table):
            self.assertAlmostEqual(math.exp(math.lgamma((n - 1) / 2) - math.lgamma(n / 2)) / math.sqrt(math.pi), floor, delta=5.1e-5)

    def test_effective_rank(self):
        random = np.random.default_rng(5)

        def equal(r):
            return math.sqrt(r) * random.normal(size=(128, 1)) + math.sqrt(1 - r) * random.normal(size=(128, 8192))

        data = {"normal values, [128, 8192]": random.normal(size=(128, 8192)), "the same, [128, 127]": random.normal(size=(128, 127)),
                "the same, [1024, 64]": random.normal(size=(1024, 64)), "r = 0.3 between any two, [128, 8192]": equal(0.3),
                "r = 0.6 between any two, [128, 8192]": equal(0.6),
                "512 mixtures of 8 independent features, N = 128": random.normal(size=(128, 8)) @ random.normal(size=(8, 512))}
        table = rows(read("docs/reading.md"), "data | adjusted rms")
        self.assertEqual([row[0] for row in table], list(data))
        for name, adjusted, rank, most in table:
            with self.subTest(name):
                layer = actscope.report(np.float32(data[name]), statistics="correlation,rank")["layers"][0]
                self.assertEqual(min(layer["samples"] - 1, layer["features"]), int(most))
                # What a common factor shows in one sample of 128 varies by about 1/8 of it.
                self.assertAlmostEqual(layer["correlation"]["adjusted_rms"], float(adjusted), delta=0.01 + 0.3 * float(adjusted))
                self.assertAlmostEqual(layer["rank"]["effective_rank"], float(rank), delta=0.04 * float(rank) + (0.4 * float(rank) if "any two" in name else 0))

    def test_entropy_and_redundancy(self):
        text = read("docs/reading.md")
        x = np.float32(np.random.default_rng(6).normal(size=(128, 8192)))
        outlier = x.copy()
        outlier[0, 0] = 1e6
        found = re.search(r"Normal values give ([\d.]+), a ReLU of them ([\d.]+), and .*?normal values ([\d.]+)\.", text, flags=re.S)
        for values, said in zip((x, np.maximum(x, 0), outlier), found.groups()):
            self.assertAlmostEqual(actscope.report(values, statistics="profile")["layers"][0]["profile"]["entropy"], float(said), delta=0.0051)
        short = (x.view(np.uint32) & 0xFFFF0000).view(np.float32)
        said = float(re.search(r"and ([\d.]+) % \"redundant\" in bfloat16", text).group(1))
        self.assertAlmostEqual(100 * actscope.report(short, statistics="distinct")["layers"][0]["distinct"]["redundancy"], said, delta=0.1)


class Links(unittest.TestCase):
    def test_lead_somewhere(self):
        def anchors(text):
            heads = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), flags=re.M)
            return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}

        for path in ["README.md", "CONTRIBUTING.md"] + [os.path.relpath(p, ROOT) for p in glob.glob(os.path.join(ROOT, "docs", "*.md"))]:
            for target in re.findall(r"\]\(([^)\s]+)\)", read(path)):
                if "://" in target:
                    continue
                file, _, anchor = target.partition("#")
                there = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
                self.assertTrue(os.path.exists(os.path.join(ROOT, there)), f"{path}: {target}")
                if anchor:
                    self.assertIn(anchor, anchors(read(there)), f"{path}: {target}")


if __name__ == "__main__":
    unittest.main()
