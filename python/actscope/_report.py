"""Reports of the library as dictionaries, field for field those of `actscope report --format json`."""
from __future__ import annotations

import ctypes
import math
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from . import _options
from ._arrays import DTYPE_NAMES
from ._library import Bottleneck, DeviceInfo, LayerReport, Memory, NetworkScores, check, enum_names, header, library
from ._options import STATISTICS

_QUANTILES = [f"{v:.15g}" for v in header.arrays["actscope_quantile_levels"].in_dll(library, "actscope_quantile_levels")]
_THRESHOLDS = [f"{v:.15g}" for v in header.arrays["actscope_pair_thresholds"].in_dll(library, "actscope_pair_thresholds")]
_KEYS = {"quantiles": _QUANTILES, "above": _THRESHOLDS}
_PROFILE = header.constants["ACTSCOPE_PROFILE"]
_GRAM = header.constants["ACTSCOPE_CORRELATION_GRAM"]


def real(value: float) -> Optional[float]:
    """A number that does not exist is None."""
    return value if math.isfinite(value) else None


def _buckets(counts: Sequence[int]) -> Dict[str, Any]:
    """From the first bucket that holds a value to the last; the first is numbered from that of the zeros."""
    held = [k for k, n in enumerate(counts) if n]
    if not held:
        return {"first": 0, "counts": []}
    return {"first": held[0] - len(counts) // 2, "counts": list(counts[held[0]:held[-1] + 1])}


def bucket_limits(buckets: Dict[str, Any]) -> List[float]:
    """The upper limit of each bucket of a layer's values."""
    edge = library.actscope_value_edge
    return [-edge(-k) if k < 0 else edge(k + 1) for k in range(buckets["first"], buckets["first"] + len(buckets["counts"]))]


def _reader(section: str, member: Any) -> Callable[[Any], Any]:
    """How one field of a section is read out of its structure."""
    name = member.name
    if member.type in header.enums:
        names = enum_names(member.type)
        return lambda s: names[getattr(s, name)]
    if name == "buckets":
        return lambda s: _buckets(getattr(s, name))
    if member.length is not None:
        keys = _KEYS.get(name)
        if keys is not None:
            return lambda s: {key: real(v) for key, v in zip(keys, getattr(s, name))}
        if member.type == "double":
            return lambda s: [real(v) for v in getattr(s, name)]
        return lambda s: list(getattr(s, name))
    if member.type == "double":
        return lambda s: real(getattr(s, name))
    return lambda s: getattr(s, name)


# The sections of a layer: the members of its report that are structures of their own.
SECTIONS: List[Tuple[str, int, List[Tuple[str, Callable[[Any], Any]]]]] = [
    (member.name, STATISTICS[member.name],
     [(inner.name, _reader(member.name, inner)) for inner in header.members[member.type]])
    for member in header.members["actscope_layer_report"] if member.type in header.members
]


def sentences(structure: Any, count: str, function: Callable[..., int]) -> List[str]:
    """The texts of all bits that are set: warnings of a report."""
    text = ctypes.create_string_buffer(512)
    return [text.value.decode(errors="replace") for bit in range(header.constants[count])
            if function(ctypes.byref(structure), bit, text, len(text))]


def warnings_of(report: Any) -> List[str]:
    """What the library has to say of a layer."""
    return sentences(report, "ACTSCOPE_WARN_COUNT", library.actscope_warning_text) if report.warnings else []


def layer(report: Any, name: str, source: Optional[str], shape: Sequence[int], role: str = "activation") -> Dict[str, Any]:
    """One layer's report."""
    result: Dict[str, Any] = {
        "name": name, "source": source, "role": role, "dtype": DTYPE_NAMES[report.dtype], "shape": list(shape),
        "samples": report.samples, "features": report.features, "seconds": real(report.seconds),
        "warnings": warnings_of(report),
    }
    for section, bits, fields in SECTIONS:
        if report.statistics & bits:
            structure = getattr(report, section)
            result[section] = {field: read(structure) for field, read in fields}
    if "profile" in result and report.statistics & _PROFILE != _PROFILE:
        part = result["profile"]
        for field in part:  # what was not asked for is None as a whole
            if not report.statistics & _options.PARTS.get("quantiles" if field == "buckets" else field, _options.PARTS["moments"]):
                part[field] = None
    if "correlation" in result and report.correlation.method == _GRAM:
        result["correlation"]["histogram"] = None  # it looked at no pair
    return result


def pair(layers: Sequence[Dict[str, Any]]) -> List[int]:
    """Finds gradients and weights by name, as the program does: X.gradient or X.grad, of the shape of a layer X, and
    X.weight. Sets "role" of each layer; returns the index of the layer that each belongs to, its own for an activation."""
    owner, taken = list(range(len(layers))), set()
    for i, of in enumerate(layers):
        for suffix, role in ((".gradient", "gradient"), (".grad", "gradient"), (".weight", "weight")):
            stem = of["name"][:-len(suffix)]
            if not of["name"].endswith(suffix) or not stem:
                continue
            for k, other in enumerate(layers):
                if other["name"] == stem and (k, role) not in taken and (role == "weight" or other["shape"] == of["shape"]):
                    taken.add((k, role))
                    owner[i], of["role"] = k, role
                    break
            break
    return owner


def _roles(layers: Sequence[Dict[str, Any]]) -> Any:
    return (ctypes.c_int * max(len(layers), 1))(*(header.constants["ACTSCOPE_ROLE_" + of["role"].upper()] for of in layers))


def scores(reports: Sequence[Any], layers: Sequence[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """The families of scores of each activation, with their ingredients and reasons."""
    count, owner = len(reports), pair(layers)
    array = (LayerReport * max(count, 1))(*reports)
    roles = _roles(layers)
    keys = [ctypes.create_string_buffer(str(k).encode()) for k in owner]  # names may be there twice
    names = (ctypes.POINTER(ctypes.c_char) * max(count, 1))(*(ctypes.cast(key, ctypes.POINTER(ctypes.c_char)) for key in keys))
    found, scored = (NetworkScores * max(count, 1))(), ctypes.c_size_t()
    check(library.actscope_network_analyze(array, roles, names, count, found, ctypes.byref(scored)))
    families, parts = header.constants["ACTSCOPE_SCORE_COUNT"], header.constants["ACTSCOPE_INGREDIENT_COUNT"]
    text = ctypes.create_string_buffer(512)
    none = ctypes.c_size_t(-1).value
    rows = []
    for s in found[:scored.value]:
        row = {"layer": layers[s.layer]["name"], "source": layers[s.layer]["source"],
               "gradient": None if s.gradient == none else layers[s.gradient]["name"],
               "weight": None if s.weight == none else layers[s.weight]["name"]}
        row.update((library.actscope_score_name(k).decode(), real(s.score[k])) for k in range(families))
        row["ingredients"] = {library.actscope_ingredient_name(k).decode(): real(s.ingredient[k]) for k in range(parts)}
        row["reasons"] = [text.value.decode(errors="replace") for k in range(parts)
                          if library.actscope_ingredient_text(ctypes.byref(s), array, k, text, len(text))]
        rows.append(row)
    return rows


def cka(matrix: Sequence[Sequence[Optional[float]]], layers: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """CKA of the activations among the layers, whose roles are known."""
    those = [i for i, of in enumerate(layers) if of["role"] == "activation"]
    return {"layers": [layers[i]["name"] for i in those], "sources": [layers[i]["source"] for i in those],
            "matrix": [[matrix[i][j] for j in those] for i in those]}


def network(reports: Sequence[Any], layers: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """Bottlenecks, most constrained first, the families of scores, and the layers that are large."""
    array = (LayerReport * max(len(reports), 1))(*reports)
    ranking = (Bottleneck * max(len(reports), 1))()
    families = scores(reports, layers)  # and the roles
    check(library.actscope_rank_bottlenecks(array, _roles(layers), len(reports), ranking))
    text = ctypes.create_string_buffer(512)
    bottlenecks = []
    for entry in ranking[:len(reports)]:
        if not math.isfinite(entry.score):
            continue
        reasons = [text.value.decode(errors="replace") for bit in range(header.constants["ACTSCOPE_REASON_COUNT"])
                   if library.actscope_reason_text(ctypes.byref(entry), ctypes.byref(array[entry.layer]), bit, text, len(text))]
        of = layers[entry.layer]
        bottlenecks.append({"layer": of["name"], "source": of["source"], "score": entry.score, "reasons": reasons})
    large = header.constants["ACTSCOPE_WARN_LARGE_TENSOR"]
    return {"bottlenecks": bottlenecks, "scores": families,
            "large_tensors": [of["name"] for report, of in zip(reports, layers) if report.warnings & large]}


def devices() -> List[Dict[str, Any]]:
    """The devices that this build can use here, the CPU first: backend, index, name, code, units, memory_bytes."""
    capacity = 16
    array, count = (DeviceInfo * capacity)(), ctypes.c_size_t()
    check(library.actscope_devices(array, capacity, ctypes.byref(count)))
    kinds = enum_names("actscope_device")
    return [{"backend": kinds[d.device], "index": d.index, "name": d.name.decode(errors="replace"),
             "code": d.backend.decode(errors="replace"), "units": d.units, "memory_bytes": d.memory_bytes}
            for d in array[:min(count.value, capacity)]]


def memory_usage(index: int = 0) -> Dict[str, int]:
    """Bytes: held_bytes and held_peak_bytes by this library in host memory, resident_bytes and resident_peak_bytes by the
    process, and the same of GPUs (device_held_bytes, ..., of device `index` device_used_bytes and device_total_bytes).
    What the system does not tell is 0."""
    memory = Memory()
    check(library.actscope_memory_usage(index, ctypes.byref(memory)))
    return {name: getattr(memory, name) for name, _ in Memory._fields_}


def describe_device(backend: str, index: int, threads: int) -> str:
    """ "AMD EPYC, 2 threads, avx512" """
    for d in devices():
        if d["backend"] == backend and (backend != "cuda" or d["index"] == index):
            units = threads if threads > 0 and backend == "cpu" else d["units"]
            word = "thread" if backend == "cpu" else "multiprocessor"
            return f"{d['name']}, {units} {word}{'' if units == 1 else 's'}, {d['code']}"
    return "unknown"
