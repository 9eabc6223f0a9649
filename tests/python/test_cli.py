"""The program `actscope` end to end: files that NumPy wrote against numbers that NumPy computes in float64, exit statuses,
messages, memory."""
import csv, fcntl, io, json, math, os, pty, re, signal, stat, struct, subprocess, sys, tempfile, termios, unittest, warnings

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("ACTSCOPE_BUILD", "build"))
PROGRAM = os.path.join(BUILD, "actscope")
SECTIONS = ("profile", "distinct", "health", "correlation", "rank", "similarity")
LEVELS = (1, 5, 25, 50, 75, 95, 99)  # percent
THRESHOLDS = (0.5, 0.7, 0.9, 0.95, 0.99)
MIB = 1 << 20


# ---- Element types that NumPy does not have --------------------------------------------------------------------------
def bfloat16(x):
    """Truncated to bfloat16: (bits, values)."""
    with np.errstate(over="ignore"):
        bits = (np.asarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return bits, (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def table_of_float8(exponent_bits, mantissa_bits):
    """The values of all 256 patterns; e4m3 is the variant without infinities."""
    values = np.zeros(256)
    bias, top = 2 ** (exponent_bits - 1) - 1, 2 ** exponent_bits - 1
    for bits in range(256):
        fraction, power = bits % 2 ** mantissa_bits, bits >> mantissa_bits & top
        v = math.ldexp(fraction, 1 - bias - mantissa_bits) if power == 0 else \
            math.ldexp(fraction + 2 ** mantissa_bits, power - bias - mantissa_bits)
        if mantissa_bits == 2 and power == top:
            v = math.nan if fraction else math.inf
        if mantissa_bits == 3 and bits & 0x7F == 0x7F:
            v = math.nan
        values[bits] = -v if bits & 0x80 else v
    return values


FLOAT8 = {"float8_e4m3": table_of_float8(4, 3), "float8_e5m2": table_of_float8(5, 2)}
SMALLEST = {"float32": 2.0 ** -126, "float64": 2.0 ** -1022, "float16": 2.0 ** -14, "bfloat16": 2.0 ** -126,
            "float8_e4m3": 2.0 ** -6, "float8_e5m2": 2.0 ** -14}
SAFETENSORS = {"float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16", "float8_e4m3": "F8_E4M3",
               "float8_e5m2": "F8_E5M2"}


def encode(x, dtype):
    """Bytes of the nearest or a near value in `dtype`, and the values they stand for."""
    if dtype == "bfloat16":
        bits, values = bfloat16(x)
        return bits.tobytes(), values.reshape(np.shape(x))
    if dtype in FLOAT8:
        table = FLOAT8[dtype]
        order = np.argsort(np.where(np.isfinite(table), table, np.inf), kind="stable")[:np.isfinite(table).sum()]
        where = np.clip(np.searchsorted(table[order], x), 0, len(order) - 1)
        bits = order[where].astype(np.uint8)
        return bits.tobytes(), table[bits]
    array = np.asarray(x).astype(dtype)
    return array.tobytes(), array.astype(np.float64)


def write_safetensors(path, tensors):
    """tensors: {name: (dtype, shape, bytes)}, in order."""
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": SAFETENSORS[dtype], "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


# ---- The numbers, by NumPy in float64 --------------------------------------------------------------------------------
def numbers(x, dtype, channels=False):
    """The sections of a layer. Lists of [low, high] are what single precision may count."""
    x = np.asarray(x, np.float64)
    flat, finite = x.ravel(), x.ravel()[np.isfinite(x.ravel())]
    if channels:
        rows = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
    else:
        rows = x.reshape(x.shape[0] if x.ndim else 1, -1) if x.size else np.zeros((0, 0))
    n, size, none = len(finite), np.abs(finite), None
    p = {"count": flat.size, "finite": n, "nan": int(np.isnan(flat).sum()), "positive_inf": int((flat == np.inf).sum()),
         "negative_inf": int((flat == -np.inf).sum()), "zero": int((finite == 0).sum()),
         "negative": int((finite < 0).sum()), "subnormal": int(((size > 0) & (size < SMALLEST[dtype])).sum())}
    for name in ("min", "max", "mean", "variance", "std", "skewness", "kurtosis", "abs_mean", "abs_max", "l2_norm", "entropy"):
        p[name] = none
    p["quantiles"] = {f"{q / 100:g}": none for q in LEVELS}
    if n:
        p.update(min=finite.min(), max=finite.max(), mean=math.fsum(finite) / n, abs_mean=math.fsum(size) / n,
                 abs_max=size.max(), l2_norm=math.sqrt(math.fsum(finite * finite)))
        ordered = np.sort(finite)
        p["quantiles"] = {f"{q / 100:g}": ordered[max(-(-n * q // 100), 1) - 1] for q in LEVELS}
    if n > 1:
        d = finite - p["mean"]
        m2, m3, m4 = (math.fsum(d ** k) / n for k in (2, 3, 4))
        constant = finite.min() == finite.max()
        p.update(variance=0.0 if constant else m2 * n / (n - 1), std=0.0 if constant else math.sqrt(m2 * n / (n - 1)))
        if not constant:
            p.update(skewness=m3 / m2 ** 1.5, kurtosis=m4 / m2 ** 2 - 3)
        if size.sum() > 0:
            share = size[size > 0] / size.sum()
            p["entropy"] = -math.fsum(share * np.log(share)) / math.log(n)
    values = flat[~np.isnan(flat)] + 0.0
    distinct = len(np.unique(values)) + int(np.isnan(flat).any())
    good = np.isfinite(rows).all(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        constant = good & (rows == rows[:1]).all(axis=0)
        dead = ~(np.abs(rows) > 1e-6).any(axis=0)
    health = {"constant": int(constant.sum()), "nonfinite": int((~good).sum()), "dead": int(dead.sum()),
              "active_fraction": 1 - dead.sum() / rows.shape[1] if rows.shape[1] else none}
    valid = rows[:, good & ~constant]
    samples, features = valid.shape
    c = {"method": "exact", "pairs": features * (features - 1) // 2, "pairs_total": features * (features - 1) // 2,
         "valid_features": features, "mean_abs": none, "mean_square": none, "max_abs": none, "adjusted_rms": none,
         "noise_floor": math.exp(math.lgamma((samples - 1) / 2) - math.lgamma(samples / 2)) / math.sqrt(math.pi)
         if samples > 1 else none}
    c["above"] = {f"{t:g}": none for t in THRESHOLDS}
    rank = {"participation_ratio": none, "effective_rank": none}
    if features:
        matrix = np.atleast_2d(np.corrcoef(valid, rowvar=False))
        l = np.clip(np.linalg.eigvalsh(matrix), 0, None)
        share = l[l > 0] / l.sum()
        rank = {"participation_ratio": 1 / (share ** 2).sum(), "effective_rank": math.exp(-(share * np.log(share)).sum())}
    if features > 1:
        r = np.minimum(np.abs(matrix[np.triu_indices(features, 1)]), 1)
        slack = 2e-7 * math.sqrt(samples + 16) + 4e-7
        c.update(mean_abs=r.mean(), mean_square=(r ** 2).mean(), max_abs=r.max())
        c["above"] = {f"{t:g}": [(r > t + slack).mean(), (r > t - slack).mean()] for t in THRESHOLDS}
        c["below"] = [[int((r + slack < k / 64).sum()) if k < 64 else len(r), int((r - slack < k / 64).sum())] for k in range(1, 65)]
        c["below"][63][1] = len(r)
        if samples > 2:
            c["adjusted_rms"] = math.sqrt(max(0, (c["mean_square"] - 1 / (samples - 1)) * (samples - 1) / (samples - 2)))
    finite = np.isfinite(rows).all(axis=1)
    length = np.sqrt((np.where(finite[:, None], rows, 0) ** 2).sum(axis=1))
    unit = rows[finite & (length > 0)] / length[finite & (length > 0), None]
    cosines = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    similarity = {"mean_cosine": cosines.mean() if len(cosines) else none,
                  "zero_samples": int((finite & (length == 0)).sum()) if np.size(x) else 0,
                  "nonfinite_samples": int((~finite).sum())}
    return {"profile": p, "distinct": distinct, "health": health, "correlation": c, "rank": rank, "similarity": similarity,
            "samples": rows.shape[0], "features": rows.shape[1]}


# What a number may be off by: (relative, absolute); the absolute one of a mean times mean |x|.
BOUNDS = {"mean": (1e-6, 1e-6), "variance": (2e-6, 0), "std": (1e-6, 0), "skewness": (1e-5, 1e-5), "kurtosis": (1e-5, 6e-5),
          "abs_mean": (1e-6, 0), "l2_norm": (1e-6, 0), "entropy": (0, 2e-6), "mean_abs": (0, 1e-6), "mean_square": (0, 1e-6),
          "max_abs": (0, 2e-6), "adjusted_rms": (1e-5, 2e-4), "noise_floor": (1e-9, 0), "participation_ratio": (1e-5, 0),
          "effective_rank": (1e-5, 0), "active_fraction": (1e-12, 0), "mean_cosine": (0, 1e-12)}


def read(path, mode="r"):
    with open(path, mode) as file:
        return file.read()


def fails_on_constants(name):
    raise ValueError(f"{name} is not JSON")


def strict(text):
    """JSON without NaN and infinities."""
    return json.loads(text, parse_constant=fails_on_constants)


class Program(unittest.TestCase):
    def setUp(self):
        if not os.access(PROGRAM, os.X_OK):
            self.fail(f"{PROGRAM} is not there: run `make`")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def save(self, name, array):
        np.save(self.path(name), array)
        return self.path(name)

    def run_program(self, *words, stdin=None, stdout=subprocess.PIPE):
        done = subprocess.run([PROGRAM, *map(str, words)], input=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=300,
                              cwd=self.folder)
        done.stderr = done.stderr.decode()
        # A build with CUDA says in one line that it found no GPU to use.
        done.stderr = re.sub(r"^actscope: no usable GPU \(.+\): on the CPU\n", "", done.stderr, count=1, flags=re.M)
        for line in done.stderr.splitlines():
            self.assertRegex(line, r"^actscope: \S", f"{words}: a line of standard error is not ours")
        return done

    def report(self, *words, status=0, **settings):
        """The document and the lines on standard error."""
        done = self.run_program("report", "--format", "json", *words, **settings)
        self.assertEqual(done.returncode, status, f"{words}: {done.stderr}")
        return strict(done.stdout), done.stderr.splitlines()

    def layer(self, *words, **settings):
        document, errors = self.report(*words, **settings)
        self.assertEqual(errors, [])
        self.assertEqual(len(document["layers"]), 1)
        return document["layers"][0]

    # ---- numbers -----------------------------------------------------------------------------------------------------
    def close(self, name, got, want, scale=1.0, title=""):
        if want is None:
            self.assertIsNone(got, f"{title}: {name}")
            return
        self.assertIsNotNone(got, f"{title}: {name}")
        relative, absolute = BOUNDS.get(name, (0, 0))
        self.assertLessEqual(abs(got - want), relative * abs(want) + absolute * scale, f"{title}: {name}: {got}, want {want}")

    def check(self, got, x, dtype, channels=False, title=""):
        want = numbers(x, dtype, channels)
        self.assertEqual(got["dtype"], dtype)
        self.assertEqual(tuple(got["shape"]), np.shape(x), title)
        for name in ("samples", "features"):
            self.assertEqual(got[name], want[name], title)
        self.assertEqual(set(got["profile"]), set(want["profile"]), title)
        for name, value in want["profile"].items():
            if name == "quantiles":
                for level, q in value.items():
                    if q is None:
                        self.assertIsNone(got["profile"][name][level], title)
                    else:
                        wide = dtype in ("float32", "float64")
                        self.assertLessEqual(abs(got["profile"][name][level] - q), abs(q) / 256 if wide else 0,
                                             f"{title}: quantile {level}")
            else:
                self.close(name, got["profile"][name], value, want["profile"]["abs_mean"] if name == "mean" and value is not None else 1, title)
        d = got["distinct"]
        self.assertEqual(set(d), {"count", "method", "relative_standard_error", "lower", "upper", "redundancy"})
        sketch = dtype in ("float32", "float64") and np.size(x) > 65536
        self.assertEqual(d["method"], "sketch" if sketch else "exact", title)
        if sketch:
            self.assertLessEqual(abs(d["count"] - want["distinct"]), 4.5 * d["relative_standard_error"] * want["distinct"] + 1, title)
        else:
            self.assertEqual((d["count"], d["lower"], d["upper"], d["relative_standard_error"]),
                             (want["distinct"], want["distinct"], want["distinct"], 0), title)
        if np.size(x):
            self.assertAlmostEqual(d["redundancy"], 1 - d["count"] / np.size(x), 12, title)
        for section in ("health", "rank", "similarity"):
            self.assertEqual(set(got[section]), set(want[section]), title)
            for name, value in want[section].items():
                self.close(name, got[section][name], value, 1, title)
        c, w = got["correlation"], want["correlation"]
        for name in ("method", "pairs", "pairs_total", "valid_features"):
            self.assertEqual(c[name], w[name], f"{title}: {name}")
        for name in ("mean_abs", "mean_square", "max_abs", "adjusted_rms", "noise_floor"):
            self.close(name, c[name], w[name], 1, title)
        self.assertEqual(c["mean_abs_ci95"] or [None, None], [c["mean_abs"]] * 2, title)
        self.assertEqual(set(c["above"]), set(w["above"]), title)
        if w["mean_abs"] is not None:
            for t, (low, high) in w["above"].items():
                self.assertTrue(low - 1e-12 <= c["above"][t] <= high + 1e-12, f"{title}: above {t}")
            self.assertEqual((len(c["histogram"]), sum(c["histogram"])), (64, w["pairs"]), title)
            for k, below in enumerate(np.cumsum(c["histogram"])):
                self.assertTrue(w["below"][k][0] <= below <= w["below"][k][1], f"{title}: histogram up to {k}: {below} {w['below'][k]}")
        else:
            self.assertTrue(all(v is None for v in c["above"].values()), title)


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
                               (("--top-pairs", 1, "--pairs-above", 1.5), "from 0 to 1")):
            done = self.run_program("report", *words, "x.npy")
            self.assertEqual(done.returncode, 1)
            self.assertIn(message, done.stderr)
        done = self.run_program("report", "--top-pairs", 1, "--correlation", "gram", "x.npy")
        self.assertEqual(done.returncode, 2)
        self.assertTrue(done.stderr.startswith("actscope: x.npy: x: ") and "GRAM" in done.stderr, done.stderr)

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


class Choices(Program):
    def test_statistics_that_were_not_asked_for_are_absent(self):
        self.save("x.npy", np.random.default_rng(1).standard_normal((20, 8)).astype(np.float32))
        everything = self.layer("x.npy")
        for section in SECTIONS:
            self.assertIn(section, everything)
            got = self.layer("--statistics", section, "x.npy")
            self.assertEqual([s for s in SECTIONS if s in got], [section])
        got = self.layer("--statistics=profile,rank", "x.npy")
        self.assertEqual([s for s in SECTIONS if s in got], ["profile", "rank"])
        self.assertEqual(got["profile"], everything["profile"])

    def test_layers(self):
        g = np.random.default_rng(2)
        np.savez(self.path("net.npz"), **{name: g.standard_normal((8, 4)).astype(np.float32)
                                         for name in ("block0.conv", "block0.relu", "block1.conv", "head")})
        self.save("alone.npy", g.standard_normal((8, 4)))
        names = lambda *words: [l["name"] for l in self.report(*words, "net.npz", "alone.npy")[0]["layers"]]
        self.assertEqual(names(), ["block0.conv", "block0.relu", "block1.conv", "head", "alone"])
        self.assertEqual(names("--layers", "*.conv"), ["block0.conv", "block1.conv"])
        self.assertEqual(names("--layers", "head", "--layers", "block0.*"), ["block0.conv", "block0.relu", "head"])
        self.assertEqual(names("--layers", "block?.relu", "--layers=al*"), ["block0.relu", "alone"])
        self.assertEqual(self.run_program("report", "--layers", "nothing*", "net.npz").returncode, 1)

    def test_npz_compressed(self):
        x = np.random.default_rng(3).standard_normal((30, 12)).astype(np.float32)
        np.savez_compressed(self.path("c.npz"), x=x)
        self.check(self.layer("c.npz"), x, "float32")

    def test_standard_input(self):
        x = np.random.default_rng(8).standard_normal((50, 6)).astype(np.float32)
        file = io.BytesIO()
        np.save(file, x)
        got = self.layer("-", stdin=file.getvalue())
        self.assertEqual(got["name"], "stdin")
        self.check(got, x, "float32")

    def test_large_tensors(self):
        self.save("x.npy", np.ones((30, 10), np.float32))
        document, _ = self.report("--large-tensor", 300, "x.npy")
        self.assertEqual(len(document["layers"][0]["warnings"]), 2, document["layers"][0]["warnings"])  # and no valid pair
        self.assertEqual(len(document["network"]["large_tensors"]), 1)
        document, _ = self.report("--large-tensor", 301, "x.npy")
        self.assertEqual(document["network"]["large_tensors"], [])

    def test_document(self):
        self.save("a.npy", np.random.default_rng(1).standard_normal((20, 8)).astype(np.float32))
        document, _ = self.report("--memory", "8MiB", "--seed", 5, "--device", "cpu", "a.npy")
        self.assertEqual(document["schema"], "actscope-report/1")
        self.assertEqual(set(document), {"schema", "version", "backend", "device", "options", "memory", "seconds", "layers", "network"})
        self.assertEqual((document["backend"], document["memory"]["budget_bytes"]), ("cpu", 8 * MIB))
        self.assertLessEqual(document["memory"]["workspace_bytes"], 8 * MIB)
        self.assertGreater(document["seconds"], 0)
        self.assertEqual([b["layer"] for b in document["network"]["bottlenecks"]], ["a"])

    def test_formats(self):
        g = np.random.default_rng(9)
        np.savez(self.path("net.npz"), first=g.standard_normal((16, 5)), second=np.zeros((3, 2)))
        out = {f: self.run_program("report", "--format", f, "net.npz") for f in ("table", "json", "jsonl", "csv", "html")}
        for name, done in out.items():
            self.assertEqual((done.returncode, done.stderr), (0, ""), name)
            self.assertIn(b"first", done.stdout, name)
        timeless = lambda text: re.sub(rb"[0-9.]+ m?s\b", b"", text)
        self.assertEqual(timeless(self.run_program("report", "net.npz").stdout), timeless(out["table"].stdout))
        lines = [strict(line) for line in out["jsonl"].stdout.splitlines()]
        self.assertTrue(all(isinstance(line, dict) for line in lines) and len(lines) >= 2)
        rows = list(csv.reader(io.StringIO(out["csv"].stdout.decode())))
        self.assertEqual(len(rows), 3)
        self.assertEqual({len(row) for row in rows}, {len(rows[0])})
        self.assertIn(b"<html", out["html"].stdout.lower())

    def test_verbosity(self):
        self.save("x.npy", np.ones((4, 4), np.float32))
        self.assertEqual(self.run_program("report", "x.npy").stderr, "")
        self.assertEqual(self.run_program("report", "-q", "x.npy").stderr, "")
        document, lines = self.report("-v", "x.npy")
        self.assertTrue(any("x" in line for line in lines) and document)
        _, debug = self.report("--log-level", "debug", "x.npy")
        self.assertGreater(len(debug), len(lines))

    def test_info_and_version(self):
        done = self.run_program("info", "--format", "json")
        info = strict(done.stdout)
        self.assertEqual(done.returncode, 0)
        self.assertTrue(info["version"] and len(info["devices"]) >= 1)
        self.assertIn(info["version"], self.run_program("--version").stdout.decode())
        self.assertIn(info["version"], self.run_program("info").stdout.decode())
        for words in (("--help",), *((command, "--help") for command in ("report", "plan", "page", "watch", "stress", "info"))):
            done = self.run_program(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)
            self.assertIn(b"usage", done.stdout)
            self.assertEqual([line for line in done.stdout.decode().splitlines() if len(line) > 80], [], words)

    def test_help_has_every_option(self):
        for source, commands in (("settings", ("report",)), *((c + "_command", (c,)) for c in ("page", "watch", "stress", "info"))):
            with open(os.path.join(ROOT, "host", "cli", source + ".c")) as file:
                options = re.findall(r'arguments_take\(&a, "(-[^"]+)"', file.read())
            self.assertTrue(options)
            for command in commands:
                text = self.run_program(command, "--help").stdout.decode()
                self.assertEqual([o for o in options if o not in text and o != "--help"], [], command)


class Failures(Program):
    def refused(self, status, *words, says="", **settings):
        done = self.run_program(*words, **settings)
        self.assertEqual(done.returncode, status, f"{words}: {done.stderr}")
        self.assertEqual(len(done.stderr.splitlines()), 1, f"{words}: {done.stderr}")
        self.assertIn(says, done.stderr, words)
        return done

    def test_1_wrong_usage(self):
        self.save("x.npy", np.ones((4, 4), np.float32))
        for words, says in ((("report",), "no files"), (("report", "--nonsense", "x.npy"), "--nonsense"),
                            (("nonsense",), "nonsense"), (("report", "x.npy", "--memory"), "--memory"),
                            (("report", "--memory", "much", "x.npy"), "much"), (("report", "--memory", "-5", "x.npy"), "-5"),
                            (("report", "--statistics", "mean", "x.npy"), "mean"), (("report", "--statistics", "", "x.npy"), "--statistics"),
                            (("report", "--correlation", "pearson", "x.npy"), "pearson"), (("report", "--pairs", "0", "x.npy"), "--pairs"),
                            (("report", "--pairs", "1e6", "x.npy"), "1e6"), (("report", "--seed", "-1", "x.npy"), "-1"),
                            (("report", "--precision", "fp8", "x.npy"), "fp8"), (("report", "--distinct", "hll", "x.npy"), "hll"),
                            (("report", "--sketch-bits", "3", "x.npy"), "3"), (("report", "--sketch-bits", "19", "x.npy"), "19"),
                            (("report", "--format", "xml", "x.npy"), "xml"), (("report", "--device", "tpu", "x.npy"), "tpu"),
                            (("report", "--device", "cuda:x", "x.npy"), "x"), (("report", "--log-level", "loud", "x.npy"), "loud"),
                            (("report", "--compat", "other", "x.npy"), "other"), (("report", "--channels=1", "x.npy"), "--channels"),
                            (("report", "--layers", "y*", "x.npy"), "--layers"), (("stress", "--layers", "0"), "--layers"),
                            (("info", "--format", "xml"), "xml")):
            with self.subTest(words=words):
                self.refused(1, *words, says=says)
        done = subprocess.run([PROGRAM], capture_output=True)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertTrue(done.stderr.startswith(b"usage: actscope "))

    def test_2_bad_inputs_beside_good_ones(self):
        good = np.random.default_rng(1).standard_normal((12, 5)).astype(np.float32)
        self.save("good.npy", good)
        whole = read(self.path("good.npy"), "rb")
        bad = {"cut.npy": whole[:-7], "header.npy": whole[:40], "empty.npy": b"", "text.npy": b"not an array at all\n",
               "magic.npy": b"\x93NUMPY\x09\x00" + whole[8:], "short.safetensors": b"\x05\0\0",
               "lies.safetensors": struct.pack("<Q", 1 << 60) + b"{}", "broken.npz": b"PK\x03\x04" + b"x" * 50}
        for name, data in bad.items():
            with open(self.path(name), "wb") as file:
                file.write(data)
        self.save("integers.npy", np.arange(6))
        self.save("text_array.npy", np.array(["a", "b"]))
        os.mkdir(self.path("folder.npy"))
        for name in [*bad, "integers.npy", "text_array.npy", "missing.npy", "folder.npy"]:
            with self.subTest(name):
                done = self.refused(2, "report", name, says=name)
                self.assertRegex(done.stderr, rf"^actscope: {re.escape(name)}: (\S[^:]*: )?\S.*\n$")
                self.assertEqual(done.stdout, b"")
                document, errors = self.report(name, "good.npy", status=2)
                self.assertEqual([l["name"] for l in document["layers"]], ["good"])
                self.check(document["layers"][0], good, "float32", title=name)
                self.assertEqual(len(errors), 1)

    def test_2_names_file_layer_and_cause(self):
        np.savez(self.path("mixed.npz"), fine=np.ones((3, 2), np.float32), counts=np.arange(4), also=np.zeros((2, 2)))
        document, errors = self.report("mixed.npz", status=2)
        self.assertEqual([l["name"] for l in document["layers"]], ["fine", "also"])
        self.assertEqual(len(errors), 1)
        self.assertRegex(errors[0], r"^actscope: mixed\.npz: counts: .*int64")
        data, _ = encode(np.ones(6), "float32")
        write_safetensors(self.path("m.safetensors"), {"a": ("float32", (2, 3), data), "b": ("float32", (2, 4), data), "c": ("float32", (3, 2), data)})
        document, errors = self.report("m.safetensors", status=2)
        self.assertEqual([l["name"] for l in document["layers"]], ["a", "c"])
        self.assertRegex(errors[0], r"^actscope: m\.safetensors: b: \S")
        self.save("flat.npy", np.ones(5, np.float32))
        self.save("deep.npy", np.ones((2, 3), np.float32))
        document, errors = self.report("--channels", "flat.npy", "deep.npy", status=2)
        self.assertRegex(errors[0], r"^actscope: flat\.npy: flat: .*--channels")
        self.assertEqual([l["name"] for l in document["layers"]], ["deep"])
        self.assertEqual(self.report("--layers", "[fa]*", "mixed.npz")[1], [])  # what is not wanted is not complained of

    def test_2_of_a_truncated_stream(self):
        file = io.BytesIO()
        np.save(file, np.ones((8, 8)))
        self.refused(2, "report", "-", stdin=file.getvalue()[:-1], says="-")
        self.refused(2, "report", "-", stdin=b"", says="-")

    def test_3_memory_cap_names_the_smallest(self):
        np.savez(self.path("n.npz"), small=np.ones((3, 2), np.float32),
                 large=np.random.default_rng(1).standard_normal((60, 800)).astype(np.float32))
        done = self.refused(3, "report", "--memory", "1KiB", "n.npz", says="large")
        smallest = max(int(n) for n in re.findall(r"(\d+) bytes", done.stderr))
        self.assertEqual(done.stdout, b"")
        self.assertIn(str(smallest), self.refused(3, "report", "--memory", str(smallest - 1), "n.npz").stderr)
        document, _ = self.report("--memory", str(smallest), "n.npz")
        self.assertLessEqual(document["memory"]["workspace_bytes"], smallest)
        with np.load(self.path("n.npz")) as arrays:
            want = numbers(arrays["large"], "float32")
        large = [l for l in document["layers"] if l["name"] == "large"][0]
        self.close("mean_abs", large["correlation"]["mean_abs"], want["correlation"]["mean_abs"])
        self.close("variance", large["profile"]["variance"], want["profile"]["variance"])
        self.assertEqual(large["distinct"]["count"], want["distinct"])

    def test_4_no_device(self):
        self.save("x.npy", np.ones((4, 4), np.float32))
        reason = strict(self.run_program("info", "--format", "json").stdout).get("no_gpu_reason")
        if not reason:
            self.skipTest("there is a GPU: asking for one succeeds")
        self.refused(4, "report", "--device", "cuda", "x.npy", says=reason)
        self.refused(4, "report", "--device", "cuda:3", "x.npy", says=reason)

    def test_5_output_not_written(self):
        self.save("x.npy", np.ones((40, 40), np.float32))
        self.refused(5, "report", "-o", "nowhere/out.json", "x.npy", says="nowhere/out.json")
        self.refused(5, "report", "-o", self.folder, "x.npy", says=self.folder)
        if os.path.exists("/dev/full"):
            self.refused(5, "report", "--format", "json", "-o", "/dev/full", "x.npy", says="/dev/full")
            with open("/dev/full", "wb") as full:
                for kind in ("table", "json", "jsonl", "csv", "html"):
                    self.refused(5, "report", "--format", kind, "x.npy", says="standard output", stdout=full)
        if os.geteuid() != 0:
            os.chmod(self.folder, 0o500)
            self.addCleanup(os.chmod, self.folder, 0o700)
            self.refused(5, "report", "-o", "out.json", "x.npy", says="out.json")

    def test_a_closed_pipe_is_no_crash(self):
        np.savez(self.path("n.npz"), **{f"layer{k}": np.ones((3, 3)) for k in range(300)})
        process = subprocess.Popen([PROGRAM, "report", "--format", "json", "n.npz"], cwd=self.folder, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        process.stdout.close()
        error = process.stderr.read().decode()
        process.stderr.close()
        self.assertEqual(process.wait(), 5, error)
        self.assertIn("standard output", error)


class Output(Program):
    def test_is_replaced_atomically(self):
        self.save("x.npy", np.ones((6, 6), np.float32))
        old, out = "an older report\n", self.path("out.json")
        with open(out, "w") as file:
            file.write(old)
        os.chmod(out, 0o640)
        before = os.stat(out)
        kept = os.open(out, os.O_RDONLY)  # who has the old file open keeps it whole
        self.addCleanup(os.close, kept)
        done = self.run_program("report", "--format", "json", "-o", "out.json", "x.npy")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", ""))
        self.assertEqual(strict(read(out))["layers"][0]["name"], "x")
        self.assertEqual(os.read(kept, 100).decode(), old)
        self.assertNotEqual(os.stat(out).st_ino, before.st_ino)
        self.assertEqual(stat.S_IMODE(os.stat(out).st_mode), 0o640)
        self.assertEqual(sorted(os.listdir(self.folder)), ["out.json", "x.npy"])

    def test_stays_when_nothing_can_be_reported(self):
        self.save("x.npy", np.ones((6, 6), np.float32))
        with open(self.path("bad.npy"), "wb") as file:
            file.write(b"nonsense")
        for status, words in ((1, ("--layers", "zzz", "x.npy")), (2, ("bad.npy",)), (3, ("--memory", "64", "x.npy"))):
            with open(self.path("out.json"), "w") as file:
                file.write("older")
            done = self.run_program("report", "-o", "out.json", *words)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertEqual(read(self.path("out.json")), "older")

    def test_good_layers_are_written_beside_bad_ones(self):
        self.save("x.npy", np.ones((6, 6), np.float32))
        done = self.run_program("report", "--format=json", "--output=out.json", "missing.npy", "x.npy")
        self.assertEqual(done.returncode, 2)
        self.assertEqual(len(strict(read(self.path("out.json")))["layers"]), 1)


# A bare Python that starts the program as a child of its own and says how large it became: the figure of a child of
# this process would begin at the size of this process, NumPy and all.
MEASURE = """
import json, os, resource, sys
pid = os.fork()
if pid == 0:
    os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600), 1)
    os.execv(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
print(json.dumps([os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1, usage.ru_maxrss * 1024]))
"""


class Memory(Program):
    def measure(self, *words):
        """(document, the largest resident set in bytes)."""
        out = self.path("measured.json")
        process = subprocess.Popen([sys.executable, "-I", "-S", "-c", MEASURE, out, PROGRAM, "report", "--format", "json", *words],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder, start_new_session=True)
        try:
            text, error = process.communicate(timeout=300)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # the program too, should it hang
            except ProcessLookupError:
                pass
        self.assertEqual(process.returncode, 0, error)
        status, resident = json.loads(text)
        self.assertEqual(status, 0, error)
        document = strict(read(out))
        os.remove(out)
        return document, resident

    def test_8192_features_take_the_input_and_48_mib(self):
        x = np.random.default_rng(1).standard_normal((128, 512, 4, 4), dtype=np.float32)
        document, resident = self.measure(self.save("x.npy", x))
        self.assertEqual(document["layers"][0]["correlation"]["pairs"], 33550336)
        self.assertLess(resident, x.nbytes + 48 * MIB, f"{resident / MIB:.1f} MiB for an input of {x.nbytes / MIB:.0f} MiB")

    def test_a_cap_of_128_mib_holds_65536_features(self):
        x = np.random.default_rng(2).standard_normal((128, 65536), dtype=np.float32)
        path = self.save("x.npy", x)
        document, resident = self.measure("--memory", "128MiB", path)
        c = document["layers"][0]["correlation"]
        self.assertEqual((c["method"], c["pairs"]), ("exact", 65536 * 65535 // 2))
        z = (x - x.mean(axis=0, dtype=np.float64)) / (x.std(axis=0, dtype=np.float64) * math.sqrt(128))
        gram = (np.linalg.norm(z @ z.T) ** 2 - 65536) / (65536 * 65535.0)  # mean r^2 without any pair
        self.assertAlmostEqual(c["mean_square"], gram, 6)
        self.assertLessEqual(document["memory"]["workspace_bytes"], 128 * MIB)
        # beside cap and input: the program itself
        self.assertLess(resident, x.nbytes + 128 * MIB + 24 * MIB, f"{resident / MIB:.1f} MiB")

    def test_a_small_cap_changes_no_number(self):
        x = np.random.default_rng(3).standard_normal((64, 3000), dtype=np.float32)
        self.save("x.npy", x)
        wide, _ = self.measure("x.npy")
        done = self.run_program("report", "--memory", "1KiB", "x.npy")
        smallest = max(int(n) for n in re.findall(r"(\d+) bytes", done.stderr))
        tight, resident = self.measure("--memory", str(smallest), "x.npy")
        a, b = wide["layers"][0], tight["layers"][0]
        for name in ("mean_abs", "mean_square", "max_abs"):
            self.assertAlmostEqual(a["correlation"][name], b["correlation"][name], 6)
        self.assertEqual(a["distinct"], b["distinct"])
        self.assertEqual(a["health"], b["health"])
        self.assertEqual(a["profile"]["quantiles"], b["profile"]["quantiles"])
        self.assertLess(resident, x.nbytes + smallest + 24 * MIB)

    def test_memory_fields(self):
        self.save("x.npy", np.random.default_rng(2).standard_normal((64, 500)).astype(np.float32))
        memory = self.report("x.npy")[0]["memory"]
        self.assertLessEqual(memory["workspace_bytes"], memory["held_peak_bytes"])
        self.assertLessEqual(memory["held_peak_bytes"], memory["budget_bytes"])
        self.assertLess(memory["held_peak_bytes"], memory["resident_peak_bytes"])
        self.assertLessEqual(memory["resident_bytes"], memory["resident_peak_bytes"])
        self.assertIn("resident", self.run_program("report", "-v", "x.npy").stderr)

    def test_stress(self):
        done = self.run_program("stress", "--layers", 2, "--seconds", 0, "--rounds", 4, "--memory", "32MiB")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout.decode(), r"4 rounds, best .* no growth")
        done = self.run_program("stress", "--layers", 3, "--shapes", "16x4x3x3,8x10", "--seconds", 0, "--rounds", 3)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"3 layers", done.stdout)
        for words in (("--shapes", "16"), ("--shapes", "16x0"), ("--shapes", "4x4,"), ("--shapes", "axb"), ("--rounds", "0")):
            self.assertEqual(self.run_program("stress", *words).returncode, 1, words)
        done = self.run_program("stress", "--memory", "256KiB")
        self.assertEqual(done.returncode, 3)
        smallest = re.search(r"smallest that would is (\d+) bytes", done.stderr)
        self.assertTrue(smallest, done.stderr)
        self.assertEqual(self.run_program("stress", "--layers", 24, "--seconds", 0, "--rounds", 1, "--memory", smallest.group(1)).returncode, 0)


class Plan(Program):
    """`actscope plan`: what would be done, without doing it."""

    def plan(self, *words, status=0):
        done = self.run_program("plan", "--format", "json", *words)
        self.assertEqual(done.returncode, status, done.stderr)
        return json.loads(done.stdout)

    def test_says_what_report_does(self):
        g = np.random.default_rng(4)
        np.savez(self.path("n.npz"), a=g.standard_normal((40, 300)).astype(np.float32), b=g.standard_normal((40, 20)).astype(np.float16))
        plan, report = self.plan("n.npz"), self.report("n.npz")[0]
        self.assertEqual(plan["memory"]["workspace_bytes"], report["memory"]["workspace_bytes"])
        for p, r in zip(plan["layers"], report["layers"]):
            self.assertEqual((p["name"], p["correlation"], p["distinct"], p["pairs"]),
                             (r["name"], r["correlation"]["method"], r["distinct"]["method"], r["correlation"]["pairs_total"]))
            self.assertGreater(p["modelled_seconds"], 0)
        self.assertGreaterEqual(plan["modelled_seconds"], sum(p["modelled_seconds"] for p in plan["layers"]) * 0.999)

    def test_smallest_cap(self):
        self.save("x.npy", np.ones((128, 3000), np.float32))
        least = self.plan("x.npy")["memory"]["least_budget_bytes"]
        self.assertEqual(self.plan("--memory", str(least), "x.npy")["memory"]["least_budget_bytes"], least)
        self.assertEqual(self.run_program("plan", "--memory", str(least - 1), "x.npy").returncode, 3)
        self.assertEqual(self.run_program("report", "--memory", str(least), "x.npy").returncode, 0)
        self.assertEqual(self.run_program("report", "--memory", str(least - 1), "x.npy").returncode, 3)

    def test_time_budget(self):
        self.save("x.npy", np.random.default_rng(1).standard_normal((128, 2000)).astype(np.float32))
        self.assertEqual(self.plan("x.npy")["layers"][0]["correlation"], "exact")
        layer = self.plan("--time-budget", "1e-6", "--pairs", 5000, "x.npy")["layers"][0]
        self.assertEqual((layer["correlation"], layer["pairs"]), ("sampled", 5000))
        self.assertIn("time budget", layer["reason"])
        got = self.report("--time-budget", "1e-6", "--pairs", 5000, "x.npy")[0]["layers"][0]
        self.assertEqual((got["correlation"]["method"], got["correlation"]["pairs"]), ("sampled", 5000))
        self.assertEqual(self.run_program("plan", "--time-budget", "soon", "x.npy").returncode, 1)

    def test_table_and_errors(self):
        self.save("x.npy", np.ones((5, 4), np.float32))
        done = self.run_program("plan", "x.npy", "missing.npy")
        self.assertEqual(done.returncode, 2)
        self.assertIn("missing.npy", done.stderr)
        header, row = done.stdout.decode().splitlines()[-2:]
        self.assertEqual(header.index("why"), row.index("exact: "))
        done = self.run_program("plan", "--format", "csv", "x.npy")
        self.assertEqual((done.returncode, done.stderr), (1, "actscope: --format wants table or json, not 'csv'\n"))
        self.assertEqual(self.run_program("plan", "-o", "plan.txt", "x.npy").returncode, 1)
        self.assertFalse(os.path.exists(self.path("plan.txt")))
        self.assertEqual(self.run_program("plan").returncode, 1)
        self.assertIn(b"plan", self.run_program("plan", "--help").stdout)

    def test_table_in_a_terminal(self):
        """The rows keep inside of it, and why stands below them; files are named once."""
        np.savez(self.path("a.npz"), **{"encoder.layers.7.mlp.down_proj": np.ones((20, 8, 4, 4), np.float32), "b": np.ones((9, 30), np.float32)})
        self.save("c.npy", np.ones((5, 4), np.float32))
        piped = self.run_program("plan", "a.npz", "c.npy").stdout.decode()
        self.assertEqual(len(piped.splitlines()), 3 + 1 + 2 + 3)
        for columns in (80, 200):
            master, slave = pty.openpty()
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
            done = self.run_program("plan", "a.npz", "c.npy", stdout=slave)
            os.close(slave)
            text = b""
            try:
                while piece := os.read(master, 1 << 16):
                    text += piece
            except OSError:
                pass  # Linux ends a terminal that nobody holds with an error
            os.close(master)
            lines = text.decode().replace("\r", "").splitlines()
            self.assertEqual(done.returncode, 0)
            self.assertEqual([line for line in lines if len(line) > columns], [])
            self.assertEqual([lines.count(name) for name in ("a.npz:", "c.npy:")], [1, 1])
            self.assertEqual([line for line in lines if line.startswith("    exact: ")] != [], columns == 80)
            if columns == 200:
                self.assertEqual(lines, piped.splitlines())


if __name__ == "__main__":
    unittest.main()
