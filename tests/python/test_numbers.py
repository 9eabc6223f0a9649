"""The program `actscope`: what it says of files that NumPy wrote, against numbers that NumPy computes in float64."""
import unittest

import numpy as np

from program import encode, FLOAT8, numbers, Program, SAFETENSORS, write_safetensors


def contents():
    """(name, array) of many kinds; float64."""
    g = np.random.default_rng(12)
    normal = lambda *shape: g.standard_normal(shape)
    yield "normal", normal(128, 300)
    yield "relu 4-d", np.maximum(normal(64, 8, 5, 5), 0)
    yield "mean over deviation 1000", 1000 + normal(100, 90)
    steps = np.repeat(np.array([0.0, 1000, -2000, 500, 7]), 1000).reshape(50, 100) + 0.01 * normal(50, 100)
    yield "steps", steps
    near = np.repeat(normal(80, 20), 4, axis=1) + 1e-3 * normal(80, 80)
    near[:, ::7] *= -1
    yield "near-duplicates", near
    yield "four factors", normal(48, 4) @ normal(4, 150) + 0.3 * normal(48, 150)
    constant = normal(33, 41)
    constant[:, 3], constant[:, 7], constant[:, 9] = 0.1, 0, 1e-8 * normal(33)
    yield "constant and dead columns", constant
    special = normal(60, 50)
    special[3, 4], special[5, 6], special[7, 8], special[9, :3] = np.nan, np.inf, -np.inf, (-0.0, 0.0, 1e-40)
    special[:, 11] = np.nan
    yield "specials", special
    yield "one sample", normal(1, 70)
    yield "two samples", normal(2, 9)
    yield "three samples", normal(3, 5)
    yield "one feature", normal(257)
    yield "one element", np.array([[2.5]])
    yield "all equal", np.full((9, 6), 0.1)
    yield "all zero", np.zeros((4, 4))
    yield "all NaN", np.full((4, 4), np.nan)
    yield "no samples", np.zeros((0, 5))
    yield "no features", np.zeros((5, 0, 2))


