"""Other ways to the numbers of a case, driven line by line by actscope-bench: peers.py cpu|cuda [all]

  ping                                   -> ok
  present, absent                        -> "NumPy 2.3.5, PyTorch 2.9.1", "DataSketches"
  knows  OPERATION DTYPE                 -> yes or no
  load   OPERATION DTYPE [FILE NxD]...   -> the names of the ways, separated by tabs; the arrays are in memory afterwards
  run    K                               -> seconds of one call of way K
  peak   K                               -> bytes way K held at most beyond what there was before its calls
  unload                                 -> ok
Words of a line are separated by tabs. An answer that begins with "error" says what went wrong.

With `all` the CPU has the ways too that are left out there for the time they take.

Every way returns the numbers it computed, so that tests can hold them against the oracle: nobody is timed for less work.
"""
import collections
import sys
import time

import numpy as np

LEVELS = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
WAYS = {}  # operation -> [(name, library, dtypes, function)]
VERSIONS = {"NumPy": np.__version__}
WIDE = ("f32", "f64")


def way(operation, name, dtypes=WIDE):
    """Registers one way to an operation; its library is the first word of the name."""
    def register(function):
        WAYS.setdefault(operation, []).append((name, name.split()[0], dtypes, function))
        return function
    return register


# ---- NumPy -----------------------------------------------------------------------------------------------------------
def numpy_ways():
    @way("moments", "NumPy")
    def moments(x):
        mean = x.mean(dtype=np.float64)
        d = x - mean
        d2 = d * d
        m2, m3, m4 = d2.mean(dtype=np.float64), (d2 * d).mean(dtype=np.float64), (d2 * d2).mean(dtype=np.float64)
        a = np.abs(x)
        return dict(mean=mean, variance=m2 * x.size / (x.size - 1), skewness=m3 / m2**1.5, kurtosis=m4 / m2**2 - 3,
                    min=x.min(), max=x.max(), abs_mean=a.mean(dtype=np.float64), l2_norm=np.linalg.norm(x.ravel()),
                    zero=x.size - np.count_nonzero(x), nan=np.isnan(x).sum(), inf=np.isinf(x).sum(), negative=(x < 0).sum())

    def entropy(x):
        a = np.abs(x.ravel())
        p = a / a.sum(dtype=np.float64)
        p = p[p > 0]
        return -(p * np.log(p)).sum(dtype=np.float64) / np.log(x.size)

    @way("quantiles", "NumPy")
    def quantiles(x):
        return dict(moments(x), entropy=entropy(x), quantiles=np.quantile(x, LEVELS, method="inverted_cdf"))

    @way("profile", "NumPy")
    def profile(x):
        return dict(quantiles(x), distinct=np.unique(x).size)

    @way("distinct", "NumPy unique")
    def distinct(x):
        return dict(distinct=np.unique(x).size)

    @way("columns", "NumPy")
    def columns(x):
        low, high, top = x.min(0), x.max(0), np.abs(x).max(0)
        return dict(constant=(low == high).sum(), dead=(top <= 1e-6).sum(), mean=x.mean(0), std=x.std(0))

    @way("correlation", "NumPy corrcoef")
    def corrcoef(x):
        with np.errstate(invalid="ignore", divide="ignore"):
            c = np.abs(np.corrcoef(x.T))
        d = c.shape[0]
        return dict(mean_abs=(c.sum() - d) / (d * (d - 1.0)))

    def standardised(x):
        z = x - x.mean(0)
        return z / np.sqrt((z * z).sum(0))

    @way("correlation", "NumPy tiles")  # BLAS products of tiles, each reduced as it comes
    def tiles(x, side=1024):
        z, total = standardised(x), 0.0
        d = z.shape[1]
        for i in range(0, d, side):
            for j in range(i, d, side):
                c = z[:, i:i + side].T @ z[:, j:j + side]
                np.abs(c, out=c)
                total += (1 if i == j else 2) * c.sum(dtype=np.float64)
        return dict(mean_abs=(total - d) / (d * (d - 1.0)))

    @way("mean_square", "NumPy Gram")
    def gram(x):
        z = standardised(x)
        d, k = z.shape[1], z @ z.T if z.shape[0] <= z.shape[1] else z.T @ z
        return dict(mean_square=((k * k).sum(dtype=np.float64) - d) / (d * (d - 1.0)))

    @way("network", "NumPy corrcoef, unique, entropy")
    def network(x):
        return dict(corrcoef(x), distinct=np.unique(x).size, entropy=entropy(x))


