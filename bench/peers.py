"""The NumPy way to the same numbers, driven line by line by actscope-bench.

  version                    -> "NumPy 1.24.2"
  load\tFUNCTION\tFILE...    -> "ok"; the arrays are in memory afterwards
  run                        -> seconds of one call
  peak                       -> bytes of the highest resident set since load, above what it was then
An answer that begins with "error" says what went wrong.
"""
import sys
import time

import numpy as np


def profile_moments(arrays):
    for x in arrays:
        d = x - x.mean(dtype=np.float64)
        d2 = d * d
        d2.mean(dtype=np.float64), (d2 * d).mean(dtype=np.float64), (d2 * d2).mean(dtype=np.float64)
        x.min(), x.max(), np.abs(x).mean(dtype=np.float64), np.linalg.norm(x.ravel())
        np.count_nonzero(x), np.isnan(x).sum(), np.isinf(x).sum(), (x < 0).sum()


def entropy(x):
    a = np.abs(x.ravel())
    p = a / a.sum(dtype=np.float64)
    p = p[p > 0]
    return -(p * np.log(p)).sum() / np.log(x.size)


def profile_all(arrays):
    profile_moments(arrays)
    for x in arrays:
        entropy(x), np.unique(x), np.quantile(x, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])


def distinct(arrays):
    for x in arrays:
        np.unique(x).size


def correlation(arrays):
    for x in arrays:
        x = x.reshape(x.shape[0], -1)
        with np.errstate(invalid="ignore", divide="ignore"):
            c = np.abs(np.corrcoef(x.T))
        d = c.shape[0]
        (c.sum() - d) / (d * (d - 1.0))


def network(arrays):
    """Mean |r|, distinct values and entropy of every layer: what the analyser that ran out of memory wanted."""
    for x in arrays:
        correlation([x]), np.unique(x), entropy(x)


FUNCTIONS = {f.__name__: f for f in (profile_moments, profile_all, distinct, correlation, network)}


def status(key):
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith(key))


def main():
    function, arrays, base = None, [], 0
    for line in sys.stdin:
        words = line.rstrip("\n").split("\t")
        try:
            if words[0] == "version":
                answer = "NumPy " + np.__version__
            elif words[0] == "load":
                function, arrays = FUNCTIONS[words[1]], [np.load(path) for path in words[2:]]
                with open("/proc/self/clear_refs", "w") as f:
                    f.write("5")  # restart the high-water mark
                base, answer = status("VmRSS:"), "ok"
            elif words[0] == "run":
                start = time.perf_counter()
                function(arrays)
                answer = repr(time.perf_counter() - start)
            elif words[0] == "peak":
                answer = repr(status("VmHWM:") - base)
            else:
                answer = "error: unknown word"
        except Exception as problem:  # the driver must hear of it, whatever it is
            answer = "error: " + str(problem).replace("\n", " ")
        print(answer, flush=True)


if __name__ == "__main__":
    main()
