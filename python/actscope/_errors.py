"""Exceptions: one class for each status of the library, with the library's own text."""
from __future__ import annotations

from typing import Any, Dict, Optional, Type


class Error(Exception):
    """Anything that went wrong inside actscope. `status` is the library's number, `name` that number's name."""

    status: int = 0
    name: str = ""


class InvalidArgumentError(Error, ValueError):
    """A shape, an option or a combination of them that makes no sense."""


class UnsupportedError(Error, NotImplementedError):
    """Well-formed, but this build or this device cannot do it."""


class OutOfMemoryError(Error, MemoryError):
    """The system or the device refused an allocation."""


class BudgetTooSmallError(Error):
    """No method fits `memory`; the text names the smallest size that would do."""


class WorkspaceTooSmallError(Error):
    """A lent workspace is smaller than the plan asked for."""


class NotReadyError(Error):
    """Enqueued work has not finished yet, or nothing was enqueued."""


class NoDeviceError(Error):
    """The requested device is not there."""


class DeviceError(Error, RuntimeError):
    """The device reported an execution error."""


class InternalError(Error, RuntimeError):
    """A bug in actscope."""


class InputError(Error):
    """A file is malformed or unreadable. `report` holds what the other layers gave, `page` what the other lines did, or None."""

    report: Optional[Dict[str, Any]] = None
    page: Optional[str] = None


BY_STATUS: Dict[str, Type[Error]] = {
    "ACTSCOPE_INVALID_ARGUMENT": InvalidArgumentError,
    "ACTSCOPE_UNSUPPORTED": UnsupportedError,
    "ACTSCOPE_OUT_OF_MEMORY": OutOfMemoryError,
    "ACTSCOPE_BUDGET_TOO_SMALL": BudgetTooSmallError,
    "ACTSCOPE_WORKSPACE_TOO_SMALL": WorkspaceTooSmallError,
    "ACTSCOPE_NOT_READY": NotReadyError,
    "ACTSCOPE_NO_DEVICE": NoDeviceError,
    "ACTSCOPE_DEVICE_ERROR": DeviceError,
    "ACTSCOPE_INTERNAL": InternalError,
}


def make(name: str, status: int, text: str) -> Error:
    """The exception for a status of the library."""
    error = BY_STATUS.get(name, Error)(text or name)
    error.status, error.name = status, name
    return error
