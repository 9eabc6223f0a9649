"""A layer's report as flat numbers under their path in the JSON format: "profile.quantiles.0.5", "correlation.above.0.9"."""
from __future__ import annotations

from typing import Any, Dict, List, Mapping

from . import _report
from ._library import LayerReport


def flatten(layer: Mapping[str, Any]) -> Dict[str, Any]:
    """Every number of the sections, the buckets of values aside, as in the csv format: a list of two is lo and hi, longer
    ones are counted from 0."""
    flat: Dict[str, Any] = {}
    for section, _, _ in _report.SECTIONS:
        for name, value in (layer.get(section) or {}).items():
            path = f"{section}.{name}"
            if name == "buckets":
                continue
            if isinstance(value, Mapping):
                flat.update({f"{path}.{key}": v for key, v in value.items()})
            elif isinstance(value, list):
                keys = ("lo", "hi") if len(value) == 2 else range(len(value))
                flat.update({f"{path}.{key}": v for key, v in zip(keys, value)})
            else:
                flat[path] = value
    return flat


def columns() -> List[str]:
    """The paths of all numbers, the same whatever is measured."""
    full = LayerReport()
    for _, bits, _ in _report.SECTIONS:
        full.statistics |= bits
    return list(flatten(_report.layer(full, "", None, ())))
