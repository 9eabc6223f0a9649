"""The scores of `--compat neuroexapt` against the same formulas in NumPy, written from what the analyser computes, and
its faults: one constant feature, entropy without a norm, a NaN."""
import json, math, os, subprocess, tempfile, unittest

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(ROOT, os.environ.get("ACTSCOPE_BUILD", "build"), "actscope")
NEEDS_A_GRADIENT = {"depth_bottlenecks", "width_bottlenecks", "gradient_flow_bottlenecks", "gradient_health",
                    "gradient_variance", "gradient_norm"}
NEEDS_WEIGHTS = {"capacity_bottlenecks"}


def formulas(x, before):
    """The scores that an activation alone gives; `before` is the layer before, or None."""
    x = x.astype(np.float64)
    flat, rows = x.ravel(), x.reshape(len(x), -1)
    r = {}
    r["activation_saturation"] = np.mean(flat == 0) if np.all(flat >= 0) else np.mean(np.abs(flat) > 0.9)

    def entropy(v):
        size = np.abs(v.ravel().astype(np.float64)) + 1e-8
        p = size / size.sum()
        return -np.sum(p * np.log(p + 1e-8))

    r["entropy"] = entropy(x)
    r["information_loss"] = 0.0
    if before is not None:
        h = entropy(before)
        loss = (h - r["entropy"]) / h if h > 1e-8 else 0.0
        r["information_loss"] = min(loss, 1.0) if loss > 0 else 0.0
    r["neuron_utilization"] = np.mean((rows > 1e-6).any(axis=0)) if x.ndim >= 2 else 1.0
    first, cosines = rows[:10], []
    with np.errstate(invalid="ignore"):
        for i in range(len(first)):
            for j in range(i + 1, len(first)):
                lengths = max(np.linalg.norm(first[i]), 1e-8) * max(np.linalg.norm(first[j]), 1e-8)
                cosines.append(first[i] @ first[j] / lengths)
    spread = 1 - np.mean(cosines) if cosines and x.ndim >= 2 else 0.0
    r["activation_diversity"] = spread if spread > 0 else 0.0
    r["feature_correlation"] = 0.0
    if x.ndim >= 2 and rows.shape[1] >= 2 and len(rows) >= 2:
        if np.isfinite(rows).all() and (rows.max(axis=0) > rows.min(axis=0)).all():
            c = np.corrcoef(rows.T)
            r["feature_correlation"] = np.abs(c[~np.eye(len(c), dtype=bool)]).mean()
    nan = int(np.isnan(flat).sum())
    r["information_redundancy"] = 1 - (len(np.unique(flat[~np.isnan(flat)])) + nan) / flat.size
    r["actual_capacity"] = float(np.sum(np.abs(flat) > 1e-6))
    r["information_flow_bottlenecks"] = (0.3 * (1 - r["entropy"]) + 0.4 * r["feature_correlation"] +
                                         0.3 * r["information_redundancy"])
    return r


def layers():
    g = np.random.default_rng(7)
    relu = np.maximum(g.standard_normal((24, 6, 5, 5)), 0).astype(np.float32)
    relu[0] += 0.25  # no feature is constant
    constant = g.standard_normal((32, 40)).astype(np.float32)
    constant[:, 7] = 1.5
    broken = g.standard_normal((16, 20)).astype(np.float32)
    broken[3, 4], broken[5, 4], broken[6, 6] = np.nan, np.nan, np.inf
    factor = g.standard_normal((64, 1)) + 0.3 * g.standard_normal((64, 300))
    return {
        "relu": relu,
        "tanh_f16": np.tanh(1.5 * g.standard_normal((50, 33))).astype(np.float16),
        "one_factor": factor.astype(np.float32),
        "constant": constant,
        "after_constant_f64": g.standard_normal((9, 8, 3)),
        "broken": broken,
        "after_broken": g.standard_normal((12, 12)).astype(np.float32),
        "one_axis": g.standard_normal(100).astype(np.float32),
        "one_sample": g.standard_normal((1, 64)).astype(np.float32),
        "negative": (-1 - g.random((20, 10))).astype(np.float32),
        "wide": np.asfortranarray(g.standard_normal((20, 1500)).astype(np.float32)),
    }


def run(directory, arrays, *options):
    """The compat scores of each array, in order."""
    files = []
    for name, x in arrays.items():
        files.append(os.path.join(directory, name + ".npy"))
        np.save(files[-1], x)
    command = [PROGRAM, "report", "--device", "cpu", "--format", "json", "--distinct", "exact", "-q", *options, *files]
    p = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if p.returncode:
        raise AssertionError(f"{command} ended with {p.returncode}: {p.stderr}")
    return json.loads(p.stdout)["layers"]


@unittest.skipUnless(os.path.exists(PROGRAM), f"{PROGRAM} is not built")
class Compat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.arrays = layers()
        with tempfile.TemporaryDirectory() as directory:
            cls.reports = run(directory, cls.arrays, "--compat", "neuroexapt")
            cls.plain = run(directory, {"x": cls.arrays["relu"]})

    def test_scores_are_absent_unless_asked_for(self):
        self.assertNotIn("compat", self.plain[0])

    def test_scores_follow_the_formulas(self):
        before = None
        self.assertEqual(len(self.reports), len(self.arrays))
        for (name, x), report in zip(self.arrays.items(), self.reports):
            got, wanted = report["compat"], formulas(x, before)
            self.assertEqual(set(got), set(wanted) | NEEDS_A_GRADIENT | NEEDS_WEIGHTS)
            for score, value in got.items():
                with self.subTest(layer=name, score=score):
                    want = wanted.get(score, math.nan)
                    if math.isnan(want):
                        self.assertIsNone(value)
                    else:  # the analysis works at float32 quality
                        self.assertAlmostEqual(value, want, delta=3e-6 * max(1, abs(want)))
            before = x

    def test_faults_are_there(self):
        by_name = dict(zip(self.arrays, (r["compat"] for r in self.reports)))
        self.assertGreater(by_name["one_factor"]["feature_correlation"], 0.8)
        self.assertEqual(by_name["constant"]["feature_correlation"], 0)
        self.assertEqual(by_name["broken"]["feature_correlation"], 0)
        self.assertIsNone(by_name["broken"]["entropy"])
        self.assertEqual(by_name["after_broken"]["information_loss"], 0)
        self.assertEqual(by_name["negative"]["neuron_utilization"], 0)
        self.assertGreater(by_name["wide"]["entropy"], 9)
        self.assertLess(by_name["wide"]["information_flow_bottlenecks"], -2)

    def test_scores_do_not_depend_on_what_else_is_measured(self):
        subset = {k: self.arrays[k] for k in ("relu", "tanh_f16", "broken")}
        with tempfile.TemporaryDirectory() as directory:
            few = run(directory, subset, "--compat", "neuroexapt", "--statistics", "distinct")
        for name, report in zip(subset, few):
            full = self.reports[list(self.arrays).index(name)]["compat"]
            for score in ("activation_saturation", "entropy", "neuron_utilization", "activation_diversity",
                          "information_redundancy", "actual_capacity"):
                with self.subTest(layer=name, score=score):
                    if full[score] is None:
                        self.assertIsNone(report["compat"][score])
                    else:
                        self.assertAlmostEqual(report["compat"][score], full[score], delta=1e-6 * max(1, full[score]))
            self.assertIsNone(report["compat"]["feature_correlation"])


if __name__ == "__main__":
    unittest.main()
