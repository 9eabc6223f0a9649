"""actscope.report(): arrays or files in, one report out."""
from __future__ import annotations

import fnmatch
import os
import time
from typing import Any, Dict, List, Mapping, Sequence, Tuple, Union

from . import _options, _program, _report
from ._arrays import DTYPE_NAMES, View, view
from ._errors import InvalidArgumentError
from ._library import library
from ._plan import Plan

SCHEMA = "actscope-report/1"
_MEMORY = ("held_peak_bytes", "resident_bytes", "resident_peak_bytes", "device_held_peak_bytes")
Path = Union[str, "os.PathLike[str]"]


def report(data: Any, **options: Any) -> Dict[str, Any]:
    """Analyses arrays or files and returns what `actscope report --format json` writes.

    `data` is one array, a list of arrays, a dictionary of name to array, a path, or a list of paths (.npy, .npz,
    .safetensors). Arrays are those of NumPy, PyTorch, CuPy or JAX, or whatever has DLPack, __cuda_array_interface__,
    __array_interface__ or the buffer protocol; they are read where they are, with any strides, and never copied. Axis 0
    is the samples, the other axes are the features.

    Options have the names and values of the command line: device, memory ("64MiB" or bytes), statistics ("profile,rank" or
    a list), correlation, pairs, seed, precision, distinct, sketch_bits, threads, channels (bool), layers (a pattern or
    several), large_tensor, signed (bool), split_half (bool), null ("shift"), top_pairs, pairs_above, top_features; `log` is
    called with a level and a line. `compat` is for files alone.

    Layers of arrays have no file: their `source` is None, and all of them are one network. An array named "X.gradient" or
    "X.weight" belongs to the layer X. Names that are not given are "layer 0", "layer 1", ...

    Raises TypeError for what is no array, InvalidArgumentError, BudgetTooSmallError, NoDeviceError, DeviceError,
    OutOfMemoryError and UnsupportedError with the library's text, and InputError for files that cannot be read; its
    attribute `report` then has the layers that could.
    """
    paths = _paths(data)
    if paths is not None:
        return _program.report(paths, options)
    started = time.monotonic()
    named = _select(_named(data), options.pop("layers", None))
    if options.pop("compat", None):
        raise InvalidArgumentError("compat is for files alone")
    views = [(name, view(array)) for name, array in named]
    _place(views, options)
    o = _options.build(options)
    reports, layers = [], []
    found = [{"name": name, "shape": list(v.shape), "role": "activation"} for name, v in views]
    _report.pair(found)
    with Plan([(name, DTYPE_NAMES[v.dtype], v.shape, of["role"]) for (name, v), of in zip(views, found)], **options) as plan:
        backend, workspace = plan.device, plan.workspace_bytes
        for i, (name, v) in enumerate(views):
            plan.enqueue_layer(i, v)
        plan.wait()
        for i, (name, v) in enumerate(views):
            reports.append(plan.raw_report(i))
            layers.append(_report.layer(reports[-1], name, None, v.shape))
            if "correlation" in layers[-1]:
                layers[-1]["correlation"].update(plan.lists(i))
        matrix = plan.cka() if o.statistics & _options.NETWORK["cka"] else None
        usage = {name: size for name, size in _report.memory_usage(o.device_index).items() if name in _MEMORY}
    network = _report.network(reports, layers)
    if matrix is not None:
        network["cka"] = _report.cka(matrix, layers)
    return {
        "schema": SCHEMA,
        "version": library.actscope_version().decode(),
        "backend": backend,
        "device": _report.describe_device(backend, o.device_index, o.threads),
        "options": _options.described(o),
        "memory": {"budget_bytes": o.memory_budget, "workspace_bytes": workspace, **usage},
        "seconds": time.monotonic() - started,
        "layers": layers,
        "network": network,
    }


def _paths(data: Any) -> Any:
    if isinstance(data, (str, os.PathLike)):
        return [os.fspath(data)]
    if isinstance(data, (list, tuple)) and data and all(isinstance(item, (str, os.PathLike)) for item in data):
        return [os.fspath(item) for item in data]
    return None


def _named(data: Any) -> List[Tuple[str, Any]]:
    if isinstance(data, Mapping):
        return [(str(name), array) for name, array in data.items()]
    arrays = data if isinstance(data, (list, tuple)) else [data]
    return [(f"layer {i}", array) for i, array in enumerate(arrays)]


def _select(named: List[Tuple[str, Any]], patterns: Any) -> List[Tuple[str, Any]]:
    globs = _options.globs(patterns)
    if globs is not None:
        named = [(name, array) for name, array in named if any(fnmatch.fnmatchcase(name, glob) for glob in globs)]
        if not named:
            raise InvalidArgumentError(f"no layer matches layers={patterns!r}")
    if not named:
        raise InvalidArgumentError("no arrays")
    return named


def _place(views: Sequence[Tuple[str, View]], options: Dict[str, Any]) -> None:
    """Arrays on a GPU are measured there: `device` follows them unless it was given."""
    places = {v.device for _, v in views}
    if places == {-1}:
        return
    if len(places) > 1:
        raise TypeError("the arrays are on different devices: " + ", ".join("host" if p < 0 else f"cuda:{p}" for p in sorted(places)))
    place = f"cuda:{places.pop()}"
    if options.get("device") in (None, "auto", "cuda"):
        options["device"] = place
    elif options["device"] != place:
        raise InvalidArgumentError(f"device is {options['device']}, and the arrays are on {place}")
