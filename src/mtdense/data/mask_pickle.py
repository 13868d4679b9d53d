"""Published label masks come as pickles; here they are read without running anything that they ask for.

`.pth` files go through `torch.load(weights_only=True)`, `.npy` files through an unpickler that knows nine names. In
both, NumPy's own reconstructors are replaced by stand-ins that understand text, numbers and plain arrays only, so that
no compiled code sees what a file made up. The stand-ins answer to the module names of NumPy 1 and 2.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtdense.core.errors import DataError

__all__ = ["MAX_BYTES", "load_npy", "load_torch"]

MAX_BYTES = 64 * 2**20
"""Largest file, and largest content of an archive, that is read as a label mask (the published ones have 1.2 MB)."""

_MEND = "Get it again from its publisher, or write the mask as CSV (a line `id,task,task`, then one line per image)."

_CODES = re.compile(r"b1|[iu][1248]|f[248]|U\d{1,4}|O8?")


# ---- stand-ins for NumPy's reconstructors ----------------------------------------------------------------------------
class _StandIn:
    """Base: a file must not set attributes of what it names."""

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"state for {type(self).__qualname__}")


class _Dtype(_StandIn):
    """`numpy.dtype`: one of the plain types."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if not isinstance(code, str) or not _CODES.fullmatch(code):
            raise pickle.UnpicklingError("a data type other than text, numbers and objects")
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        order, *fields = state[1:5]
        if order not in ("<", ">", "|", "=") or any(field is not None for field in fields):
            raise pickle.UnpicklingError("a structured data type")
        self.order = order

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.code if self.code[0] == "O" else self.order + self.code)


class _Scalar(_StandIn):
    """`numpy.core.multiarray.scalar`: gives the Python value."""

    def __new__(cls, dtype: Any, data: Any) -> Any:
        value = _values(dtype, data, (1,), "C")[0]
        return value.item() if isinstance(value, np.generic) else value


class _Array(_StandIn):
    """`numpy.ndarray`: filled by its state, made plain by `_plain`."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if isinstance(data, list):
            if not isinstance(dtype, _Dtype) or dtype.code[0] != "O" or math.prod(shape) != len(data):
                raise pickle.UnpicklingError("an array of objects that does not fit its shape")
            self.value = data if shape else data[0]
        else:
            found = _values(dtype, data, shape, "F" if fortran else "C")
            self.value = found if found.dtype.kind != "O" else found.tolist()


class _Reconstruct(_StandIn):
    """`numpy.core.multiarray._reconstruct`: an empty array that its state will fill."""

    def __new__(cls, kind: Any, shape: Any, code: Any) -> Any:
        if kind is not _ARRAY:
            raise pickle.UnpicklingError("an array of an unknown class")
        return kind()


class _Encode(_StandIn):
    """`_codecs.encode`: how protocol 2 writes bytes."""

    def __new__(cls, text: str, encoding: str) -> Any:
        if encoding != "latin1":
            raise pickle.UnpicklingError("bytes of an unknown encoding")
        return text.encode("latin1")


class _NoBytes(_StandIn):
    """`bytes`: how protocol 2 writes none."""

    def __new__(cls) -> Any:
        return b""


def _values(dtype: Any, data: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    """The values of raw bytes; text comes as an array of `str` objects."""
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or dtype.code[0] == "O":
        raise pickle.UnpicklingError("a value that is neither text nor number")
    kind = dtype.numpy()
    count = math.prod(shape)
    if kind.itemsize * count != len(data) or not 0 <= count <= max(len(data), 1):
        raise pickle.UnpicklingError(f"{len(data)} bytes for {count} values of {kind}")
    if kind.kind != "U":
        return np.frombuffer(data, dtype=kind).reshape(shape, order=order)
    # Decoded by Python, which checks the code points.
    codec = "utf-32-be" if dtype.order == ">" else "utf-32-le"
    parts = [data[i : i + kind.itemsize].decode(codec).rstrip("\0") for i in range(0, len(data), kind.itemsize or 1)]
    texts = np.empty(count, dtype=object)
    texts[:] = parts or [""] * count
    return texts.reshape(shape, order=order)


def _named(module: str, name: str, base: type) -> type:
    """A stand-in that answers to a full name; torch takes the name from the class."""
    return type(name, (base,), {"__module__": module})


_ARRAY = _named("numpy", "ndarray", _Array)
_NUMPY: list[Any] = [_ARRAY, _named("numpy", "dtype", _Dtype)]
for _module in ("builtins", "__builtin__"):  # Python 3, and as protocol 2 writes it
    _NUMPY.append(_named(_module, "bytes", _NoBytes))
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):  # NumPy 1, NumPy 2
    _NUMPY += [_named(_module, "scalar", _Scalar), _named(_module, "_reconstruct", _Reconstruct)]
_KNOWN = {(item.__module__, item.__qualname__): item for item in [*_NUMPY, _named("_codecs", "encode", _Encode)]}


# ---- .npy ------------------------------------------------------------------------------------------------------------
class _RefusedError(pickle.UnpicklingError):
    """A file names something that no label mask needs."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None


