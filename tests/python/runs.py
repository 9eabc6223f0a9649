"""Streams of a monitor for tests: real reports at the first step, moved about at the others."""
import copy, json, math

import numpy as np

import test_package  # sets the path up
from test_package import actscope
from actscope import sinks


def layers(count, statistics="all", **options):
    """Reports of `count` layers, as a monitor's record has them: every fourth is the gradient of the one before."""
    random = np.random.default_rng(count)
    arrays = {}
    for i in range(count):
        x = random.normal(size=(24, 16 + i % 5)) + random.normal(size=(24, 1)) * (0.2 + i % 3)
        x[:, : i % 4] = 0
        arrays[str(i)] = np.maximum(x, -0.5).astype(np.float32)
    found = actscope.report(arrays, threads=1, statistics=statistics, **options)["layers"]
    for i, layer in enumerate(found):
        del layer["source"], layer["role"]
        gradient = i % 4 == 3
        of = i - 1 if gradient else i
        layer.update(name=f"encoder.layers.{of}.{('attn.out', 'mlp.up', 'mlp.down')[of % 3]}", order=i, passes=1,
                     kind="gradient" if gradient else "activation")
    return found


def records(first, steps, every=10, bad=()):
    """One record a step. Numbers drift; at the steps in `bad` the layer bad[step] has 3 NaN and an infinity."""
    for k in range(steps):
        now, alarm = copy.deepcopy(first), None
        for i, layer in enumerate(now):
            part = 1 + 0.6 * math.sin(0.7 * k + i)
            if "profile" in layer:
                for name in ("std", "abs_max"):
                    layer["profile"][name] *= 10 ** (k / max(steps, 1)) * part
            c = layer.get("correlation")
            if c and c["adjusted_rms"] is not None:
                c["adjusted_rms"] = min(1.0, c["adjusted_rms"] * part)
            if "health" in layer:
                layer["health"]["dead"] = min(layer["features"], int(layer["health"]["dead"] * part + k * 5 // max(steps, 1)))
        step = k * every
        if step in bad:
            layer = now[bad[step]]
            layer["profile"].update(nan=3, positive_inf=1, finite=layer["profile"]["finite"] - 4)
            layer["health"]["nonfinite"] = 2
            layer["warnings"] = ["3 NaN and 1 infinite of 384 values"]
            alarm = {"step": step, "layer": layer["name"], "kind": layer["kind"], "order": layer["order"], "nan": 3, "inf": 1}
        yield {"schema": sinks.SCHEMA, "step": step, "time": 1.75e9 + 60 * k, "rank": 0, "seconds": 0.0125, "layers": now,
               "alarm": alarm, "warnings": ["fc9 (activation): 64 KiB is too small"] if k == 1 else []}


def with_cka(record, seed=0):
    """The record with a matrix between its activations, in another order than its layers; the second cannot be compared."""
    names = [layer["name"] for layer in record["layers"] if layer["kind"] == "activation"][::-1]
    random = np.random.default_rng(seed)
    matrix = np.round(random.uniform(-0.05, 0.9, (len(names),) * 2), 6)
    matrix = [[1.0 if i == j else float(matrix[min(i, j), max(i, j)]) for j in range(len(names))] for i in range(len(names))]
    for i in range(len(names)):
        matrix[i][-2] = matrix[-2][i] = None
    return {**record, "cka": {"layers": names, "matrix": matrix}}


def write(path, all_records):
    """Through the sink itself."""
    sink = sinks.JSONL(path)
    sink.open()
    for record in all_records:
        sink.write(record)
    sink.close()
    return path