class Numbers(Program):
    def test_npy(self):
        for name, x in contents():
            for dtype in ("float32", "float16", "float64"):
                with self.subTest(contents=name, dtype=dtype), np.errstate(over="ignore"):
                    array = x.astype(dtype)
                    got = self.layer(self.save("x.npy", array))
                    if x.size:
                        self.check(got, array.astype(np.float64), dtype, title=f"{name} {dtype}")
                    else:
                        self.assertEqual((got["profile"]["count"], got["distinct"]["count"]), (0, 0))
                        self.assertTrue(all(got["profile"][k] is None for k in ("min", "mean", "variance", "entropy")))
                        self.assertIsNone(got["correlation"]["mean_abs"])
                        self.assertIsNone(got["rank"]["effective_rank"])

    def test_safetensors_of_every_type(self):
        tensors, values = {}, {}
        for name, x in contents():
            for dtype in SAFETENSORS:
                if dtype in FLOAT8 and not np.isfinite(x).all():
                    continue
                with np.errstate(over="ignore"):
                    data, value = encode(x, dtype)
                tensors[f"{name}.{dtype}"] = (dtype, x.shape, data)
                values[f"{name}.{dtype}"] = (dtype, np.reshape(value, x.shape))
        write_safetensors(self.path("all.safetensors"), tensors)
        document, errors = self.report("all.safetensors")
        self.assertEqual(errors, [])
        self.assertEqual([l["name"] for l in document["layers"]], list(tensors))
        for layer in document["layers"]:
            dtype, value = values[layer["name"]]
            self.assertEqual(layer["source"], "all.safetensors")
            if value.size:
                with self.subTest(layer=layer["name"]):
                    self.check(layer, value, dtype, title=layer["name"])

    def test_channels(self):
        x = np.random.default_rng(3).standard_normal((6, 9, 7, 5)).astype(np.float32)
        x[:, 4] = 2
        for order in "CF":
            got = self.layer("--channels", self.save("x.npy", np.asarray(x, order=order)))
            self.check(got, x, "float32", channels=True, title=order)
            self.assertEqual((got["features"], got["samples"], got["health"]["constant"]), (9, 210, 1))

    def test_memory_order_and_byte_order(self):
        x = np.random.default_rng(4).standard_normal((40, 6, 5)).astype(np.float32)
        for name, array in (("Fortran", np.asfortranarray(x)), ("big-endian", x.astype(">f4"))):
            with self.subTest(name):
                self.check(self.layer(self.save("x.npy", array)), x, "float32", title=name)

    def test_more_than_a_sketch_holds(self):
        x = np.random.default_rng(5).standard_normal((512, 400)).astype(np.float32)
        got = self.layer("--statistics", "profile,distinct", self.save("x.npy", x))
        truth = len(np.unique(x))
        self.assertEqual(got["distinct"]["method"], "sketch")
        self.assertLess(abs(got["distinct"]["count"] / truth - 1), 0.04)
        self.assertTrue(0.008 < got["distinct"]["relative_standard_error"] < 0.0105)
        exact = self.layer("--statistics", "distinct", "--distinct", "exact", "x.npy")
        self.assertEqual((exact["distinct"]["count"], exact["distinct"]["method"]), (truth, "exact"))
        wide = self.layer("--statistics", "distinct", "--sketch-bits", "18", "x.npy")
        self.assertLess(abs(wide["distinct"]["count"] / truth - 1), 0.01)
        small = self.layer("--statistics", "distinct", "--distinct", "sketch", "--sketch-bits", "4",
                           self.save("small.npy", x[:2]))
        self.assertEqual(small["distinct"]["method"], "sketch")

    def test_sampled_pairs(self):
        g = np.random.default_rng(6)
        x = (g.standard_normal((30, 3)) @ g.standard_normal((3, 400)) + g.standard_normal((30, 400))).astype(np.float32)
        truth = numbers(x, "float32")["correlation"]
        self.save("x.npy", x)
        c = [self.layer("--statistics", "correlation", "--correlation", "sampled", "--pairs", 5000, "--seed", s, "x.npy")["correlation"]
             for s in (0, 0, 1)]
        self.assertEqual(c[0], c[1])
        self.assertNotEqual(c[0]["mean_abs"], c[2]["mean_abs"])
        self.assertEqual((c[0]["method"], c[0]["pairs"], c[0]["pairs_total"]), ("sampled", 5000, 79800))
        low, high = c[0]["mean_abs_ci95"]
        self.assertTrue(low < c[0]["mean_abs"] < high and low <= truth["mean_abs"] <= high)
        everything = self.layer("--correlation", "sampled", "--pairs", 79800, "x.npy")["correlation"]
        self.assertAlmostEqual(everything["mean_abs"], truth["mean_abs"], 6)

    def test_signed(self):
        g = np.random.default_rng(12)
        x = (g.standard_normal((40, 1)) - g.uniform(0, 2, (1, 70)) * g.standard_normal((40, 70))).astype(np.float32)
        x[:, :9] *= -1
        r = np.corrcoef(x, rowvar=False)[np.triu_indices(70, 1)]
        self.save("x.npy", x)
        document, _ = self.report("--signed", "x.npy")
        c = document["layers"][0]["correlation"]
        self.assertTrue(document["options"]["signed"])
        self.assertAlmostEqual(c["mean"], r.mean(), 6)
        self.assertAlmostEqual(c["mean_abs"], np.abs(r).mean(), 6)
        self.assertIsNone(self.layer("x.npy")["correlation"]["mean"])
        self.assertIsNone(self.layer("--signed", "--correlation", "gram", "x.npy")["correlation"]["mean"])
        table = self.run_program("report", "--signed", "x.npy").stdout.decode()
        self.assertIn(f"{r.mean():.3f}", table)

    def test_top_pairs(self):
        g = np.random.default_rng(5)
        x = g.standard_normal((40, 3, 5, 2))
        x[:, 1] += 2 * x[:, 0]
        x[:, 2, 3, 1] = -3 * x[:, 0, 4, 0]
        x = x.astype(np.float32)
        flat = x.reshape(40, 30).astype(np.float64)
        r = np.corrcoef(flat, rowvar=False)
        i, j = np.triu_indices(30, 1)
        order = np.lexsort((j, i, -np.round(np.abs(r[i, j]), 12)))
        self.save("x.npy", x)
        document, _ = self.report("--top-pairs", 9, "x.npy")
        self.assertEqual((document["options"]["top_pairs"], document["options"]["pairs_above"]), (9, 0))
        c = document["layers"][0]["correlation"]
        self.assertEqual([(p["i"], p["j"]) for p in c["top_pairs"]], [(i[k], j[k]) for k in order[:9]])
        for p in c["top_pairs"]:
            self.assertAlmostEqual(p["r"], r[p["i"], p["j"]], 12)
        self.assertNotIn("pairs_above", c)
        self.assertNotIn("top_pairs", self.layer("x.npy")["correlation"])
        above = int((np.abs(r[i, j]) > 0.6).sum())
        few, many = (self.layer("--top-pairs", k, "--pairs-above", 0.6, "x.npy") for k in (3, 400))
        self.assertEqual((few["correlation"]["pairs_above"], len(few["correlation"]["top_pairs"])), (above, 3))
        self.assertEqual((many["correlation"]["pairs_above"], len(many["correlation"]["top_pairs"])), (above, above))
        self.assertEqual([w for w in few["warnings"] if "more pairs" in w] != [], True)
        self.assertEqual(many["warnings"], [])
        table = self.run_program("report", "--top-pairs", 3, "--pairs-above", 0.6, "x.npy").stdout.decode()
        self.assertRegex(table, r"-1\.0000  \(0,4,0\) +\(2,3,1\)")
        self.assertIn(f"and {above - 3} more above 0.6", table)
        channels = self.layer("--channels", "--top-pairs", 1, "x.npy")["correlation"]["top_pairs"][0]
        self.assertEqual((channels["i"], channels["j"]), (0, 1))
        for words, message in ((("--pairs-above", 0.5), "--top-pairs"), (("--top-pairs", 0), "from 1"), (("--top-pairs", 65537), "65536"),
                               (("--top-pairs", 1, "--pairs-above", 1.5), "from 0 to 1"),
                               (("--top-pairs", 1, "--correlation", "gram"), "--correlation gram")):
            done = self.run_program("report", *words, "x.npy")
            self.assertEqual(done.returncode, 1)
            self.assertIn(message, done.stderr)

    def test_top_features(self):
        g = np.random.default_rng(8)
        x = (g.standard_normal((50, 1)) * g.uniform(0, 3, 24) + g.standard_normal((50, 24))).astype(np.float32)
        x[:, 5] = 1
        x[:, 11] = x[:, 3]
        keep = [f for f in range(24) if f != 5]
        r = np.abs(np.corrcoef(x[:, keep].astype(np.float64), rowvar=False))
        np.fill_diagonal(r, 0)
        mean, largest = r.sum(axis=0) / 22, r.max(axis=0)
        self.save("x.npy", x.reshape(50, 4, 6))
        got = self.layer("--top-features", 7, "x.npy")["correlation"]["top_features"]
        want = sorted(range(23), key=lambda k: -mean[k])[:7]
        self.assertEqual(len(got), 7)
        for entry, k in zip(got, want):
            self.assertAlmostEqual(entry["mean_abs"], mean[k], 5)
            at = keep.index(entry["feature"])
            self.assertAlmostEqual(entry["mean_abs"], mean[at], 5)
            self.assertAlmostEqual(entry["max_abs"], largest[at], 5)
        self.assertEqual(len(self.layer("--top-features", 100, "x.npy")["correlation"]["top_features"]), 23)
        self.assertEqual({"top_features", "pairless_features"} & set(self.layer("x.npy")["correlation"]), set())
        table = self.run_program("report", "--top-features", 1, "x.npy").stdout.decode()
        self.assertIn(f"({got[0]['feature'] // 6},{got[0]['feature'] % 6})", table)
        self.assertIn("1 without a pair (constant or not finite): (0,5)\n", table)
        x[7, 9], x[:, 12:] = np.inf, 2
        self.save("y.npy", x)
        pairless = self.layer("--top-features", 1, "y.npy")["correlation"]["pairless_features"]
        self.assertEqual(pairless, {"count": 14, "first": [5, 9, 12, 13, 14, 15, 16, 17]})
        gram = self.layer("--top-features", 3, "--correlation", "gram", "x.npy")["correlation"]["top_features"]
        self.assertEqual(gram, [])

    def test_gram(self):
        x = np.random.default_rng(7).standard_normal((20, 300)).astype(np.float32)
        c = self.layer("--correlation", "gram", self.save("x.npy", x))["correlation"]
        want = numbers(x, "float32")["correlation"]
        self.assertEqual((c["method"], c["pairs"]), ("gram", 44850))
        self.close("mean_square", c["mean_square"], want["mean_square"])
        self.assertIsNone(c["mean_abs"])
        self.assertIsNone(c["max_abs"])
        self.assertTrue(all(v is None for v in c["above"].values()))


if __name__ == "__main__":
    unittest.main()
