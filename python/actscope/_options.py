"""Options: the names and values of the command line, as the library's structure or as arguments of the program."""
from __future__ import annotations

import os
import re
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

from ._errors import InvalidArgumentError
from ._library import LogFunction, Options, enum_names, header, library

# The sections of a report, and the bits that ask for them.
STATISTICS = {member.name: header.constants["ACTSCOPE_" + member.name.upper()]
              for member in header.members["actscope_layer_report"] if member.type in header.members}
# Parts of the profile, for those who measure often: the C API has them, the command line does not.
PARTS = {name: header.constants["ACTSCOPE_" + name.upper()] for name in ("moments", "entropy", "quantiles")}
# What is no section of a layer: the network's.
NETWORK = {"cka": header.constants["ACTSCOPE_CKA"]}
NULLS = ("formula", "shift")
METHODS = {"correlation": "actscope_correlation_method", "distinct": "actscope_distinct_method"}
# What the structure takes as a number under the name it has on the command line.
_OWN = ("device", "memory", "statistics", "precision", "signed", "split_half", "null", "top_features", "log", "log_level", *METHODS)
_NUMBERS = tuple(member.name for member in header.members["actscope_options"]
                 if member.type in ("int32_t", "uint32_t", "uint64_t", "double") and not member.pointers and member.name not in
                 ("size", "device_index", "memory_budget", "statistics", "pair_functionals"))
NAMES = _OWN + _NUMBERS

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30,
          "t": 1 << 40, "tib": 1 << 40, "kb": 10 ** 3, "mb": 10 ** 6, "gb": 10 ** 9, "tb": 10 ** 12}


def size(value: Union[int, str], name: str = "memory") -> int:
    """Bytes of 67108864, "64MiB" or "1.5 GB"."""
    if isinstance(value, str):
        m = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-zA-Z]*)\s*", value)
        if m and m[2].lower() in _UNITS:
            return int(float(m[1]) * _UNITS[m[2].lower()])
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise InvalidArgumentError(f"{name} wants a size such as 64MiB or 1GiB, not {value!r}")


def words(value: Union[str, Iterable[str]], name: str) -> List[str]:
    """ "a,b" or ["a", "b"] as a list."""
    parts = value.split(",") if isinstance(value, str) else list(value)
    if not parts or not all(isinstance(part, str) for part in parts):
        raise InvalidArgumentError(f"{name} wants a list such as 'profile,correlation', not {value!r}")
    return [part.strip() for part in parts]


def _choice(value: Any, choices: Sequence[str], name: str) -> int:
    if value not in choices:
        raise InvalidArgumentError(f"{name} wants {', '.join(choices[:-1])} or {choices[-1]}, not {value!r}")
    return list(choices).index(value)


def _statistics(value: Union[str, Iterable[str]]) -> int:
    mask = 0
    for word in words(value, "statistics"):
        bits = header.constants["ACTSCOPE_ALL"] if word == "all" else {**STATISTICS, **PARTS, **NETWORK}.get(word)
        if bits is None:
            raise InvalidArgumentError(f"statistics knows {', '.join([*STATISTICS, *PARTS, *NETWORK])} and all, not {word!r}")
        mask |= bits
    return mask


def _device(value: str) -> Tuple[int, int]:
    m = re.fullmatch(r"(auto|cpu|cuda)(?::(\d+))?", value) if isinstance(value, str) else None
    if not m or (m[2] and m[1] != "cuda"):
        raise InvalidArgumentError(f"device wants auto, cpu, cuda or cuda:K, not {value!r}")
    return header.constants["ACTSCOPE_DEVICE_" + m[1].upper()], int(m[2] or 0)


