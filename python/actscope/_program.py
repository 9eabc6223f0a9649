"""The program `actscope`, for files: the readers of .npy, .npz and .safetensors are part of it, not of the library."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Dict, List, Optional, Sequence

from . import _options
from ._errors import BY_STATUS, InputError, make
from ._library import find, header

# Exit statuses of `actscope report` and the errors they stand for.
_STATUS = {1: "ACTSCOPE_INVALID_ARGUMENT", 3: "ACTSCOPE_BUDGET_TOO_SMALL", 4: "ACTSCOPE_DEVICE_ERROR"}
_BAD_INPUT = 2


def path() -> str:
    """The program that belongs to this package."""
    return find("actscope")[0]


def report(paths: Sequence[str], options: Dict[str, Any]) -> Dict[str, Any]:
    """`actscope report --format json`. Raises InputError, with what could be read in its `report`, and the library's."""
    log = options.pop("log", None)
    command = [path(), "report", "--format", "json", *(["-v"] if log else ["-q"]), *_options.arguments(options), "--", *paths]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    lines = done.stderr.decode(errors="replace").splitlines()
    result: Optional[Dict[str, Any]] = json.loads(done.stdout) if done.stdout else None
    if log:
        for line in lines:
            log("info", line)
    if done.returncode == 0 and result is not None:
        return result
    text = "\n".join(line[len("actscope: "):] if line.startswith("actscope: ") else line for line in lines)
    if done.returncode == _BAD_INPUT:
        error = InputError(text)
        error.report = result
        raise error
    name = _STATUS.get(done.returncode, "ACTSCOPE_INTERNAL")
    assert name in BY_STATUS
    raise make(name, header.constants[name], text or f"actscope ended with status {done.returncode}")


def main(arguments: Optional[List[str]] = None) -> None:
    """The command `actscope` of an installed package: replaced by the program."""
    program = path()
    os.execv(program, [program, *(sys.argv[1:] if arguments is None else arguments)])
