"""Monitor: which steps are measured, the hooks that do it, and what becomes of the numbers."""
from __future__ import annotations

import fnmatch
import functools
import math
import threading
import time
import warnings
import weakref
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import torch

from .. import _options, _report, sinks as _sinks
from .._errors import BudgetTooSmallError, InvalidArgumentError, UnsupportedError
from .._library import LayerReport, header
from .._writer import Writer
from . import _compiled
from ._alike import Alike
from ._probes import MemoryTooSmall, Place, Probe, Probes, capturing

_NONFINITE = header.constants["ACTSCOPE_WARN_NONFINITE"]
Patterns = Optional[Union[str, Iterable[str]]]
Words = Union[str, Sequence[str]]

# What is measured unless something is asked for. Of gradients one reads norms, extremes, zeros and what is not finite.
ACTIVATIONS, GRADIENTS = "profile,health", "moments,health"

_CAPTURED = ("a CUDA graph is being captured: nothing inside it is measured, now or when it is replayed; on a step to be measured, "
             "call the model itself")
_NO_PASS = "no forward pass in a measured step: nothing was measured; the replay of a CUDA graph runs no hooks"


class Alarm(NamedTuple):
    """The first layer, in the order of the calls, that showed a NaN or an infinity in a step."""

    step: int
    layer: str
    kind: str  # "activation" or "gradient"
    order: int
    nan: Optional[int]  # how many; None where profile is not measured
    inf: Optional[int]


class Entry(NamedTuple):
    """A measurement of the step under way. `report` is None until the device has finished it."""

    order: int
    probe: Probe
    place: Place
    shape: Tuple[int, ...]
    report: Any
    lists: Dict[str, Any] = {}  # single pairs and features


