"""Finds and loads libactscope.so, and turns its statuses into exceptions.

Looked for in this order: $ACTSCOPE_BUILD (a folder with libactscope.so and the program actscope), the folder `_native` of
this package, where an installation puts them, and build/ of the source tree that this package lies in.
"""
from __future__ import annotations

import ctypes
import os
from typing import Any, List, Tuple

from ._errors import make
from ._header import Header

_HERE = os.path.dirname(os.path.abspath(__file__))
_TREE = os.path.dirname(os.path.dirname(_HERE))


def _places() -> List[Tuple[str, str]]:
    """Folders of the library and the program, each with the header that belongs to it."""
    native, tree = os.path.join(_HERE, "_native"), os.path.join(_TREE, "include", "actscope.h")
    header = tree if os.path.exists(tree) else os.path.join(native, "actscope.h")
    chosen = os.environ.get("ACTSCOPE_BUILD")
    if chosen:
        return [(chosen, header)]
    return [(native, os.path.join(native, "actscope.h")), (os.path.join(_TREE, "build"), tree)]


def find(name: str) -> Tuple[str, str]:
    """The path of a built file, and of the header; ImportError when it is nowhere."""
    for folder, header in _places():
        path = os.path.join(folder, name)
        if os.path.exists(path) and os.path.exists(header):
            return path, header
    raise ImportError(f"{name} is not in " + " or ".join(folder for folder, _ in _places()) +
                      ": install the package, or run make in the source tree (ACTSCOPE_BUILD names another folder)")


def _load() -> Tuple[Any, Header]:
    path, header_path = find("libactscope.so")
    with open(header_path, encoding="utf-8") as file:
        header = Header(file.read())
    library = ctypes.CDLL(path)
    for name, (result, arguments) in header.functions.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise ImportError(f"{path} has no {name}: it is not the library of {header_path}") from None
        function.restype, function.argtypes = result, arguments
    # A library of another version would read structures that are laid out otherwise.
    room = (ctypes.c_char * (ctypes.sizeof(header.structs["actscope_options"]) + 4096))()
    options = ctypes.cast(room, ctypes.POINTER(header.structs["actscope_options"]))
    library.actscope_options_init(options)
    version = library.actscope_version().decode()
    if options[0].size != ctypes.sizeof(header.structs["actscope_options"]) or \
            version != header.strings["ACTSCOPE_VERSION_STRING"]:
        raise ImportError(f"{path} is version {version} with options of {options[0].size} bytes; {header_path} is "
                          f"{header.strings['ACTSCOPE_VERSION_STRING']} with {ctypes.sizeof(header.structs['actscope_options'])}")
    return library, header


library, header = _load()

Tensor = header.structs["actscope_tensor"]
Layer = header.structs["actscope_layer"]
Options = header.structs["actscope_options"]
LayerReport = header.structs["actscope_layer_report"]
Bottleneck = header.structs["actscope_bottleneck"]
NetworkScores = header.structs["actscope_network_scores"]
Memory = header.structs["actscope_memory"]
DeviceInfo = header.structs["actscope_device_info"]
LogFunction = header.callbacks["actscope_log_function"]


def last_error() -> str:
    """The library's text of the last failure on this thread."""
    return str(library.actscope_last_error().decode(errors="replace"))


def check(status: int) -> None:
    """Raises the exception of a status that is not ACTSCOPE_OK."""
    if status != 0:
        raise make(library.actscope_status_name(status).decode(), status, last_error())


def enum_names(type_name: str) -> List[str]:
    """The words of an enum by number, as the reports have them: ACTSCOPE_DISTINCT_EXACT is "exact"."""
    values = header.enums[type_name]
    prefix = os.path.commonprefix([name for name in values])
    prefix = prefix[: prefix.rfind("_") + 1]
    names = [""] * (max(values.values()) + 1)
    for name, value in values.items():
        names[value] = name[len(prefix):].lower()
    return names