# ---- DataSketches ----------------------------------------------------------------------------------------------------
def datasketches_ways():
    import importlib.metadata
    import datasketches
    VERSIONS["DataSketches"] = importlib.metadata.version("datasketches")

    # The binding takes one value a call: most of the time is the interpreter's.
    def fed(sketch, x):
        collections.deque(map(sketch.update, x.ravel().tolist()), maxlen=0)
        return dict(distinct=sketch.get_estimate())

    @way("distinct", "DataSketches HLL from Python", ("f32",))
    def hll(x):
        return fed(datasketches.hll_sketch(12), x)

    @way("distinct", "DataSketches CPC from Python", ("f32",))
    def cpc(x):
        return fed(datasketches.cpc_sketch(12), x)

    @way("quantiles", "DataSketches KLL, quantiles only", ("f32",))
    def kll(x):
        sketch = datasketches.kll_floats_sketch(200)
        sketch.update(x.ravel())
        return dict(quantiles=sketch.get_quantiles(LEVELS))


# ---- PyTorch, on either device ---------------------------------------------------------------------------------------
def torch_ways(cuda, every):
    import torch
    VERSIONS["PyTorch"] = torch.__version__
    if cuda and not torch.cuda.is_available():
        raise ImportError("PyTorch sees no GPU")
    any_type = ("f32", "f64", "f16", "bf16") if cuda else WIDE

    @way("moments", "PyTorch", any_type)
    def moments(x):
        f = x if x.dtype == torch.float64 else x.float()
        mean = f.mean()
        d = f - mean
        d2 = d * d
        m2, m3, m4 = d2.mean(), (d2 * d).mean(), (d2 * d2).mean()
        return dict(mean=mean, variance=m2 * x.numel() / (x.numel() - 1), skewness=m3 / m2**1.5, kurtosis=m4 / m2**2 - 3,
                    min=x.min(), max=x.max(), abs_mean=f.abs().mean(), l2_norm=f.norm(),
                    zero=x.numel() - torch.count_nonzero(x), nan=torch.isnan(x).sum(), inf=torch.isinf(x).sum(),
                    negative=(x < 0).sum())

    def entropy(x):
        a = x.flatten().float().abs()
        p = a / a.sum()
        return -torch.special.xlogy(p, p).sum() / float(np.log(x.numel()))

    # torch.quantile refuses more than 16 million elements, and a sort gives distinct values too.
    def from_sorted(x, with_distinct):
        s = x.flatten().sort().values
        at = [min(max(int(np.ceil(q * s.numel())) - 1, 0), s.numel() - 1) for q in LEVELS]
        found = dict(quantiles=s[torch.tensor(at, device=s.device)])
        if with_distinct:
            found["distinct"] = (s[1:] != s[:-1]).sum() + 1
        return found

    @way("quantiles", "PyTorch", any_type)
    def quantiles(x):
        return dict(moments(x), entropy=entropy(x), **from_sorted(x, False))

    @way("profile", "PyTorch", any_type)
    def profile(x):
        return dict(moments(x), entropy=entropy(x), **from_sorted(x, True))

    @way("distinct", "PyTorch unique", any_type)
    def distinct(x):
        return dict(distinct=torch.unique(x).numel())

    @way("columns", "PyTorch", any_type)
    def columns(x):
        low, high, top = x.amin(0), x.amax(0), x.abs().amax(0)
        return dict(constant=(low == high).sum(), dead=(top <= 1e-6).sum(), mean=x.mean(0), std=x.std(0))

    @way("correlation", "PyTorch corrcoef", any_type)
    def corrcoef(x):
        c = torch.corrcoef(x.float().T).abs_()
        d = c.shape[0]
        return dict(mean_abs=(c.sum(dtype=torch.float64) - d) / (d * (d - 1.0)))

    @way("mean_square", "PyTorch Gram", any_type)
    def gram(x):
        z = x.float() - x.float().mean(0)
        z = z / z.norm(dim=0)
        d, k = z.shape[1], z @ z.T if z.shape[0] <= z.shape[1] else z.T @ z
        return dict(mean_square=((k * k).sum(dtype=torch.float64) - d) / (d * (d - 1.0)))

    @way("network", "PyTorch corrcoef, unique, entropy", any_type)
    def network(x):
        return dict(corrcoef(x), distinct=torch.unique(x).numel(), entropy=entropy(x))

    if cuda or every:  # on a CPU corrcoef and unique once more take as long again as the way above
        @way("network", "PyTorch neuroexapt formulas", any_type)
        def neuroexapt(x):
            """The scores that an activation alone gives, as docs/analysis.md has them, of all its data."""
            f = x if x.dtype == torch.float64 else x.float()
            size, first, count = f.abs(), f[:10], float(x.numel())
            p = (size + 1e-8) / (size + 1e-8).sum()
            entropy = -(p * torch.log(p + 1e-8)).sum()
            c = torch.corrcoef(f.T).abs_()
            d = c.shape[0]
            correlation = ((c.sum(dtype=torch.float64) - d) / (d * (d - 1.0))).nan_to_num(nan=0.0)  # one NaN makes it 0
            cosines = torch.nn.functional.cosine_similarity(first[:, None], first[None], dim=2, eps=1e-8).triu(1)
            redundancy = 1 - torch.unique(x).numel() / count
            return dict(activation_saturation=torch.where((f >= 0).all(), (f == 0).sum(), (size > 0.9).sum()) / count,
                        entropy=entropy, neuron_utilization=(f > 1e-6).any(0).sum() / float(d),
                        activation_diversity=(1 - cosines.sum() / (len(first) * (len(first) - 1) / 2)).clamp(min=0),
                        feature_correlation=correlation, information_redundancy=redundancy, actual_capacity=(size > 1e-6).sum(),
                        information_flow_bottlenecks=0.3 * (1 - entropy) + 0.4 * correlation + 0.3 * redundancy)

    if not cuda:
        return

    def compiled(operation, function, shape):
        made = torch.compile(function, dynamic=False)

        @way(operation, "PyTorch compiled", ("f32",))
        def run(x):  # half a minute a shape: only for the one that tells most
            if tuple(x.shape) != shape:
                raise ValueError("is not compiled for this shape")
            return made(x)

    compiled("moments", moments, (65536, 1024))
    compiled("correlation", corrcoef, (128, 8192))


