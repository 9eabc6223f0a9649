"""The program `actscope`, for files: the readers of .npy, .npz and .safetensors are part of it, not of the library."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Dict, List, Optional, Sequence, Union

from . import _options
from ._errors import BY_STATUS, InputError, make
from ._library import find, header

# Exit statuses of `actscope report` and the errors they stand for.
_STATUS = {1: "ACTSCOPE_INVALID_ARGUMENT", 3: "ACTSCOPE_BUDGET_TOO_SMALL", 4: "ACTSCOPE_DEVICE_ERROR"}
_BAD_INPUT, _NOT_WRITTEN = 2, 5


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
    text = _complaint(done)
    if done.returncode == _BAD_INPUT:
        error = InputError(text)
        error.report = result
        raise error
    raise _failure(done, text)


def html(jsonl: Union[str, "os.PathLike[str]"], output: Union[None, str, "os.PathLike[str]"] = None) -> str:
    """Makes one page of what a monitor wrote with its JSONL sink: each layer's numbers over the steps, the steps with a NaN or
    an infinity, and the last step in full. The page is a file that needs nothing else. Returns it as text, or writes it to
    `output` (replaced atomically) and returns that path. It can be made while the monitor writes.

    Raises InputError for a file that cannot be read or has no whole step, or that has lines that are none of a monitor: a page
    of the others is made all the same, as `output` or as the error's attribute `page`. OSError when `output` cannot be written.
    """
    target = None if output is None else os.fspath(output)
    command = [path(), "page", *([] if target is None else ["--output=" + target]), "--", os.path.abspath(os.fspath(jsonl))]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    page = done.stdout.decode() if target is None else target
    if done.returncode == 0:
        return page
    text = _complaint(done)
    if done.returncode == _BAD_INPUT:
        error = InputError(text)
        error.page = done.stdout.decode() or None
        raise error
    if done.returncode == _NOT_WRITTEN:
        raise OSError(text)
    raise _failure(done, text)


def _complaint(done: "subprocess.CompletedProcess[bytes]") -> str:
    """What the program said, without its name."""
    lines = done.stderr.decode(errors="replace").splitlines()
    return "\n".join(line[len("actscope: "):] if line.startswith("actscope: ") else line for line in lines)


def _failure(done: "subprocess.CompletedProcess[bytes]", text: str) -> Exception:
    name = _STATUS.get(done.returncode, "ACTSCOPE_INTERNAL")
    assert name in BY_STATUS
    return make(name, header.constants[name], text or f"actscope ended with status {done.returncode}")


def main(arguments: Optional[List[str]] = None) -> None:
    """The command `actscope` of an installed package: replaced by the program."""
    program = path()
    os.execv(program, [program, *(sys.argv[1:] if arguments is None else arguments)])
