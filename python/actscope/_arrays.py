"""Arrays of other libraries as views of the same memory: nothing is copied.

    PyTorch     asked directly, because neither NumPy nor the buffer protocol knows bfloat16 and float8
    CUDA        __cuda_array_interface__ (CuPy, Numba)
    NumPy       __array_interface__; ml_dtypes' bfloat16 and float8 by the dtype's name
    DLPack      __dlpack__ (JAX and others)
    the rest    the buffer protocol (array.array, memoryview)
"""
from __future__ import annotations

import ctypes
import sys
from typing import Any, Optional, Sequence, Tuple

from ._library import Tensor, header, library

DTYPES = header.enums["actscope_dtype"]
_BY_NAME = {name[len("ACTSCOPE_"):].lower(): code for name, code in DTYPES.items()}
_BY_NAME["float8_e4m3fn"] = _BY_NAME["float8_e4m3"]  # what other libraries call it
DTYPE_NAMES = {code: name[len("ACTSCOPE_"):].lower() for name, code in DTYPES.items()}
_BY_FORMAT = {"f": "float32", "e": "float16", "d": "float64"}
_BY_TYPESTR = {"f4": "float32", "f2": "float16", "f8": "float64"}


class View:
    """A tensor of somebody else's: address, element type, extents, strides in elements (None: compact), device."""

    __slots__ = ("data", "dtype", "shape", "strides", "device", "stream", "keep")

    def __init__(self, data: int, dtype: int, shape: Sequence[int], strides: Optional[Sequence[int]], device: int = -1,
                 stream: int = 0, keep: Any = None) -> None:
        self.data, self.dtype = data, dtype
        self.shape = tuple(shape)
        self.strides = None if strides is None else tuple(strides)
        self.device = device  # -1: host memory; else the number of the GPU
        self.stream = stream  # that the data is ready on
        self.keep = keep  # what owns the memory

    def tensor(self) -> Any:
        """The library's structure. It refers to arrays that it keeps alive itself."""
        n = len(self.shape)
        axes = ctypes.c_int64 * max(n, 1)
        shape = axes(*self.shape)
        strides = None if self.strides is None else axes(*self.strides)
        return Tensor(self.data or None, self.dtype, n, shape, strides)


def dtype_code(name: str) -> int:
    """The library's number of "float32", "bfloat16", ...; TypeError for types that it does not measure."""
    code = _BY_NAME.get(name)
    if code is None:
        raise TypeError(f"elements of type {name} are not measured; these are: " + ", ".join(sorted(set(DTYPE_NAMES.values()))))
    return code


