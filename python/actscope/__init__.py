"""What flows through a neural network while it trains: statistics, distinct values, feature correlations and their rank.

    actscope.report(arrays or files)     one report, as a dictionary
    actscope.html(jsonl, output)         a page of what a monitor wrote, over the steps
    actscope.Plan(layers)                layers decided once, measured often, in one workspace
    actscope.torch.Monitor(model)        activations and gradients of a model in training (needs PyTorch)
    actscope.sinks                       where a monitor's records go: JSON lines, CSV, TensorBoard, Prometheus
"""
from . import _library
from ._analyse import report
from ._errors import (BudgetTooSmallError, DeviceError, Error, InputError, InternalError, InvalidArgumentError, NoDeviceError,
                      NotReadyError, OutOfMemoryError, UnsupportedError, WorkspaceTooSmallError)
from ._plan import Plan, minimum_budget
from ._program import html
from ._report import devices, memory_usage

__version__: str = _library.library.actscope_version().decode()


def no_gpu_reason() -> str:
    """Why no GPU is used, in one line; "" when one can be."""
    return str(_library.library.actscope_no_gpu_reason().decode())


__all__ = ["report", "html", "Plan", "minimum_budget", "devices", "memory_usage", "no_gpu_reason", "Error", "InvalidArgumentError", "UnsupportedError",
           "OutOfMemoryError", "BudgetTooSmallError", "WorkspaceTooSmallError", "NotReadyError", "NoDeviceError",
           "DeviceError", "InternalError", "InputError"]
