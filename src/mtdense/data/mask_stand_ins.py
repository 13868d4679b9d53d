"""Stand-ins for NumPy's reconstructors, and the memory that a pickled label mask may take.

They understand text, numbers and plain arrays only, and answer to the module names of NumPy 1 and 2.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

__all__ = ["KNOWN", "OBJECT_BYTES", "Array", "StandIn", "count_values", "memory_limit", "spend"]

OBJECT_BYTES = 64
"""Bytes counted for each object that is made."""

_MAX_AXES = 32

_CODES = re.compile(r"b1|[iu][1248]|f[248]|U\d{1,4}|O8?")


# ---- limits ----------------------------------------------------------------------------------------------------------
_left: ContextVar[int] = ContextVar("bytes that may still be spent on the file being read")


@contextmanager
def memory_limit(size: int) -> Iterator[None]:
    """Lets `spend` count from here on."""
    token = _left.set(size)
    try:
        yield
    finally:
        _left.reset(token)


def spend(size: int) -> None:
    """Counts bytes that are about to be taken, within `memory_limit`.

    Raises:
        pickle.UnpicklingError: More than the limit.
    """
    left = _left.get() - size
    if left < 0:
        raise pickle.UnpicklingError("its content takes more memory than any label mask")
    _left.set(left)


def count_values(shape: Any, available: int) -> int:
    """The number of values of a shape.

    Args:
        shape: What a file says.
        available: Values there are. An axis of length 0 must not hide others that make a list of millions.

    Raises:
        pickle.UnpicklingError: No shape, or one of more values.
    """
    if not isinstance(shape, tuple) or len(shape) > _MAX_AXES or any(type(n) is not int or n < 0 for n in shape):
        raise pickle.UnpicklingError("a shape that is no tuple of sizes")
    if math.prod(max(n, 1) for n in shape) > max(available, 1):
        raise pickle.UnpicklingError(f"a shape {shape}, but {available} values")
    return math.prod(shape)


# ---- stand-ins for NumPy's reconstructors ----------------------------------------------------------------------------
class StandIn:
    """Base: a file must not set attributes of what it names."""

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"state for {type(self).__qualname__}")


class _Dtype(StandIn):
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


class _Scalar(StandIn):
    """`numpy.core.multiarray.scalar`: gives the Python value."""

    def __new__(cls, dtype: Any, data: Any) -> Any:
        value = _values(dtype, data, (1,), "C")[0]
        return value.item() if isinstance(value, np.generic) else value


class Array(StandIn):
    """`numpy.ndarray`: filled by its state, plain once it is read."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if isinstance(data, list):
            if not isinstance(dtype, _Dtype) or dtype.code[0] != "O" or count_values(shape, len(data)) != len(data):
                raise pickle.UnpicklingError("an array of objects that does not fit its shape")
            self.value = data if shape else data[0]
        else:
            found = _values(dtype, data, shape, "F" if fortran else "C")
            self.value = found if found.dtype.kind != "O" else found.tolist()


class _Reconstruct(StandIn):
    """`numpy.core.multiarray._reconstruct`: an empty array that its state will fill."""

    def __new__(cls, kind: Any, shape: Any, code: Any) -> Any:
        if kind is not Array:
            raise pickle.UnpicklingError("an array of an unknown class")
        return Array()


class _Encode(StandIn):
    """`_codecs.encode`: how protocol 2 writes bytes."""

    def __new__(cls, text: str, encoding: str) -> Any:
        if encoding != "latin1":
            raise pickle.UnpicklingError("bytes of an unknown encoding")
        spend(OBJECT_BYTES + len(text))
        return text.encode("latin1")


class _NoBytes(StandIn):
    """`bytes`: how protocol 2 writes none."""

    def __new__(cls) -> Any:
        return b""


def _values(dtype: Any, data: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    """The values of raw bytes; text comes as an array of `str` objects."""
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or dtype.code[0] == "O":
        raise pickle.UnpicklingError("a value that is neither text nor number")
    kind = dtype.numpy()
    count = count_values(shape, len(data) // max(kind.itemsize, 1))
    if kind.itemsize * count != len(data):
        raise pickle.UnpicklingError(f"{len(data)} bytes for {count} values of {kind}")
    if kind.kind != "U":
        spend(OBJECT_BYTES)
        return np.frombuffer(data, dtype=kind).reshape(shape, order=order)
    spend(OBJECT_BYTES * (count + 1) + len(data))
    # Decoded by Python, which checks the code points.
    codec = "utf-32-be" if dtype.order == ">" else "utf-32-le"
    parts = [data[i : i + kind.itemsize].decode(codec).rstrip("\0") for i in range(0, len(data), kind.itemsize or 1)]
    texts = np.empty(count, dtype=object)
    texts[:] = parts or [""] * count
    return texts.reshape(shape, order=order)


# What NumPy writes into pickles.
KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Encode,
    ("builtins", "bytes"): _NoBytes,
    ("__builtin__", "bytes"): _NoBytes,  # as protocol 2 writes it
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):  # NumPy 1, NumPy 2
    KNOWN |= {(_module, "scalar"): _Scalar, (_module, "_reconstruct"): _Reconstruct}
