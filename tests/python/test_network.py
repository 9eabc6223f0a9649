"""Gradients and weights paired by name: roles, the families of scores, and the compat scores that need them."""
import json, math, os, subprocess, tempfile, unittest

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(ROOT, os.environ.get("ACTSCOPE_BUILD", "build"), "actscope")
FAMILIES = ("depth", "width", "information_flow", "gradient_flow", "capacity")


def report(*arguments):
    p = subprocess.run([PROGRAM, "report", "--device", "cpu", "--format", "json", "-q", *arguments], capture_output=True,
                       text=True, timeout=300)
    if p.returncode:
        raise AssertionError(f"{arguments} ended with {p.returncode}: {p.stderr}")
    return json.loads(p.stdout)


def network(g, layers=3, fade=1.0):
    """Activations, gradients (each `fade` times the next layer's) and weights of a small network."""
    arrays, scale = {}, 1.0
    for k in range(layers):
        arrays[f"l{k}"] = np.maximum(g.standard_normal((32, 40)), 0).astype(np.float32)
    for k in reversed(range(layers)):
        arrays[f"l{k}.gradient"] = (scale * g.standard_normal((32, 40))).astype(np.float32)
        scale *= fade
        arrays[f"l{k}.weight"] = g.standard_normal((40, 30)).astype(np.float32)
    return arrays