class Monitor:
    """Measures activations and gradients of a model every so many steps, without stopping it.

        with actscope.torch.Monitor(model, every=100, layers="*.mlp.*", sinks=["run.jsonl"]) as monitor:
            for batch in data:
                loss(model(batch)).backward()
                optimizer.step()
                monitor.step()

    model       an nn.Module, also one wrapped by DistributedDataParallel or compiled
    every       measure steps start, start + every, ... before stop (None: to the end)
    layers      names of modules, one pattern or several; None: every module that has no modules inside
    exclude     names to leave out, likewise
    statistics  as in actscope.report, or parts of the profile: moments, entropy, quantiles. None: profile and health of
                activations, moments and health of gradients. What each costs in a training loop is in docs/pytorch.md.
                With cka records have the CKA of the activations each with each, from the second measured step on
    gradients   also the gradient of the loss with respect to each output: True, or statistics of their own
    accumulate  forward passes that make one step, for gradient accumulation: their micro-batches are measured together
    features    "flatten": all axes but the first; "channels": axis 1; "last": the last axis, for transformers
    memory      hard cap on working memory, plans included
    sinks       where records go: see actscope.sinks; a path, a function or a Sink
    on_alarm    called with an Alarm, at most once a measured step: at once on the CPU, when the numbers arrive on a GPU.
                What it raises reaches the training loop: that is the way to stop it
    ranks       ranks of a distributed run that measure; None: all
    options     correlation, pairs, seed, precision, distinct, sketch_bits, threads, large_tensor, as in actscope.report;
                top_pairs, pairs_above, top_features likewise, on the CPU;
                same_pairs: sampled correlations look at the same pairs in every record

    A step ends with step(); where nobody calls that, it ends when pass number accumulate + 1 begins. Under torch.compile
    step() has to be called, since the compiled code does not count. On a step that is not measured no hook is installed
    but one on the model; compiled code then has nothing of the monitor in it.

    Nothing inside a CUDA graph is measured: its capture is refused with one warning, and its replays run no hooks.

    What goes wrong while a layer is measured never reaches the training: it becomes a line in `warnings` and in the record.
    """

    def __init__(self, model: torch.nn.Module, every: int = 100, layers: Patterns = None, exclude: Patterns = None, *,
                 statistics: Optional[Words] = None, gradients: Union[bool, Words] = True, start: int = 0,
                 stop: Optional[int] = None, accumulate: int = 1, features: str = "flatten", memory: Union[int, str] = "64MiB",
                 sinks: Iterable[_sinks.SinkLike] = (), on_alarm: Optional[Callable[[Alarm], Any]] = None,
                 ranks: Optional[Sequence[int]] = (0,), **options: Any) -> None:
        self._check_model(model)
        for name, value, least in (("every", every, 1), ("start", start, 0), ("accumulate", accumulate, 1),
                                   ("stop", start if stop is None else stop, start)):
            if not isinstance(value, int) or value < least:
                raise InvalidArgumentError(f"{name} wants a whole number from {least} on, not {value!r}")
        if features not in ("flatten", "channels", "last"):
            raise InvalidArgumentError(f"features wants flatten, channels or last, not {features!r}")
        wanted = _wanted(statistics, gradients)
        for kind, words in wanted.items():
            if on_alarm is not None and not {"profile", "moments", "health", "all"} & set(words):
                raise InvalidArgumentError(f"on_alarm needs profile, moments or health among the statistics of {kind}s")
        unknown = [name for name in options if name not in _options.NAMES or name in ("channels", "device", "window")]
        if unknown:
            raise TypeError(f"Monitor has no option {unknown[0]!r}")

        self._model, self._every, self._start, self._stop = model, every, start, stop
        self._accumulate, self._gradients, self._on_alarm = accumulate, "gradient" in wanted, on_alarm
        self._lock = threading.RLock()  # backward may run on a thread of autograd's
        self._rank = _rank()
        self._active = ranks is None or self._rank in ranks
        self._modules = _select(model, layers, exclude)
        self._memory = memory  # as it was given
        cap = _options.size(memory)
        self._alike: Optional[Alike] = None
        if "cka" in wanted["activation"]:
            wanted["activation"] = [word for word in wanted["activation"] if word != "cka"]
            self._alike = Alike({"threads": options.get("threads")}, cap - cap // 2, features)
            cap //= 2
        self._probes = Probes({kind: {**options, "statistics": words} for kind, words in wanted.items()}, cap, accumulate,
                              len(self._modules) * len(wanted), features)
        self.warnings: Deque[str] = deque(maxlen=1000)
        self._said: set = set()
        self._writer = Writer([_sinks.make(sink) for sink in sinks] if self._active else [], self._complain)
        self._last: Any = None

        self._step = 0
        self._passes = 0  # forward passes of the step under way
        self._enabled, self._closed = True, False
        self._captured = False  # was any pass captured in a CUDA graph?
        self._recording = False  # is the step under way measured? Read by compiled code as a guard.
        self._begin_of_step()
        self._waiting: Deque[Tuple[Dict[str, Any], List[Entry]]] = deque()  # steps whose reports a device still owes

        self._handles: List[Any] = []  # hooks of the step under way
        self._root_handle: Any = None
        self._number: Optional[int] = None
        if self._active:
            inner = getattr(model, "_orig_mod", model)
            self._root_handle = inner.register_forward_pre_hook(_Hook(self._on_pass))
        self._refresh_recording()

    # ---- What the user calls -------------------------------------------------------------------------------------------
    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    @property
    def enabled(self) -> bool:
        """Set it to False and back at any time: steps are counted on, none is measured meanwhile."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._enabled = bool(value)
        self._refresh_recording()

    @property
    def layers(self) -> List[str]:
        """Names of the modules that are measured."""
        return [name for name, _ in self._modules]

    @property
    def current_step(self) -> int:
        """The number of the step under way. Set it when training goes on from a checkpoint."""
        return self._step

    @current_step.setter
    def current_step(self, value: int) -> None:
        self._step = int(value)
        self._refresh_recording()

    @property
    def last(self) -> Optional[Dict[str, Any]]:
        """The last record, as sinks get it; None before the first."""
        return self._last() if self._last is not None else None

    @property
    def memory_bytes(self) -> int:
        """Working memory that is held now; never above `memory`."""
        return self._probes.workspace_bytes() + (self._alike.held_bytes() if self._alike is not None else 0)

    def step(self) -> None:
        """Ends a step. Call it after the optimizer's step; without it, steps are told apart by forward passes."""
        if not self._closed:
            self._end_of_step()
            self._passes = 0

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Waits until the records so far are written. Reports that a device still owes are not waited for."""
        self._fetch()
        return self._writer.flush(timeout)

    def close(self) -> None:
        """Takes the hooks out, waits for what a device still does, writes what is left and closes the sinks. What was
        measured of an unfinished step is written too."""
        if self._closed:
            return
        if self._probes.on_gpu and capturing():
            raise UnsupportedError("a monitor waits for the GPU when it is closed, which ends a CUDA graph's capture: close it outside")
        if self._entries:
            self._end_of_step()
        self._closed, self._recording = True, False
        self._remove_hooks()
        if self._root_handle is not None:
            self._root_handle.remove()
        if self._number is not None:
            _compiled.forget(self._number)
            for handle in self._traced_handles:
                handle.remove()
        self._fetch(wait=True)
        self._writer.close()
        self._probes.close()
        if self._alike is not None:
            self._alike.close()

    # ---- Steps ---------------------------------------------------------------------------------------------------------
    def _begin_of_step(self) -> None:
        self._entries: Dict[Place, Entry] = {}
        self._measured: Dict[Tuple[str, int], Tuple[Any, int, Place]] = {}  # kind and address: reference, version, where
        self._calls: Dict[Tuple[str, str], int] = {}
        self._step_warnings: List[str] = []
        self._alarm: Optional[Alarm] = None

    def _refresh_recording(self) -> None:
        """Is the step that is under way, or begins next, measured?"""
        due = self._step >= self._start and (self._stop is None or self._step < self._stop) and (self._step - self._start) % self._every == 0
        self._recording = self._active and self._enabled and not self._closed and due
        if not self._recording:
            self._remove_hooks()
        elif self._number is None and self._handles == [] and _compiled.is_compiled(self._model):
            self._prepare_compiled()

    def _on_pass(self, module: Any, inputs: Any) -> None:
        """Before each forward pass of the model."""
        if _compiled.SUPPORTED and _compiled.is_compiling():
            return
        if self._closed or _in_backward():
            return  # a checkpoint computes a part again
        if self._passes >= self._accumulate:
            self._end_of_step()
            self._passes = 0
        self._passes += 1
        self._calls.clear()
        if self._waiting:
            self._fetch()
        if self._recording and not self._handles and self._number is None:
            self._install_hooks()

    def _end_of_step(self) -> None:
        if self._recording:
            self._remove_hooks()
            with self._lock:
                entries = sorted(self._entries.values())
                head = {"step": self._step, "time": time.time(), "rank": self._rank, "alarm": self._alarm,
                        "warnings": self._step_warnings}
                if self._alike is not None:
                    head["cka"] = self._alike.end_of_step()
                if entries or self._step_warnings:
                    self._waiting.append((head, entries))
                elif not self._captured and _compiled.is_compiled(self._model):
                    self._complain("compiled code called no layer in a measured step: make the monitor after compiling the model")
                elif self._passes:
                    self._complain("no layer was called in a measured step")
                elif _NO_PASS not in self._said:
                    self._complain(_NO_PASS)
                self._begin_of_step()
        self._step += 1
        self._refresh_recording()
        if self._waiting:
            self._fetch()

    # ---- Hooks ---------------------------------------------------------------------------------------------------------
    def _install_hooks(self) -> None:
        if _compiled.is_compiled(self._model):
            self._prepare_compiled()
            return
        for name, module in self._modules:
            self._handles.append(module.register_forward_hook(_Hook(functools.partial(self._on_output, name))))

    def _remove_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _prepare_compiled(self) -> None:
        """A compiled model keeps the hooks that it was traced with: they are installed once and stay."""
        self._number = _compiled.register(self)
        parameter = next(self._model.parameters(), None)
        self._token = torch.zeros(1, dtype=torch.int32, device="cpu" if parameter is None else parameter.device)
        self._traced_handles = [module.register_forward_hook(_Hook(functools.partial(self._on_traced, place)))
                                for place, (_, module) in enumerate(self._modules)]

    def _on_output(self, name: str, module: Any, inputs: Any, output: Any) -> None:
        """After a module's forward, on a measured step."""
        if not self._recording or _in_backward():
            return
        call = self._calls[name, ""] = self._calls.get((name, ""), 0) + 1
        label = name if call == 1 else f"{name}#{call}"
        for suffix, tensor in _tensors(output):
            self._observe(Place(label + suffix, "activation"), tensor)
            if self._gradients and tensor.requires_grad:
                tensor.register_hook(functools.partial(self._on_gradient, Place(label + suffix, "gradient"), self._step))

    def _on_gradient(self, place: Place, step: int, gradient: torch.Tensor) -> None:
        if self._recording and step == self._step:
            self._observe(place, gradient)

    def _on_traced(self, place: int, module: Any, inputs: Any, output: Any) -> Any:
        """The hook of a compiled model. It also runs as it is, where a part was left uncompiled."""
        if not self._recording or self._number is None:
            return None
        if not _compiled.is_compiling():
            self._on_output(self._modules[place][0], module, inputs, output)
            return None
        if isinstance(output, torch.Tensor):
            return _compiled.watch(output, self._token, self._number, place, self._gradients) if output.is_floating_point() else None
        if type(output) in (tuple, list):
            return type(output)([_compiled.watch(x, self._token, self._number, place, self._gradients)
                                 if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in output])
        return None

    def _observe_compiled(self, place: int, tensor: torch.Tensor, kind: str) -> None:
        """Called by the operators in a compiled model's graph."""
        if self._recording and not self._closed:
            name = self._modules[place][0]
            with self._lock:
                # Compiled code does not tell passes apart: with several a step, calls of one module are one place.
                call = 1 if self._accumulate > 1 else self._calls.get((name, kind), 0) + 1
                self._calls[name, kind] = call
            self._observe(Place(name if call == 1 else f"{name}#{call}", kind), tensor.detach())

    # ---- Measuring -----------------------------------------------------------------------------------------------------
    def _observe(self, place: Place, tensor: torch.Tensor) -> None:
        """Measures one tensor; whatever fails becomes a warning."""
        if tensor.device.type == "cuda" and capturing():
            with self._lock:
                self._captured = True
                if _CAPTURED not in self._step_warnings:
                    self._complain(_CAPTURED)
            return
        raised = None
        try:
            with self._lock:
                known = self._entries.get(place)
                order = len(self._entries) if known is None else known.order
                twin = self._twin(place, tensor) if self._accumulate == 1 else None
                if twin is not None:
                    probe, report, lists = twin.probe, None, twin.lists
                    if twin.report is not None:
                        report = LayerReport.from_buffer_copy(twin.report)
                        report.seconds = 0.0  # it took none
                else:
                    probe = self._probes.measure(place, tensor, self._step)
                    if probe is None:
                        self._complain(f"{place.name} ({place.kind}): not measured: the device has not finished the last one")
                        return
                    report = None if probe.on_gpu else probe.report()
                    lists = {} if report is None else self._probes.lists(probe, report)
                self._entries[place] = Entry(order, probe, place, tuple(tensor.shape), report, lists)
                if report is not None and self._alarm is None:
                    self._alarm = _alarm(self._step, order, place, report)
                    raised = self._alarm
                if self._alike is not None and place.kind == "activation":
                    self._observe_alike(self._alike, place, tensor)
        except MemoryTooSmall as error:
            parts = 2 if self._alike is not None else 1  # it has the other half
            self._complain(f"{place.name} ({place.kind}): " + (
                f"memory={self._memory!r} is filled by other layers" if error.memory is None else
                f"memory={self._memory!r} holds no method; memory={parts * error.memory} would do"))
        except Exception as error:
            self._complain(f"{place.name} ({place.kind}): {error}")
        if raised is not None and self._on_alarm is not None:
            self._on_alarm(raised)

    def _twin(self, place: Place, tensor: torch.Tensor) -> Optional[Entry]:
        """What this step has measured already of the very same numbers: a module often hands on what one inside it, or before
        it, has made, as it is or in another shape. The same memory holds the same numbers as long as a tensor that was
        measured there lives, which keeps others away from it, and autograd counts no change."""
        if tensor.layout is not torch.strided or tensor.is_inference() or tensor.numel() == 0:
            return None
        at = (place.kind, tensor.data_ptr())
        reference, version, where = self._measured.get(at, (None, -1, place))
        other = reference() if reference is not None else None
        if (other is not None and other._version == tensor._version == version and self._probes.alike(other, tensor)
                and where in self._entries):
            return self._entries[where]
        self._measured[at] = (weakref.ref(tensor), tensor._version, place)
        return None

    def _observe_alike(self, alike: Alike, place: Place, tensor: torch.Tensor) -> None:
        try:
            alike.observe(place.name, tensor)
        except BudgetTooSmallError:
            self._complain(f"cka: memory={self._memory!r} holds no plan of the layers; the smallest that would is "
                           f"memory={2 * alike.least_bytes() - 1}")
        except Exception as error:
            self._complain(f"cka: {error}")

    def _fetch_alike(self, alike: Alike, head: Dict[str, Any], wait: bool) -> None:
        """The matrix of a step, in place of the word that there is one."""
        head["cka"], found = None, None
        try:
            head["cka"] = found = alike.fetch(wait)
        except Exception as error:
            self._complain(f"cka: {error}", head["warnings"])
        if found is not None and found.left_out:
            self._complain(f"cka: {len(found.left_out)} of {len(found.names)} layers do not fit the memory, the first {found.left_out[0]}",
                           head["warnings"])

    def _complain(self, text: str, record: Optional[List[str]] = None) -> None:
        """A line in the record, of the step under way unless it is another's, and a warning of Python's the first time."""
        self.warnings.append(text)
        with self._lock:
            (self._step_warnings if record is None else record).append(text)
            first = text not in self._said
            self._said.add(text)
        if first:
            warnings.warn(f"actscope: {text}", RuntimeWarning, stacklevel=2)

    def _fetch(self, wait: bool = False) -> None:
        """Hands over the steps whose reports are complete, in order."""
        if self._waiting and self._probes.on_gpu and capturing():
            return
        while self._waiting:
            head, entries = self._waiting[0]
            complete = []
            for entry in entries:
                if entry.report is None:
                    try:
                        if not wait and not entry.probe.finished():
                            return
                        if wait:
                            entry.probe.wait()
                        entry.probe.busy = False
                        entry = entry._replace(report=entry.probe.report())
                    except Exception as error:
                        head["warnings"].append(f"{entry.place.name} ({entry.place.kind}): {error}")
                        continue
                complete.append(entry)
            if self._alike is not None and head["cka"]:
                if not wait and not self._alike.finished():
                    return
                self._fetch_alike(self._alike, head, wait)
            self._waiting.popleft()
            late = None
            if head["alarm"] is None:
                late = next(filter(None, (_alarm(head["step"], e.order, e.place, e.report) for e in complete)), None)
                head["alarm"] = late
            make = functools.lru_cache(maxsize=1)(functools.partial(_record, head, tuple(complete)))
            self._last = make
            if not self._writer.put(make):
                self._complain(f"record of step {head['step']} dropped: the sinks are too far behind")
            if late is not None and self._on_alarm is not None:
                self._on_alarm(late)

    @staticmethod
    def _check_model(model: Any) -> None:
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"Monitor wants an nn.Module, not {type(model).__name__}")
        for kind, why in ((torch.jit.ScriptModule, "a scripted module runs no Python hooks: monitor the module it was made of"),
                          (torch.nn.DataParallel, "DataParallel runs copies of the model: use DistributedDataParallel")):
            if isinstance(model, kind):
                raise UnsupportedError(why)


