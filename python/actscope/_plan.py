"""A plan: layers decided once, measured often, in one workspace inside a hard memory cap."""
from __future__ import annotations

import array
import ctypes
import heapq
import math
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from . import _options, _report
from ._arrays import View, dtype_code, view
from ._errors import InvalidArgumentError
from ._library import Layer, LayerReport, check, enum_names, header, library

NOT_READY = header.constants["ACTSCOPE_NOT_READY"]
_PAIRLESS = 8  # features without a pair that are named


class Plan:
    """Layers as (name, dtype, shape) or (name, dtype, shape, role), and options as keywords, named as on the command line
    of `actscope report`. A role is "activation", which is what is left out, "gradient" or "weight".

    Nothing is allocated after the first enqueue. On a GPU `enqueue` returns at once and `poll` tells whether the reports
    are there; on the CPU they are when `enqueue` returns. A plan belongs to one thread at a time.

        plan = actscope.Plan([("fc1", "float32", (128, 256)), ("fc2", "bfloat16", (128, 64))], memory="64MiB")
        plan.enqueue([a, b])
        plan.wait()
        print(plan.report(0)["profile"]["mean"])

    Raises InvalidArgumentError, OutOfMemoryError, NoDeviceError, UnsupportedError and BudgetTooSmallError.
    """

    def __init__(self, layers: Iterable[Tuple[Any, ...]], **options: Any) -> None:
        self._handle = ctypes.c_void_p()
        self._layers, self._roles = _listed(layers)
        self._options = _options.build(options)
        self._top_features = options.get("top_features")
        array, self._keep = _layer_array(self._layers, self._roles)
        check(library.actscope_plan_create(ctypes.byref(self._handle), array, len(self._layers),
                                           ctypes.byref(self._options)))

    def __len__(self) -> int:
        return len(self._layers)

    def __enter__(self) -> "Plan":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    def close(self) -> None:
        """Frees the plan and its workspace. Using it afterwards is an InvalidArgumentError."""
        library.actscope_plan_destroy(self._handle)
        self._handle = ctypes.c_void_p()

    @property
    def device(self) -> str:
        """ "cpu" or "cuda": where it runs."""
        self._alive()
        return enum_names("actscope_device")[library.actscope_plan_device(self._handle)]

    @property
    def workspace_bytes(self) -> int:
        """Bytes of the one workspace that all layers share."""
        size = ctypes.c_size_t()
        check(library.actscope_plan_workspace(self._handle, ctypes.byref(size), None))
        return size.value

    def bind(self, address: int, size: int) -> None:
        """Lends the plan a workspace: memory of its device, aligned to 256 bytes, that outlives the plan."""
        check(library.actscope_plan_bind(self._handle, address, size))

    def reshape(self, layers: Iterable[Tuple[Any, ...]]) -> None:
        """Plans anew for the same layers, named in the same order, with other shapes or dtypes, such as the short last batch of an
        epoch: nothing happens when they are the plan's own, and the workspace stays when it is large enough. Windows begin anew,
        reports are gone. On an error the plan is as it was, unless a GPU refused the plan's own memory."""
        self._alive()
        listed, roles = _listed(layers)
        if [name for name, *_ in listed] != [name for name, *_ in self._layers] or roles != self._roles:
            raise InvalidArgumentError("reshape: other layers than the plan's: " + ", ".join(name for name, *_ in self._layers))
        array, keep = _layer_array(listed, roles)
        check(library.actscope_plan_reshape(self._handle, array, len(listed)))
        self._layers, self._keep = listed, keep

    def enqueue(self, arrays: Sequence[Any], stream: Optional[int] = None) -> None:
        """Measures one array a layer; None skips a layer. `stream` is a cudaStream_t as a number; left out, it is the
        one that the arrays are ready on. On a GPU the arrays must stay as they are until the work has been done."""
        views = [None if array is None else self._view(i, array) for i, array in enumerate(arrays)]
        if stream is None:
            stream = next((v.stream for v in views if v is not None), 0)
        tensors = (header.structs["actscope_tensor"] * max(len(views), 1))()
        for i, v in enumerate(views):
            if v is not None:
                tensors[i] = v.tensor()
        check(library.actscope_plan_enqueue(self._handle, tensors, len(views), stream))

    def enqueue_layer(self, layer: int, array: Any, stream: Optional[int] = None) -> None:
        """The same for one layer alone."""
        v = self._view(layer, array)
        self.enqueue_view(layer, v, v.stream if stream is None else stream)

    def enqueue_view(self, layer: int, v: View, stream: int = 0) -> None:
        """The same for memory that was looked at already."""
        check(library.actscope_plan_enqueue_layer(self._handle, layer, ctypes.byref(v.tensor()), stream))

    def _view(self, layer: int, array: Any) -> View:
        v = array if isinstance(array, View) else view(array)
        # The library checks the rest; the kind of memory only the array knows.
        if v.device >= 0 and self.device == "cpu":
            raise TypeError(f"layer {layer} is on GPU {v.device}, and the plan runs on the CPU")
        return v

    def poll(self) -> bool:
        """True when everything enqueued has finished; never waits. Raises DeviceError when it failed."""
        status = library.actscope_plan_poll(self._handle)
        if status == NOT_READY:
            return False
        check(status)
        return True

    def wait(self) -> None:
        """Waits for what was enqueued."""
        check(library.actscope_plan_wait(self._handle))

    def raw_report(self, layer: int) -> Any:
        """The library's own structure: quicker to take than a dictionary."""
        report = LayerReport()
        check(library.actscope_plan_report(self._handle, layer, ctypes.byref(report)))
        return report

    def report(self, layer: int) -> Dict[str, Any]:
        """The report of a layer, as in `actscope.report(...)["layers"]`. Raises NotReadyError before the first one."""
        report = self.raw_report(layer)
        name, _, shape = self._layers[layer]
        return _report.layer(report, name, None, shape)

    def top_pairs(self, layer: int) -> Tuple[List[Dict[str, Any]], int]:
        """The pairs of features with the largest |r| of a layer's newest report, as {"i", "j", "r"}, and how many pairs are
        above `pairs_above`; the plan was made with `top_pairs`. Features are counted in the order of the axes, flattened:
        numpy.unravel_index(i, shape[1:])."""
        return top_pairs(self._handle, layer, self._options.top_pairs)

    def feature_correlations(self, layer: int) -> Tuple[Any, Any]:
        """Mean |r| and the largest |r| of every feature of a layer over its pairs, as two arrays of floats (numpy.asarray
        reads them in place); NaN for a feature without a pair. The plan was made with `top_features`."""
        return feature_correlations(self._handle, layer, self._features(layer))

    def lists(self, layer: int) -> Dict[str, Any]:
        """What `top_pairs`, `pairs_above` and `top_features` ask for, as the section of correlations has it in a report."""
        return lists(self._handle, layer, self._features(layer), self._options.top_pairs, self._options.pairs_above, self._top_features)

    def _features(self, layer: int) -> int:
        shape = self._layers[layer][2]
        return (shape[1] if len(shape) > 1 else 1) if self._options.channels else math.prod(shape[1:])

    def cka(self) -> List[List[Optional[float]]]:
        """Debiased linear CKA between the layers as last enqueued, a row a layer; the plan was made with "cka" among its
        statistics. None where two layers cannot be compared."""
        count = len(self._layers)
        matrix = (ctypes.c_double * max(count * count, 1))()
        check(library.actscope_plan_cka(self._handle, matrix, count))
        return [[_report.real(value) for value in matrix[i * count:(i + 1) * count]] for i in range(count)]

    def _alive(self) -> None:
        if not self._handle:
            check(library.actscope_plan_wait(self._handle))