@unittest.skipUnless(os.path.exists(PROGRAM), f"{PROGRAM} is not built")
class Network(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def save(self, name, **arrays):
        path = os.path.join(self.directory.name, name)
        np.savez(path, **arrays)
        return path

    def check(self, document, name, **want):
        row = next(r for r in document["network"]["scores"] if r["layer"] == name)
        for family in FAMILIES:
            if row[family] is not None:
                self.assertTrue(0 <= row[family] <= 1, (name, family, row[family]))
        for key, value in want.items():
            self.assertEqual(row[key], value, (name, key))
        return row

    def test_names_pair_within_a_file_and_across_files(self):
        g = np.random.default_rng(1)
        arrays = network(g)
        parts = [{k: v for k, v in arrays.items() if k.endswith(end) == keep} for end, keep in ((".gradient", False), (".gradient", True))]
        for files in ([self.save("all.npz", **arrays)], [self.save("a.npz", **parts[0]), self.save("b.npz", **parts[1])]):
            d = report(*files)
            roles = {layer["name"]: layer["role"] for layer in d["layers"]}
            self.assertEqual(roles, {k: "gradient" if k.endswith(".gradient") else "weight" if k.endswith(".weight") else "activation"
                                     for k in arrays})
            self.assertEqual([r["layer"] for r in d["network"]["scores"]], ["l0", "l1", "l2"])
            for k in range(3):
                row = self.check(d, f"l{k}", gradient=f"l{k}.gradient", weight=f"l{k}.weight")
                self.assertLess(row["gradient_flow"], 0.05)
                self.assertIsNotNone(row["ingredients"]["weight_rank_deficit"])

    def test_what_pairs_with_nothing_is_an_activation(self):
        g = np.random.default_rng(2)
        a = {"x": g.standard_normal((16, 8)).astype(np.float32), "y.grad": g.standard_normal((16, 8)).astype(np.float32),
             "x.gradient": g.standard_normal((16, 9)).astype(np.float32), ".weight": np.ones((4, 4), np.float32)}
        d = report(self.save("odd.npz", **a))
        self.assertEqual({layer["role"] for layer in d["layers"]}, {"activation"})
        self.assertEqual(len(d["network"]["scores"]), 4)
        self.check(d, "x", gradient=None, weight=None, gradient_flow=None)

    def test_gradients_and_weights_are_not_ranked(self):
        g = np.random.default_rng(7)
        arrays = network(g, 2, 1e-4)
        arrays["l1.gradient"] *= 1e-8
        path = self.save("small.npz", **arrays)
        d = report(path)
        self.assertEqual({b["layer"] for b in d["network"]["bottlenecks"]}, {"l0", "l1"})
        for b in d["network"]["bottlenecks"]:
            self.assertEqual(b["reasons"], [])
        text = subprocess.run([PROGRAM, "report", "--device", "cpu", "-q", path], capture_output=True, text=True).stdout
        self.assertIn("No layer stands out as a bottleneck.", text)
        import test_package
        ours = test_package.actscope.report(path)
        self.assertEqual([b["layer"] for b in ours["network"]["bottlenecks"]], [b["layer"] for b in d["network"]["bottlenecks"]])

    def test_a_gradient_that_fades_is_seen(self):
        d = report(self.save("fades.npz", **network(np.random.default_rng(3), layers=8, fade=0.4)))
        first, last = self.check(d, "l0"), self.check(d, "l7")
        self.assertGreater(first["gradient_flow"], 0.8)
        self.assertEqual(last["gradient_flow"], 0)
        self.assertTrue(any("fades" in r for r in first["reasons"]), first["reasons"])

    def test_files_of_several_layers_are_networks_of_their_own(self):
        g = np.random.default_rng(4)
        full = {f"l{k}": g.standard_normal((32, 20)).astype(np.float32) for k in range(2)}
        flat = {f"l{k}": (g.standard_normal((32, 1)) + 0.01 * g.standard_normal((32, 20))).astype(np.float32) for k in range(2)}
        d = report(self.save("full.npz", **full), self.save("flat.npz", **flat))
        rows = d["network"]["scores"]
        self.assertEqual([r["ingredients"]["information_loss"] is None for r in rows], [True, False, True, False])
        singles = [os.path.join(self.directory.name, f"{n}.npy") for n in ("one", "two")]
        np.save(singles[0], full["l0"]), np.save(singles[1], flat["l0"])
        rows = report(*singles)["network"]["scores"]
        self.assertIsNone(rows[0]["ingredients"]["information_loss"])
        self.assertGreater(rows[1]["ingredients"]["information_loss"], 0.8)

    def test_a_layer_that_is_left_out_moves_no_index(self):
        g = np.random.default_rng(5)
        path = self.save("net.npz", **network(g))
        p = subprocess.run([PROGRAM, "report", "--device", "cpu", "--format", "json", "-q", "--layers", "l[12]*", path],
                           capture_output=True, text=True, timeout=300)
        d = json.loads(p.stdout)
        self.assertEqual([r["layer"] for r in d["network"]["scores"]], ["l1", "l2"])
        self.check(d, "l2", gradient="l2.gradient", weight="l2.weight")

    def test_compat_takes_gradients_and_weights(self):
        g = np.random.default_rng(6)
        arrays = network(g, fade=0.5)
        d = report("--compat", "neuroexapt", "--distinct", "exact", self.save("net.npz", **arrays))
        by_name, before = {layer["name"]: layer["compat"] for layer in d["layers"]}, None
        for k in range(3):
            c, x = by_name[f"l{k}"], arrays[f"l{k}.gradient"].astype(np.float64).ravel()
            norm, size = np.linalg.norm(x), np.abs(x).mean()
            health = 0.1 if norm < 1e-7 else 0.2 if norm > 10 else min(1, 1 / (1 + abs(math.log10(size + 1e-8))))
            spread = min(1, x.var(ddof=1) / size ** 2)
            want = {"gradient_norm": norm, "gradient_health": health, "gradient_variance": spread,
                    "gradient_flow_bottlenecks": max(0, (before - norm) / before) if before else 0,
                    "capacity_bottlenecks": 1 - c["actual_capacity"] / arrays[f"l{k}.weight"].size,
                    "depth_bottlenecks": 0.4 * c["activation_saturation"] + 0.3 * (1 - health) + 0.3 * c["information_loss"],
                    "width_bottlenecks": 0.4 * (1 - c["neuron_utilization"]) + 0.3 * spread + 0.3 * (1 - c["activation_diversity"])}
            for name, value in want.items():
                with self.subTest(layer=k, score=name):
                    self.assertAlmostEqual(c[name], value, delta=3e-6 * max(1, abs(value)))
            self.assertEqual(set(by_name[f"l{k}.gradient"].values()) | set(by_name[f"l{k}.weight"].values()), {None})
            before = norm

    def test_the_examples(self):
        data = os.path.join(ROOT, "examples", "data")
        d = report(*(os.path.join(data, f) for f in ("digits-activations.safetensors", "digits-collapsed.npz", "digits-gradients.npz")))
        rows = d["network"]["scores"]
        self.assertEqual([r["layer"] for r in rows], ["input", "conv1", "conv2", "fc1", "fc2", "fc3"] + ["conv1", "conv2", "fc1", "fc2", "fc3"])
        self.assertEqual([r["gradient"] for r in rows], [None] + [f"{n}.gradient" for n in ("conv1", "conv2", "fc1", "fc2", "fc3")] + [None] * 5)
        for row in rows[:6]:
            self.assertLess(max(row[f] for f in FAMILIES if row[f] is not None), 0.5)
        for row in rows[7:]:
            self.assertGreater(max(row[f] for f in FAMILIES if row[f] is not None), 0.99)


if __name__ == "__main__":
    unittest.main()
