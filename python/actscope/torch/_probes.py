"""Plans for the tensors that a monitor meets: one for each place, shape and element type, made when it is first met.

On the CPU a tensor is measured when `measure` returns. On a GPU the work is put on the current stream, behind what made the
tensor and before anything that may reuse its memory, and the report is fetched later; nothing waits.

Memory: the plans of a device and a stream work one after the other and share one workspace, which grows to the largest
need; where windows of several passes keep their states in the workspace, each plan has its own. All of it together stays
below the monitor's cap.

A plan is never made, enqueued or asked while a CUDA graph is captured (`capturing`; the monitor sees to it). The library could be
captured, but the graph would then write to plans and workspaces of which nobody knows when it no longer does.
"""
from __future__ import annotations

import ctypes
from collections import OrderedDict
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

import torch

from .. import _arrays, _options, _plan
from .._errors import BudgetTooSmallError
from .._library import Layer, LayerReport, Tensor, check, header, library

_ALIGNMENT = 256
_PLANS = 8  # the part of the memory that plans may take where they share a workspace: one in so many
_PLAN_BYTES = 3 * ctypes.sizeof(LayerReport) + 4096  # a plan of one layer without its workspace, rounded up


class MemoryTooSmall(BudgetTooSmallError):
    """No method fits what is left of the memory; with `memory` bytes in all one would. None: no size is known to do, since
    others fill whatever there is."""

    def __init__(self, memory: Optional[int]) -> None:
        super().__init__(f"the memory holds no method; {memory} bytes would do")
        self.memory = memory


class Place(NamedTuple):
    """Where a tensor comes from: the module's name, with [i] for one of several outputs and #k for its k-th call in a
    pass; "activation" or "gradient"."""

    name: str
    kind: str

    @property
    def layer(self) -> str:
        """Its name in the library's log and errors."""
        return f"{self.name} ({self.kind})" if self.kind != "activation" else self.name


class Probe:
    """One plan of one layer."""

    __slots__ = ("handle", "place", "shape", "tensor", "_axes", "_strides", "on_gpu", "step", "busy", "workspace_bytes")

    def __init__(self, place: Place, dtype: int, shape: Sequence[int], options: Any, on_gpu: bool) -> None:
        self.place, self.shape, self.on_gpu = place, tuple(shape), on_gpu
        n = len(self.shape)
        self._axes = (ctypes.c_int64 * max(n, 1))(*self.shape)
        self._strides = (ctypes.c_int64 * max(n, 1))()
        self.tensor = Tensor(None, dtype, n, self._axes, self._strides)
        self.step = -1  # that it was last used in
        self.busy = False  # enqueued on a GPU and not fetched yet
        role = header.constants["ACTSCOPE_ROLE_" + place.kind.upper()]
        layer = Layer(name=place.layer.encode(), dtype=dtype, ndim=n, shape=self._axes, role=role)
        self.handle = ctypes.c_void_p()
        check(library.actscope_plan_create(ctypes.byref(self.handle), ctypes.byref(layer), 1, ctypes.byref(options)))
        size = ctypes.c_size_t()
        check(library.actscope_plan_workspace(self.handle, ctypes.byref(size), None))
        self.workspace_bytes = size.value

    def enqueue(self, address: int, strides: Sequence[int], stream: int) -> None:
        self.tensor.data = address or None
        self._strides[:len(strides)] = list(strides)
        check(library.actscope_plan_enqueue_layer(self.handle, 0, ctypes.byref(self.tensor), stream))

    def finished(self) -> bool:
        """Never waits."""
        status = library.actscope_plan_poll(self.handle)
        if status == _plan.NOT_READY:
            return False
        check(status)
        return True

    def wait(self) -> None:
        check(library.actscope_plan_wait(self.handle))

    def report(self) -> Any:
        report = LayerReport()
        check(library.actscope_plan_report(self.handle, 0, ctypes.byref(report)))
        return report

    def close(self) -> None:
        library.actscope_plan_destroy(self.handle)
        self.handle = ctypes.c_void_p()


