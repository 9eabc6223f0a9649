"""What tests of the program `actscope` share: files as NumPy writes them, numbers that NumPy computes in float64, and a run of the
program."""
import json, math, os, re, struct, subprocess, tempfile, unittest, warnings

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
def buckets(finite):
    """Half octaves of either sign, as the report has them: from the first that holds a value to the last."""
    fraction, exponent = np.frexp(np.abs(finite))  # of 0.5 <= fraction < 1
    k = np.where(finite == 0, 0, np.clip(2 * (exponent - 1 + 40) + (fraction >= 0.75) + 1, 1, 112)) * np.sign(finite).astype(int)
    if not k.size:
        return {"first": 0, "counts": []}
    return {"first": int(k.min()), "counts": np.bincount(k - k.min()).tolist()}


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
    p["buckets"] = buckets(finite)
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
            if name == "buckets":
                self.assertEqual(got["profile"][name], value, title)
            elif name == "quantiles":
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