class _Hook:
    """A hook that stays behind when the model is copied or saved: a copy's does nothing."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function: Optional[Callable[..., Any]] = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments) if self._function is not None else None

    def __reduce__(self) -> Any:
        return _nothing_hook, ()


def _nothing_hook() -> Callable[..., None]:
    return _nothing


def _nothing(*_: Any) -> None:
    return None


def _wanted(statistics: Optional[Words], gradients: Union[bool, Words]) -> Dict[str, List[str]]:
    """What is asked for of each kind of tensor that is measured."""
    wanted = {"activation": _options.words(ACTIVATIONS if statistics is None else statistics, "statistics")}
    if set(wanted["activation"]) == {"cka"}:
        raise InvalidArgumentError("statistics wants a section beside cka, such as 'moments,cka'")
    if gradients is True:
        wanted["gradient"] = (_options.words(GRADIENTS, "gradients") if statistics is None else
                              [word for word in wanted["activation"] if word != "cka"])
    elif gradients is not False:
        wanted["gradient"] = _options.words(gradients, "gradients")
        if "cka" in wanted["gradient"]:
            raise InvalidArgumentError("gradients: cka is of activations")
    return wanted


def _alarm(step: int, order: int, place: Place, report: Any) -> Optional[Alarm]:
    if not (report.warnings & _NONFINITE or report.health.nonfinite):
        return None
    p = report.profile
    counted = bool(report.statistics & header.constants["ACTSCOPE_MOMENTS"])
    return Alarm(step, place.name, place.kind, order, p.nan if counted else None, p.positive_inf + p.negative_inf if counted else None)


def _record(head: Dict[str, Any], entries: Sequence[Entry]) -> Dict[str, Any]:
    layers = []
    for entry in entries:
        layer = _report.layer(entry.report, entry.place.name, None, entry.shape)
        layer.get("correlation", {}).update(entry.lists)
        del layer["source"], layer["role"]  # "kind" says it
        layers.append({"kind": entry.place.kind, "order": entry.order, "passes": entry.report.steps, **layer})
    cka = {"cka": head["cka"].dictionary() if head["cka"] else None} if "cka" in head else {}
    took = [math.nan if layer["seconds"] is None else layer["seconds"] for layer in layers]
    seconds = math.fsum([*took, head["cka"].seconds] if head.get("cka") else took)
    alarm = head["alarm"]._asdict() if head["alarm"] is not None else None
    return {"schema": _sinks.SCHEMA, "step": head["step"], "time": head["time"], "rank": head["rank"],
            "seconds": _report.real(seconds), "layers": layers, **cka, "alarm": alarm, "warnings": list(head["warnings"])}


def _select(model: torch.nn.Module, layers: Patterns, exclude: Patterns) -> List[Tuple[str, torch.nn.Module]]:
    wanted, unwanted = _options.globs(layers), _options.globs(exclude) or []
    inner = getattr(model, "_orig_mod", model)  # what torch.compile wrapped
    named = [(name, module) for name, module in inner.named_modules() if name]
    if not named:
        named = [(type(inner).__name__, inner)]  # a single layer
    chosen = [(name, module) for name, module in named
              if (not any(module.children()) if wanted is None else any(fnmatch.fnmatchcase(name, glob) for glob in wanted))
              and not any(fnmatch.fnmatchcase(name, glob) for glob in unwanted)]
    if not chosen:
        some = ", ".join(name for name, _ in named[:12]) + (", ..." if len(named) > 12 else "")
        raise InvalidArgumentError(f"no module matches layers={layers!r}, exclude={exclude!r}; there are {some}")
    return chosen


def _tensors(output: Any) -> Iterable[Tuple[str, torch.Tensor]]:
    """The floating-point tensors of a module's output: itself, or the members of a tuple, a list or a mapping."""
    if isinstance(output, torch.Tensor):
        members: Iterable[Tuple[str, Any]] = (("", output),)
    elif isinstance(output, Mapping):
        members = ((f"[{key}]", value) for key, value in output.items())
    elif isinstance(output, (tuple, list)):
        members = ((f"[{i}]" if len(output) > 1 else "", value) for i, value in enumerate(output))
    else:
        return ()
    return [(suffix, x) for suffix, x in members if isinstance(x, torch.Tensor) and x.is_floating_point()]


_graph_task = getattr(torch._C, "_current_graph_task_id", None)


def _in_backward() -> bool:
    return _graph_task is not None and _graph_task() != -1


def _rank() -> int:
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
