"""Measuring inside torch.compile: operators that the compiler keeps in its graph without looking into them.

An activation goes to `actscope::observe`, which says that it changes a token, one number that nobody reads: so it is
neither dropped nor moved, and nothing is copied. A gradient passes through an identity whose backward calls
`actscope::observe_gradient`; that returns a copy, since an operator's result cannot be its argument.

The hook asks whether this step is measured while the compiler traces it: that answer is a guard, and there are two graphs,
one with these operators and one without any trace of the monitor.
"""
from __future__ import annotations

import itertools
import sys
import weakref
from typing import Any, Dict

import torch

from .._errors import UnsupportedError

_targets: Dict[int, Any] = {}  # weak references to monitors, by the number that the graphs carry
_numbers = itertools.count()
SUPPORTED = hasattr(torch, "library") and hasattr(torch.library, "custom_op")

if SUPPORTED:
    @torch.library.custom_op("actscope::observe", mutates_args=("token",))
    def observe(x: torch.Tensor, token: torch.Tensor, target: int, place: int) -> None:
        _call(target, place, x, "activation")

    @observe.register_fake
    def _(x: torch.Tensor, token: torch.Tensor, target: int, place: int) -> None:
        return None

    @torch.library.custom_op("actscope::observe_gradient", mutates_args=())
    def observe_gradient(x: torch.Tensor, target: int, place: int) -> torch.Tensor:
        _call(target, place, x, "gradient")
        return x.clone()

    @observe_gradient.register_fake
    def _(x: torch.Tensor, target: int, place: int) -> torch.Tensor:
        return torch.empty_like(x)

    class _Watch(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, target: int, place: int) -> torch.Tensor:
            ctx.target, ctx.place = target, place
            # The same memory, but no view to autograd: what follows may change it in place.
            return torch.ops.aten._unsafe_view.default(x, x.shape)

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
            return observe_gradient(gradient, ctx.target, ctx.place), None, None


def _call(target: int, place: int, x: torch.Tensor, kind: str) -> None:
    reference = _targets.get(target)
    monitor = reference() if reference is not None else None
    if monitor is not None:
        monitor._observe_compiled(place, x, kind)


def register(monitor: Any) -> int:
    """The number that stands for a monitor in graphs."""
    if not SUPPORTED:
        raise UnsupportedError(f"a compiled model needs PyTorch 2.4 or later to be monitored; this is {torch.__version__}")
    number = next(_numbers)
    _targets[number] = weakref.ref(monitor)
    return number


def forget(number: int) -> None:
    _targets.pop(number, None)


def is_compiling() -> bool:
    """Is a compiler tracing this very call?"""
    return bool(torch.compiler.is_compiling())


def is_compiled(model: torch.nn.Module) -> bool:
    """Was it compiled, or any module in it, by torch.compile(module) or module.compile()?"""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    wrapped = getattr(dynamo, "OptimizedModule", ())
    return any(isinstance(module, wrapped) or getattr(module, "_compiled_call_impl", None) is not None for module in model.modules())


def watch(x: torch.Tensor, token: torch.Tensor, target: int, place: int, gradients: bool) -> torch.Tensor:
    """What a hook does with an output while it is traced."""
    observe(x, token, target, place)
    if gradients and x.requires_grad:
        return _Watch.apply(x, target, place)
    return x
