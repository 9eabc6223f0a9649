"""CKA between the activations of a step: one plan of all layers beside the plans of each, since layers are compared in one.

Its layers are those that the last measured step showed, so the first step, and one behind a change of shapes, has no matrix.
"""
from __future__ import annotations

import ctypes
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import torch

from .. import _plan, _report
from .._arrays import DTYPE_NAMES, View
from .._library import check, header, library
from ._probes import _PLAN_BYTES, axes, code_of

_NO_CKA = header.constants["ACTSCOPE_WARN_NO_CKA"]
Layers = Dict[str, Tuple[int, Tuple[int, ...], torch.device]]  # by name: element type, shape, device
_DIGITS = 6  # behind the point: the matrix is right to 1e-5


class Alikeness(NamedTuple):
    """CKA of a step: a matrix of all layers of the plan, of which the step showed those `at` some places."""

    names: List[str]
    at: List[int]
    matrix: Any
    count: int
    seconds: float  # that it took; NaN on a GPU
    left_out: List[str]  # for want of memory

    def dictionary(self) -> Dict[str, Any]:
        """As records have it."""
        rows = [[_report.real(self.matrix[i * self.count + j]) for j in self.at] for i in self.at]
        return {"layers": self.names, "matrix": [[None if v is None else round(v, _DIGITS) for v in row] for row in rows]}


class Alike:
    """What is told which activations a step showed, in their order, and compares them at its end."""

    def __init__(self, options: Dict[str, Any], memory: int, features: str) -> None:
        self._options = {**options, "statistics": "cka", "memory": memory, "channels": features != "flatten"}
        self._features = features
        self._seen: Layers = {}  # of the step under way
        self._wanted: Layers = {}  # of the last step
        self._layers: Layers = {}  # of the plan
        self._index: Dict[str, int] = {}
        self._there: List[str] = []  # measured in the step under way
        self._plan: Optional[_plan.Plan] = None
        self._owed: List[str] = []  # measured in the last step, and not fetched yet

    def observe(self, name: str, tensor: torch.Tensor) -> None:
        code, (shape, strides, channels) = code_of(tensor), axes(tensor, self._features)
        if self._options["channels"] and not channels:  # samples of one feature
            shape, strides = (*shape, 1, 1)[:2], (*strides, 1, 1)[:2]
        if not self._seen and self._wanted != self._layers and not self._owed:
            self._make(self._wanted)
        known = code, shape, tensor.device
        self._seen[name] = known
        # A device that still owes the last step's matrix keeps what it is made of.
        if self._plan is None or self._owed or self._layers.get(name) != known:
            return
        stream = torch.cuda.current_stream(tensor.device).cuda_stream if tensor.device.type == "cuda" else 0
        self._plan.enqueue_view(self._index[name], View(tensor.data_ptr(), code, shape, strides), stream)
        if name not in self._there:
            self._there.append(name)

    def end_of_step(self) -> bool:
        """Whether the step has a matrix, which fetch() gives once finished() says so."""
        has = bool(self._there)
        if has:
            self._owed = self._there
        if not self._seen.items() <= self._layers.items():  # more than the plan has
            self._wanted = self._seen
        self._seen, self._there = {}, []
        return has

    def finished(self) -> bool:
        """Never waits."""
        return self._plan is None or self._plan.poll()

    def fetch(self, wait: bool = False) -> Alikeness:
        assert self._plan is not None
        names, self._owed = self._owed, []
        if wait:
            self._plan.wait()
        began, count, at = time.perf_counter(), len(self._plan), [self._index[name] for name in names]
        matrix = (ctypes.c_double * (count * count))()
        check(library.actscope_plan_cka(self._plan._handle, matrix, count))
        reports = [self._plan.raw_report(i) for i in at]
        seconds = time.perf_counter() - began + sum(report.seconds for report in reports)
        return Alikeness(names, at, matrix, count, seconds, [name for name, report in zip(names, reports) if report.warnings & _NO_CKA])

    def _make(self, layers: Layers) -> None:
        """A plan of the layers on the first one's device; those elsewhere are not compared."""
        self.close()
        self._layers = layers  # also where it fails: not tried again before something changes
        compared, options = self._compared()
        self._index = {name: i for i, (name, _, _) in enumerate(compared)}
        self._plan = _plan.Plan(compared, **options)

    def _compared(self) -> Tuple[List[Tuple[str, str, Tuple[int, ...]]], Dict[str, Any]]:
        """Layers and options of the plan."""
        where = next(device for _, _, device in self._layers.values())
        device = "cpu" if where.type == "cpu" else f"cuda:{where.index or 0}"
        return ([(name, DTYPE_NAMES[code], shape) for name, (code, shape, at) in self._layers.items() if at == where],
                {**self._options, "device": device})

    def least_bytes(self) -> int:
        """The smallest memory that holds the plan last asked for, with layers left out."""
        compared, options = self._compared()
        return _plan.minimum_budget(compared, **options)

    def held_bytes(self) -> int:
        return 0 if self._plan is None else self._plan.workspace_bytes + len(self._plan) * _PLAN_BYTES

    def close(self) -> None:
        """Waits for what the device still does."""
        if self._plan is not None:
            library.actscope_plan_wait(self._plan._handle)  # whatever came of it
            self._plan.close()
        self._plan = None