class Probes:
    """The plans of a monitor, with options by kind. `expected` is how many places there will be, to divide the memory where it
    is not shared."""

    def __init__(self, options: Dict[str, Dict[str, Any]], memory: int, passes: int, expected: int, features: str) -> None:
        self._given = {kind: {**{k: v for k, v in given.items() if k not in ("device", "memory")}, "window": passes}
                       for kind, given in options.items()}
        self._shared = passes == 1
        self._memory, self._expected, self._features = memory, max(expected, 1), features
        self._known: "OrderedDict[Any, Probe]" = OrderedDict()
        self._workspaces: Dict[Any, Tuple[Any, int, int]] = {}  # by device and stream: what owns it, address, bytes
        self._bound: Dict[int, Any] = {}
        self.on_gpu = False  # is or was any of them
        for given in self._given.values():
            _options.build(given)  # a wrong option is an error now

    def lists(self, probe: Probe, report: Any) -> Dict[str, Any]:
        """The single pairs and features that were asked for; on a GPU, whose layers share a workspace, there are none."""
        given = self._given[probe.place.kind]
        asked = {name: given.get(name) for name in ("top_pairs", "pairs_above", "top_features")}
        if probe.on_gpu or not any(asked.values()) or not report.statistics & header.constants["ACTSCOPE_CORRELATION"]:
            return {}
        return _plan.lists(probe.handle, 0, report.features, asked["top_pairs"] or 0, asked["pairs_above"] or 0, asked["top_features"])

    def measure(self, place: Place, tensor: torch.Tensor, step: int) -> Optional[Probe]:
        """Measures a tensor; None when the device has not finished this place's last measurement."""
        code = code_of(tensor)
        shape, strides, channels = axes(tensor, self._features)
        device = tensor.device
        on_gpu = device.type != "cpu"
        stream = torch.cuda.current_stream(device).cuda_stream if on_gpu else 0
        key = (place, code, shape, channels, device, stream)
        probe = self._known.get(key)
        if probe is None:
            probe = self._make(key, place, code, shape, channels, device, stream)
        elif probe.busy and probe.step != step:
            if not probe.finished():
                return None
            probe.busy = False
        self._known.move_to_end(key)
        if not self._shared and probe.step != step:
            library.actscope_plan_reset(probe.handle)  # passes that an earlier step left over
        probe.enqueue(tensor.data_ptr(), strides, stream)
        probe.step, probe.busy = step, on_gpu
        return probe

    def alike(self, a: torch.Tensor, b: torch.Tensor) -> bool:
        """Are two tensors at one address the same samples and features to the library?"""
        if a.dtype != b.dtype or a.device != b.device:
            return False
        if a.shape == b.shape and a.stride() == b.stride():
            return True
        return (self._features == "flatten" and a.dim() > 0 and b.dim() > 0 and a.shape[0] == b.shape[0] and a.numel() == b.numel()
                and a.is_contiguous() and b.is_contiguous())

    # ---- Making plans, inside the cap ----------------------------------------------------------------------------------
    def _make(self, key: Any, place: Place, code: int, shape: Sequence[int], channels: bool, device: torch.device, stream: int) -> Probe:
        given = self._options(key)

        def make(memory: int) -> Probe:
            return Probe(place, code, shape, _options.build({**given, "memory": max(memory, 0)}), device.type != "cpu")

        if self._shared:
            plans = self._memory // _PLANS  # for the plans themselves; the rest is the workspace's
            while self._known and (len(self._known) + 1) * _PLAN_BYTES > plans:
                self._forget_oldest()
            others = sum(size for at, (_, _, size) in self._workspaces.items() if at != (device, stream))
            try:
                probe = make(self._memory - plans - others)
            except BudgetTooSmallError:
                least = others + self._least(key)
                raise MemoryTooSmall((least - 1) * _PLANS // (_PLANS - 1) + 1) from None  # the smallest m with m - m // _PLANS >= least
            self._lend(probe, device, stream)
        else:
            # A place's part of the memory is that of its plan too, so that all places together stay inside.
            left = self._memory - sum(p.workspace_bytes + _PLAN_BYTES for p in self._known.values()) - _PLAN_BYTES
            share = min(self._memory // self._expected - _PLAN_BYTES, left)
            try:
                probe = make(share)
            except BudgetTooSmallError:
                try:
                    probe = make(left)
                except BudgetTooSmallError:
                    raise MemoryTooSmall(self._parts_for(key)) from None
        self._known[key] = probe
        self.on_gpu |= probe.on_gpu
        self._bound[id(probe)] = (device, stream)
        return probe

    def _options(self, key: Any) -> Dict[str, Any]:
        """Of a plan, but for its memory."""
        place, _, _, channels, device, _ = key
        where = "cpu" if device.type == "cpu" else f"cuda:{device.index or 0}"
        return {**self._given[place.kind], "channels": channels, "device": where}

    def _least(self, key: Any) -> int:
        """The smallest memory that a plan can be made in."""
        place, code, shape, *_ = key
        return _plan.minimum_budget([(place.layer, _arrays.DTYPE_NAMES[code], shape, place.kind)], **self._options(key))

    def _parts_for(self, key: Any) -> Optional[int]:
        """The memory whose parts hold this plan and those that are there."""
        if len(self._known) >= self._expected:
            return None
        return self._expected * (max(map(self._least, [key, *self._known])) + _PLAN_BYTES)

    def _lend(self, probe: Probe, device: torch.device, stream: int) -> None:
        """Binds the workspace that this device and stream share, larger if it must be."""
        at = (device, stream)
        owner, address, size = self._workspaces.get(at, (None, 0, 0))
        if probe.workspace_bytes > size:
            size = probe.workspace_bytes
            # Of PyTorch's allocator: the old one is reused only behind the work on this stream that still needs it.
            owner = torch.empty(size + _ALIGNMENT, dtype=torch.uint8, device=device)
            address = -(-owner.data_ptr() // _ALIGNMENT) * _ALIGNMENT
            self._workspaces[at] = (owner, address, size)
            for other in self._known.values():
                if self._bound[id(other)] == at:
                    check(library.actscope_plan_bind(other.handle, address, size))
        if address:
            check(library.actscope_plan_bind(probe.handle, address, size))

    def _forget_oldest(self) -> None:
        _, probe = self._known.popitem(last=False)
        del self._bound[id(probe)]
        probe.close()

    def workspace_bytes(self) -> int:
        """What is held now, plans included."""
        plans = len(self._known) * _PLAN_BYTES
        return plans + (sum(size for _, _, size in self._workspaces.values()) if self._shared else
                        sum(p.workspace_bytes for p in self._known.values()))

    def close(self) -> None:
        """Waits for what the device still does."""
        for probe in self._known.values():
            if probe.busy:
                library.actscope_plan_wait(probe.handle)  # whatever came of it
            probe.close()
        self._known.clear()
        self._bound.clear()
        self._workspaces.clear()


def capturing() -> bool:
    """Is the work of this thread being captured in a CUDA graph? Then memory may neither be allocated nor waited for, nor may
    an event be asked, on pain of the capture. To be asked only where there is a GPU."""
    return bool(torch.cuda.is_current_stream_capturing())


def axes(tensor: torch.Tensor, features: str) -> Tuple[Tuple[int, ...], Tuple[int, ...], bool]:
    """Shape and strides as the library gets them, and whether the features are axis 1."""
    shape, strides = tuple(tensor.shape), tensor.stride()
    if features == "flatten" or len(shape) < 2:
        return shape, strides, False
    if features == "last":  # to axis 1, where the library looks for them; strides are free
        shape, strides = (shape[0], shape[-1], *shape[1:-1]), (strides[0], strides[-1], *strides[1:-1])
    return shape, strides, True


_codes: Dict[torch.dtype, int] = {}


def code_of(tensor: torch.Tensor) -> int:
    """The library's number of the element type. The first tensor of a type is looked at closely."""
    if tensor.layout is torch.strided and tensor.device.type in ("cpu", "cuda"):
        code = _codes.get(tensor.dtype)
        if code is not None:
            return code
    code = _arrays.view_torch(tensor).dtype  # raises what is wrong with it
    _codes[tensor.dtype] = code
    return code