def view(array: Any) -> View:
    """The memory of an array, whichever library it is of. TypeError when it has none that can be read in place."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        return view_torch(array)
    if hasattr(array, "__cuda_array_interface__"):
        interface = array.__cuda_array_interface__
        result = _view_interface(array, interface)
        result.device = _device_of_cuda(array)
        result.stream = interface.get("stream") or 0
        return result
    if hasattr(array, "__array_interface__"):
        return _view_interface(array, array.__array_interface__)
    if hasattr(array, "__dlpack__"):
        return _view_dlpack(array)
    return _view_buffer(array)


# ---- PyTorch ---------------------------------------------------------------------------------------------------------
_torch_dtypes: dict = {}


def view_torch(tensor: Any) -> View:
    """A tensor of PyTorch, dense and strided, on the CPU or a CUDA device."""
    torch = sys.modules["torch"]
    if not _torch_dtypes:
        for name in ("float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2"):
            if hasattr(torch, name):
                _torch_dtypes[getattr(torch, name)] = _BY_NAME[name]
    code = _torch_dtypes.get(tensor.dtype)
    if code is None:
        dtype_code(str(tensor.dtype).replace("torch.", ""))  # raises with the list
    if tensor.layout is not torch.strided:
        raise TypeError(f"a tensor of layout {tensor.layout} has no strides to read it by")
    place = tensor.device
    if place.type not in ("cpu", "cuda"):
        raise TypeError(f"a tensor on device {place} cannot be read; cpu and cuda can")
    device = -1 if place.type == "cpu" else place.index or 0
    return View(tensor.data_ptr(), code, tensor.shape, tensor.stride(), device,  # type: ignore[arg-type]
                0 if device < 0 else torch.cuda.current_stream(place).cuda_stream, tensor)


# ---- Interfaces of NumPy and CUDA --------------------------------------------------------------------------------------
def _view_interface(array: Any, interface: Any) -> View:
    order, kind = interface["typestr"][0], interface["typestr"][1:]
    name = _BY_TYPESTR.get(kind)
    if name is None:  # ml_dtypes: an anonymous two bytes to NumPy
        name = str(getattr(getattr(array, "dtype", None), "name", kind))
    code = dtype_code(name)
    if order == (">" if sys.byteorder == "little" else "<"):
        raise TypeError("elements are in the other byte order; array.astype(array.dtype.newbyteorder('=')) converts them")
    itemsize = library.actscope_dtype_size(code)
    return View(interface["data"][0], code, interface["shape"], _in_elements(interface.get("strides"), itemsize), keep=array)


def _in_elements(strides: Optional[Sequence[int]], itemsize: int) -> Optional[Tuple[int, ...]]:
    if strides is None:
        return None
    if any(stride % itemsize for stride in strides):
        raise TypeError(f"strides of {tuple(strides)} bytes are no whole number of elements of {itemsize} bytes")
    return tuple(stride // itemsize for stride in strides)


def _device_of_cuda(array: Any) -> int:
    device = getattr(array, "device", 0)
    return int(getattr(device, "id", device if isinstance(device, int) else 0))


# ---- DLPack ------------------------------------------------------------------------------------------------------------
class _DLTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
                ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
                ("byte_offset", ctypes.c_uint64)]


_DLPACK = {(2, 32): "float32", (2, 16): "float16", (2, 64): "float64", (4, 16): "bfloat16", (10, 8): "float8_e4m3",
           (12, 8): "float8_e5m2"}
_HOST, _CUDA, _CUDA_HOST, _CUDA_MANAGED = 1, 2, 3, 13
_capsule = ctypes.pythonapi.PyCapsule_GetPointer
_capsule.restype, _capsule.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def _view_dlpack(array: Any) -> View:
    kind = array.__dlpack_device__()[0]
    # 1 is the legacy default stream: the producer makes it wait for the data, and the work is put there.
    capsule = array.__dlpack__(stream=1) if kind in (_CUDA, _CUDA_MANAGED) else array.__dlpack__()
    t = ctypes.cast(_capsule(capsule, b"dltensor"), ctypes.POINTER(_DLTensor))[0]
    name = _DLPACK.get((t.code, t.bits)) if t.lanes == 1 else None
    code = dtype_code(name or f"DLPack ({t.code}, {t.bits} bits, {t.lanes} lanes)")
    if t.device_type not in (_HOST, _CUDA, _CUDA_HOST, _CUDA_MANAGED):
        raise TypeError(f"DLPack device {t.device_type} cannot be read; host and CUDA memory can")
    device = t.device_id if t.device_type in (_CUDA, _CUDA_MANAGED) else -1
    # The capsule is not taken over: it gives the memory back itself when it is dropped.
    return View((t.data or 0) + t.byte_offset if t.data else 0, code, t.shape[:t.ndim],
                t.strides[:t.ndim] if t.strides else None, device, 0, capsule)


# ---- The buffer protocol -----------------------------------------------------------------------------------------------
class _PyBuffer(ctypes.Structure):
    _fields_ = [("buf", ctypes.c_void_p), ("obj", ctypes.py_object), ("len", ctypes.c_ssize_t),
                ("itemsize", ctypes.c_ssize_t), ("readonly", ctypes.c_int), ("ndim", ctypes.c_int),
                ("format", ctypes.c_char_p), ("shape", ctypes.POINTER(ctypes.c_ssize_t)),
                ("strides", ctypes.POINTER(ctypes.c_ssize_t)), ("suboffsets", ctypes.c_void_p),
                ("internal", ctypes.c_void_p)]


def _view_buffer(array: Any) -> View:
    try:
        memory = memoryview(array)
    except TypeError:
        raise TypeError(f"{type(array).__name__} is no array: it has none of __cuda_array_interface__, "
                        "__array_interface__, __dlpack__ and the buffer protocol") from None
    name = _BY_FORMAT.get(memory.format.lstrip("@="))
    code = dtype_code(name or f"{memory.format!r} of the buffer protocol")
    raw = _PyBuffer()
    strided_read_only = 0x0018  # PyBUF_STRIDES
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(memory), ctypes.byref(raw), strided_read_only)
    address = raw.buf or 0
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(raw))  # the memoryview holds the memory
    return View(address, code, memory.shape or (), _in_elements(memory.strides or None, memory.itemsize), keep=memory)