_OPCODES = """
    PROTO FRAME STOP MARK MEMOIZE BINPUT LONG_BINPUT BINGET LONG_BINGET NONE NEWTRUE NEWFALSE BININT BININT1 BININT2
    LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINBYTES SHORT_BINBYTES EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM
    SETITEMS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 GLOBAL STACK_GLOBAL REDUCE BUILD
"""
_ALLOWED_OPCODES = frozenset(_OPCODES.split())  # what containers, text, numbers and arrays are pickled with


def _unpickle(payload: bytes) -> Any:
    for opcode, argument, _ in pickletools.genops(payload):
        if opcode.name not in _ALLOWED_OPCODES:
            raise _RefusedError(f"the pickle instruction {opcode.name}")
        # The unpickler would clear memory for every entry of its memo up to this number.
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > len(payload):
            raise pickle.UnpicklingError("a memo entry out of range")
    return _Unpickler(io.BytesIO(payload)).load()


def load_npy(path: Path, content: bytes) -> Any:
    """Reads an `.npy` file: an array of numbers, or one pickled object in an array without axes.

    Args:
        path: The file, for errors.
        content: Its bytes.

    Returns:
        Containers, text and numbers; arrays of numbers as NumPy arrays.

    Raises:
        DataError: Damaged, or asking for more than the data of a label mask.
    """
    with _reading(path):
        stream = io.BytesIO(content)
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of the format")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
        if dtype.hasobject:
            return _plain(_unpickle(content[stream.tell() :]))
        if dtype.kind not in "biuf" or math.prod(shape) * dtype.itemsize > len(content):
            raise ValueError(f"an array {shape} of {dtype}")
        return np.frombuffer(content, dtype, math.prod(shape), stream.tell()).reshape(
            shape, order="F" if fortran else "C"
        )


# ---- .pth ------------------------------------------------------------------------------------------------------------
def load_torch(path: Path, content: bytes) -> Any:
    """Reads a file of `torch.save`, in the format of torch 1.6 and later (a zip archive) or the one before.

    Args:
        path: The file, for errors.
        content: Its bytes.

    Returns:
        As `load_npy`; tensors come as NumPy arrays.

    Raises:
        DataError: Damaged, or asking for more than the data of a label mask.
    """
    with _reading(path):
        if content.startswith(b"PK"):
            _check_archive(path, content)
        with _only_these_globals(_NUMPY):
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return _plain(found)


def _check_archive(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
    if not any(entry.filename.endswith("/data.pkl") for entry in entries):
        raise DataError(f"{path} is a zip archive, but none that torch wrote", _MEND)
    size = sum(entry.file_size for entry in entries)
    if size > MAX_BYTES:
        raise DataError(f"{path} unpacks to {size} bytes, more than the limit of {MAX_BYTES}", _MEND)


@contextmanager
def _only_these_globals(names: list[Any]) -> Iterator[None]:
    """Lets torch know these classes and nothing that other libraries may have allowed."""
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        torch.serialization.add_safe_globals(names)
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(others)


# ---- both ------------------------------------------------------------------------------------------------------------
@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns whatever a damaged or hostile file provokes into one error that names the file."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        asked = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if isinstance(error, _RefusedError) or asked:
            name = asked[1] if asked else str(error)
            raise DataError(
                f"{path} asks for {name[:80]!r}, which no label mask needs; the file was refused and nothing was run",
                f"Do not use this file. {_MEND}",
            ) from error
        detail = " ".join(str(error).split())
        if not detail or "Weights only" in detail:  # torch's text recommends to switch the protection off
            detail = type(error).__name__
        raise DataError(f"{path} is damaged or no label mask ({detail[:160]})", _MEND) from error


def _plain(value: Any) -> Any:
    """Arrays and tensors as NumPy arrays, also as the values of a mapping."""
    if isinstance(value, _Array):
        return _plain(value.value)
    if isinstance(value, torch.Tensor):
        return _numbers(value)
    if isinstance(value, dict):
        return {key: item if isinstance(item, dict) else _plain(item) for key, item in value.items()}
    return value


def _numbers(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    # Strides of zero make a small file a huge tensor.
    if not plain or tensor.is_complex() or tensor.numel() > MAX_BYTES:
        raise ValueError(f"a tensor {tuple(tensor.shape)} of {tensor.dtype}, {tensor.layout}")
    return np.asarray(tensor.detach().to(torch.float64).numpy())