def build(given: Dict[str, Any]) -> Any:
    """The library's structure. None leaves an option at its default. The caller keeps `log` alive with the structure."""
    o = Options()
    library.actscope_options_init(o)
    o.log_level = header.constants["ACTSCOPE_LOG_WARNING"]
    for name, value in given.items():
        if name not in NAMES:
            raise TypeError(f"unknown option {name!r}; there are {', '.join(sorted(NAMES))}")
        if value is None:
            continue
        if name == "device":
            o.device, o.device_index = _device(value)
        elif name == "memory":
            o.memory_budget = size(value)
        elif name == "statistics":
            o.statistics = _statistics(value)
        elif name in METHODS:
            setattr(o, name, _choice(value, enum_names(METHODS[name]), name))
        elif name == "precision":
            o.precision = _choice(value, enum_names("actscope_precision"), name)
        elif name == "signed":
            o.pair_functionals |= header.constants["ACTSCOPE_PAIRS_SIGNED"] if value else 0
        elif name == "top_features":
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidArgumentError(f"top_features wants a whole number from 1 on, not {value!r}")
            o.pair_functionals |= header.constants["ACTSCOPE_PAIRS_FEATURES"]
        elif name == "split_half":
            o.pair_functionals |= header.constants["ACTSCOPE_PAIRS_SPLIT_HALF"] if value else 0
        elif name == "null":
            o.pair_functionals |= header.constants["ACTSCOPE_PAIRS_SHIFT"] if _choice(value, NULLS, name) else 0
        elif name == "log_level":
            o.log_level = _choice(value, enum_names("actscope_log_level"), name)
        elif name == "log":
            o.log = _log_function(value)
        else:
            _set_number(o, name, value)
    return o


def _log_function(function: Any) -> Any:
    levels = enum_names("actscope_log_level")

    def line(_user: Any, level: int, message: bytes) -> None:
        function(levels[level], message.decode(errors="replace"))

    return LogFunction(line)


def _set_number(o: Any, name: str, value: Any) -> None:
    kind = type(getattr(o, name))
    try:
        number = kind(value)
        if number != value:
            raise ValueError
        setattr(o, name, number)
    except (TypeError, ValueError):
        raise InvalidArgumentError(f"{name} wants a number, not {value!r}") from None
    if getattr(o, name) != value:  # ctypes cuts a number that does not fit
        raise InvalidArgumentError(f"{name} is out of range: {value!r}")


def described(o: Any) -> Dict[str, Any]:
    """The `options` of a report, as the program writes them."""
    kinds = enum_names("actscope_device")
    device = kinds[o.device] + (f":{o.device_index}" if kinds[o.device] == "cuda" else "")
    return {
        "device": device,
        "memory": o.memory_budget,
        "statistics": [name for name, bits in {**STATISTICS, **NETWORK}.items() if o.statistics & bits],
        "correlation": enum_names("actscope_correlation_method")[o.correlation],
        "pairs": o.pairs,
        "seed": o.seed,
        "precision": enum_names("actscope_precision")[o.precision],
        "distinct": enum_names("actscope_distinct_method")[o.distinct],
        "sketch_bits": o.sketch_bits,
        "channels": bool(o.channels),
        "large_tensor": o.large_tensor,
        "top_pairs": o.top_pairs,
        "pairs_above": o.pairs_above,
        "split_half": bool(o.pair_functionals & header.constants["ACTSCOPE_PAIRS_SPLIT_HALF"]),
        "null": NULLS[bool(o.pair_functionals & header.constants["ACTSCOPE_PAIRS_SHIFT"])],
        "signed": bool(o.pair_functionals & header.constants["ACTSCOPE_PAIRS_SIGNED"]),
    }


def arguments(given: Dict[str, Any]) -> List[str]:
    """The same options for the program."""
    result: List[str] = []
    for name, value in given.items():
        option = "--" + name.replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            result.append(option)
        elif name == "layers":
            for glob in [value] if isinstance(value, str) else value:
                result += [option, glob]
        elif isinstance(value, (list, tuple)):
            result += [option, ",".join(value)]
        else:
            result += [option, os.fspath(value) if isinstance(value, os.PathLike) else str(value)]
    return result


def globs(value: Optional[Union[str, Iterable[str]]]) -> Optional[List[str]]:
    """One pattern or several; None keeps everything."""
    return None if value is None else [value] if isinstance(value, str) else list(value)
