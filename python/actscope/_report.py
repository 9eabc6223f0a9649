"""Reports of the library as dictionaries, field for field those of `actscope report --format json`."""
from __future__ import annotations

import ctypes
import math
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ._arrays import DTYPE_NAMES
from ._library import Bottleneck, DeviceInfo, LayerReport, Memory, check, enum_names, header, library
from ._options import STATISTICS

_QUANTILES = [f"{v:.15g}" for v in header.arrays["actscope_quantile_levels"].in_dll(library, "actscope_quantile_levels")]
_THRESHOLDS = [f"{v:.15g}" for v in header.arrays["actscope_pair_thresholds"].in_dll(library, "actscope_pair_thresholds")]
_KEYS = {"quantiles": _QUANTILES, "above": _THRESHOLDS}
_ALL_PAIRS = header.constants["ACTSCOPE_PAIRS_ALL"]
_GRAM = header.constants["ACTSCOPE_CORRELATION_GRAM"]


def _real(value: float) -> Optional[float]:
    """A number that does not exist is None."""
    return value if math.isfinite(value) else None


def _reader(section: str, member: Any) -> Callable[[Any], Any]:
    """How one field of a section is read out of its structure."""
    name = member.name
    if member.type in header.enums:
        names = enum_names(member.type)
        return lambda s: names[getattr(s, name)]
    if member.length is not None:
        keys = _KEYS.get(name)
        if keys is not None:
            return lambda s: {key: _real(v) for key, v in zip(keys, getattr(s, name))}
        if member.type == "double":
            return lambda s: [_real(v) for v in getattr(s, name)]
        return lambda s: list(getattr(s, name))
    if member.type == "double":
        return lambda s: _real(getattr(s, name))
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


def layer(report: Any, name: str, source: Optional[str], shape: Sequence[int]) -> Dict[str, Any]:
    """One layer's report."""
    result: Dict[str, Any] = {
        "name": name, "source": source, "dtype": DTYPE_NAMES[report.dtype], "shape": list(shape),
        "samples": report.samples, "features": report.features, "seconds": _real(report.seconds),
        "warnings": warnings_of(report),
    }
    for section, bits, fields in SECTIONS:
        if report.statistics & bits:
            structure = getattr(report, section)
            result[section] = {field: read(structure) for field, read in fields}
    if "correlation" in result and report.correlation.method == _GRAM:
        result["correlation"]["histogram"] = None  # it looked at no pair
    return result


def network(reports: Sequence[Any], layers: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """Bottlenecks, most constrained first, and the layers that are large."""
    array = (LayerReport * max(len(reports), 1))(*reports)
    ranking = (Bottleneck * max(len(reports), 1))()
    check(library.actscope_rank_bottlenecks(array, len(reports), ranking))
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
    return {"bottlenecks": bottlenecks,
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