def top_pairs(handle: Any, layer: int, capacity: int) -> Tuple[List[Dict[str, Any]], int]:
    count, above = ctypes.c_size_t(), ctypes.c_uint64()
    pairs = (header.structs["actscope_pair"] * max(capacity, 1))()
    check(library.actscope_plan_top_pairs(handle, layer, pairs, capacity, ctypes.byref(count), ctypes.byref(above)))
    return [{"i": p.i, "j": p.j, "r": p.r} for p in pairs[:count.value]], above.value


def feature_correlations(handle: Any, layer: int, count: int) -> Tuple[Any, Any]:
    mean, largest = (array.array("f", bytes(4 * count)) for _ in range(2))
    pointers = [(ctypes.c_float * max(count, 1)).from_buffer(a) if count else None for a in (mean, largest)]
    check(library.actscope_plan_feature_correlations(handle, layer, *pointers, count))
    return mean, largest


def lists(handle: Any, layer: int, features: int, pairs: int, above: float, most: Optional[int]) -> Dict[str, Any]:
    """Single pairs and features, as the program lists them: `pairs` pairs, those above a limit counted, and `most` features."""
    section: Dict[str, Any] = {}
    if pairs:
        section["top_pairs"], count = top_pairs(handle, layer, pairs)
        if above > 0:
            section["pairs_above"] = count
    if most:
        every = list(enumerate(zip(*feature_correlations(handle, layer, features))))
        found = [(-mean, -largest, f) for f, (mean, largest) in every if mean == mean]
        pairless = [f for f, (mean, _) in every if mean != mean]
        section["top_features"] = [{"feature": f, "mean_abs": -mean, "max_abs": -largest}
                                   for mean, largest, f in heapq.nsmallest(most, found)]
        section["pairless_features"] = {"count": len(pairless), "first": pairless[:_PAIRLESS]}
    return section


def _listed(layers: Iterable[Tuple[Any, ...]]) -> Tuple[List[Tuple[str, int, Tuple[int, ...]]], List[int]]:
    """The layers without their roles, and these."""
    listed, roles, known = [], [], enum_names("actscope_role")
    for name, dtype, shape, *role in layers:
        if len(role) > 1 or (role and role[0] not in known):
            raise InvalidArgumentError(f"layer {name}: role wants {', '.join(known[:-1])} or {known[-1]}, not {role[0]!r}")
        listed.append((str(name), dtype_code(dtype), tuple(shape)))
        roles.append(known.index(role[0]) if role else 0)
    return listed, roles


def _layer_array(layers: Sequence[Tuple[str, int, Sequence[int]]], roles: Sequence[int]) -> Tuple[Any, List[Any]]:
    array, keep = (Layer * max(len(layers), 1))(), []
    for entry, (name, dtype, shape), role in zip(array, layers, roles):
        entry.role = role
        axes = (ctypes.c_int64 * max(len(shape), 1))(*shape)
        entry.name, entry.dtype, entry.ndim, entry.shape = name.encode(), dtype, len(shape), axes
        keep.append(axes)
    return array, keep


def minimum_budget(layers: Iterable[Tuple[Any, ...]], **options: Any) -> int:
    """The smallest `memory`, in bytes, with which a plan of these layers and options can be made."""
    listed, roles = _listed(layers)
    array, _keep = _layer_array(listed, roles)
    o, size = _options.build(options), ctypes.c_uint64()
    check(library.actscope_minimum_budget(array, len(listed), ctypes.byref(o), ctypes.byref(size)))
    return size.value