# ---- CuPy ------------------------------------------------------------------------------------------------------------
def cupy_ways():
    import cupy
    VERSIONS["CuPy"] = cupy.__version__

    @way("distinct", "CuPy unique")
    def distinct(x):
        return dict(distinct=cupy.unique(cupy.from_dlpack(x)).size)

    @way("correlation", "CuPy corrcoef")
    def corrcoef(x):
        c = cupy.abs(cupy.corrcoef(cupy.from_dlpack(x).T))
        d = c.shape[0]
        return dict(mean_abs=(c.sum() - d) / (d * (d - 1.0)))


# ---- Arrays and memory, by device ------------------------------------------------------------------------------------
TYPES = {"f32": np.float32, "f64": np.float64, "f16": np.float16, "bf16": np.uint16, "f8e4m3": np.uint8, "f8e5m2": np.uint8}


def read(path, dtype, shape):
    n, d = (int(k) for k in shape.split("x"))
    block = np.fromfile(path, TYPES[dtype])
    return np.tile(block, n * d // block.size).reshape(n, d)


class Cpu:
    """NumPy arrays; PyTorch looks at the same memory. Peak: of the process's resident set."""
    def __init__(self):
        self.torch = sys.modules.get("torch")

    def array(self, host, dtype):
        return host

    def given(self, x, library):
        return self.torch.from_numpy(x) if library == "PyTorch" else x

    def status(self, key):
        with open("/proc/self/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith(key))

    def reset(self):
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")  # restart the high-water mark
        self.base = self.status("VmRSS:")

    def peak(self):
        return max(0, self.status("VmHWM:") - self.base)

    def timed(self, call):
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    def free(self):
        pass


class Cuda:
    """PyTorch's arrays; CuPy takes them as they are. Peaks: of PyTorch's allocator, and of CuPy's pool made anew."""
    def __init__(self):
        import torch
        self.torch = torch
        self.cupy = sys.modules.get("cupy")
        self.flush = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")

    def array(self, host, dtype):
        x = self.torch.from_numpy(host)
        if dtype == "bf16":
            x = x.view(self.torch.bfloat16)
        return x.cuda()

    def given(self, x, library):
        return x

    def reset(self):
        self.free()
        self.torch.cuda.reset_peak_memory_stats()
        self.base = self.torch.cuda.memory_allocated()

    def peak(self):
        pool = self.cupy.get_default_memory_pool().total_bytes() if self.cupy else 0
        return self.torch.cuda.max_memory_allocated() - self.base + pool

    def timed(self, call):
        """With the L2 cache flushed, from before the call to the end of its work; host synchronisations count."""
        self.flush.fill_(1)
        self.torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        self.torch.cuda.synchronize()
        return time.perf_counter() - start

    def free(self):
        self.torch.cuda.empty_cache()
        if self.cupy:
            self.cupy.get_default_memory_pool().free_all_blocks()


def open_libraries(device, every):
    """Names of the libraries that are not here."""
    absent = []
    wanted = [("PyTorch", lambda: torch_ways(device == "cuda", every))]
    if device == "cpu":
        numpy_ways()
        wanted.append(("DataSketches", datasketches_ways))
    else:
        wanted.append(("CuPy", cupy_ways))
    for name, register in wanted:
        try:
            register()
        except ImportError:
            VERSIONS.pop(name, None)
            absent.append(name)
    return absent


class Worker:
    def __init__(self, device, every=False):
        self.absent = open_libraries(device, every)
        if device == "cuda" and "PyTorch" in self.absent:
            raise SystemExit("peers.py: no PyTorch with a GPU")
        self.device = Cpu() if device == "cpu" else Cuda()
        self.ways, self.arrays, self.peaks = [], [], {}

    def known(self, operation, dtype):
        return [w for w in WAYS.get(operation, []) if dtype in w[2]]

    def answer(self, words):
        if words[0] == "ping":
            return "ok"
        if words[0] == "present":
            return ", ".join(f"{name} {version}" for name, version in VERSIONS.items())
        if words[0] == "absent":
            return ", ".join(self.absent)
        if words[0] == "knows":
            return "yes" if self.known(words[1], words[2]) else "no"
        if words[0] == "load":
            self.ways = self.known(words[1], words[2])
            self.arrays = [self.device.array(read(pair[0], words[2], pair[1]), words[2])
                           for pair in zip(words[3::2], words[4::2])]
            return "\t".join(w[0] for w in self.ways)
        if words[0] == "run":
            return repr(self.run(int(words[1])))
        if words[0] == "peak":
            return repr(self.peaks[int(words[1])])
        if words[0] == "unload":
            self.ways, self.arrays, self.peaks = [], [], {}
            self.device.free()
            return "ok"
        return "error: unknown word"

    def run(self, k):
        _, library, _, function = self.ways[k]
        arrays = [self.device.given(x, library) for x in self.arrays]
        if k not in self.peaks:
            self.device.reset()
            if isinstance(self.device, Cuda):  # handles, compilation
                [function(x) for x in arrays]
        seconds = self.device.timed(lambda: [function(x) for x in arrays])
        if k not in self.peaks:
            self.peaks[k] = self.device.peak()
        return seconds


def main():
    worker = Worker(sys.argv[1] if len(sys.argv) > 1 else "cpu", "all" in sys.argv[2:])
    for line in sys.stdin:
        try:
            answer = worker.answer(line.rstrip("\n").split("\t"))
        except Exception as problem:  # the driver must hear of it, whatever it is
            answer = "error: " + str(problem).replace("\n", " ")
        print(answer, flush=True)


if __name__ == "__main__":
    main()
