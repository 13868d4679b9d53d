"""Published label masks come as pickles; here they are read without running anything that they ask for.

`.pth` and `.npy` files go through an unpickler that knows a few names. NumPy's and torch's own reconstructors are
replaced by stand-ins that understand text, numbers, plain arrays and plain tensors only, so that no compiled code sees
what a file made up. (`torch.load(weights_only=True)` is not enough: it calls functions that make a tensor of any size
out of a file of a kilobyte.) All that is made of a file has one limit of memory.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mtdense.core.errors import DataError
from mtdense.data.mask_stand_ins import KNOWN, OBJECT_BYTES, Array, StandIn, count_values, memory_limit, spend

__all__ = ["MAX_BYTES", "load_npy", "load_torch"]

MAX_BYTES = 64 * 2**20
"""Largest file, and largest content of an archive, that is read as a label mask (the published ones have 1.2 MB)."""

_MEMORY = 4 * MAX_BYTES
"""Most memory, about, that is spent on what a file is made into, whatever it shares or repeats."""

_MEND = "Get it again from its publisher, or write the mask as CSV (a line `id,task,task`, then one line per image)."


# ---- pickles ---------------------------------------------------------------------------------------------------------
class _RefusedError(pickle.UnpicklingError):
    """A file names something that no label mask needs."""


class _Unpickler(pickle.Unpickler):
    known = KNOWN

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.known[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None


_OPCODES = """
    PROTO FRAME STOP MARK MEMOIZE BINPUT LONG_BINPUT BINGET LONG_BINGET NONE NEWTRUE NEWFALSE BININT BININT1 BININT2
    LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINBYTES SHORT_BINBYTES EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM
    SETITEMS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 GLOBAL STACK_GLOBAL REDUCE BUILD BINPERSID
"""
_ALLOWED_OPCODES = frozenset(_OPCODES.split())  # what containers, text, numbers, arrays and storages are pickled with


def _next_pickle(stream: io.BytesIO) -> io.BytesIO:
    """The pickle that begins here, looked through; the stream then stands behind it."""
    start = stream.tell()
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if opcode.name not in _ALLOWED_OPCODES:
            raise _RefusedError(f"the pickle instruction {opcode.name}")
        # The unpickler would clear memory for every entry of its memo up to this number.
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > number:
            raise pickle.UnpicklingError("a memo entry out of range")
        content = argument if isinstance(argument, str | bytes) else b""
        spend(OBJECT_BYTES + len(content) * (4 if isinstance(content, str) else 1))
    return io.BytesIO(stream.getbuffer()[start : stream.tell()])


# ---- .npy ------------------------------------------------------------------------------------------------------------
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
            return _plain(_Unpickler(_next_pickle(stream)).load())
        if dtype.kind not in "biuf":
            raise ValueError(f"an array of {dtype}")
        count = count_values(shape, (len(content) - stream.tell()) // dtype.itemsize)
        return np.frombuffer(content, dtype, count, stream.tell()).reshape(shape, order="F" if fortran else "C")


# ---- .pth ------------------------------------------------------------------------------------------------------------
class _StorageType(StandIn):
    """`torch.FloatStorage` and its like."""

    def __init__(self, code: str) -> None:
        self.dtype = np.dtype("<" + code)


class _Storage(StandIn):
    """Numbers that tensors share; the older format has them behind the tensors, so they are filled in later."""

    def __init__(self, kind: _StorageType, number: int) -> None:
        self.dtype, self.number = kind.dtype, number
        self.values: np.ndarray[Any, Any] | None = None

    def fill(self, data: bytes) -> None:
        if len(data) != self.number * self.dtype.itemsize:
            raise pickle.UnpicklingError(f"{len(data)} bytes for {self.number} values of {self.dtype}")
        self.values = np.frombuffer(data, self.dtype)


class _Tensor(StandIn):
    """`torch._utils._rebuild_tensor_v2`: a view of a storage, made plain by `_plain`."""

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> None:
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("a tensor without a storage")
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy: the same memory may look like many tensors."""
        if self.storage.values is None:
            raise pickle.UnpicklingError("a tensor without its values")
        values = self.storage.values
        # Strides of zero make a small storage a huge tensor: none has more values than its storage.
        count = count_values(self.shape, len(values))
        places = (self.offset, *self.strides)
        if len(self.strides) != len(self.shape) or any(type(n) is not int or n < 0 for n in places):
            raise pickle.UnpicklingError("a tensor of unusual strides")
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if count and last >= len(values):
            raise pickle.UnpicklingError(f"a tensor {self.shape} beyond its {len(values)} values")
        spend(OBJECT_BYTES + 8 * count)
        if not count:
            return np.zeros(self.shape)
        steps = [step * values.itemsize for step in self.strides]
        return np.array(np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps), dtype=np.float64)


class _Parameter(StandIn):
    """`torch._utils._rebuild_parameter`: gives its tensor."""

    def __new__(cls, tensor: Any, *_: Any) -> Any:
        return tensor


class _NoEntries(StandIn):
    """`collections.OrderedDict`: an empty mapping, whose entries follow one by one."""

    def __new__(cls) -> Any:
        return {}


_KNOWN_TORCH = KNOWN | {
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
    ("collections", "OrderedDict"): _NoEntries,
}
_STORAGES = {"Float": "f4", "Double": "f8", "Half": "f2", "Long": "i8", "Int": "i4", "Short": "i2", "Char": "i1"}
for _name, _code in (_STORAGES | {"Byte": "u1", "Bool": "?"}).items():
    for _module in ("torch", "torch.cuda"):
        _KNOWN_TORCH[_module, f"{_name}Storage"] = _StorageType(_code)


class _TorchUnpickler(_Unpickler):
    known = _KNOWN_TORCH

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        unusual = name.endswith("Storage") or name.startswith("_rebuild_")
        if unusual and module in ("torch", "torch.cuda", "torch._utils") and (module, name) not in self.known:
            raise pickle.UnpicklingError(f"a tensor of an unusual kind: {module}.{name[:80]}")
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        what, kind, key, _, number, *view = pid
        plain = what == "storage" and isinstance(kind, _StorageType) and isinstance(key, str) and type(number) is int
        if not plain or number < 0 or view not in ([], [None]):
            raise pickle.UnpicklingError("a storage of an unknown kind")
        storage = self.storages.setdefault(key, _Storage(kind, number))
        if (storage.dtype, storage.number) != (kind.dtype, number):
            raise pickle.UnpicklingError("a storage of two types")
        return storage


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
        return _plain(_from_archive(path, content) if content.startswith(b"PK") else _from_legacy(content))


def _from_archive(path: Path, content: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        pickles = [entry.filename for entry in entries if re.fullmatch(r"[^/]+/data\.pkl", entry.filename)]
        if len(pickles) != 1:
            raise DataError(f"{path} is a zip archive, but none that torch wrote", _MEND)
        size = sum(entry.file_size for entry in entries)
        if size > MAX_BYTES:
            raise DataError(f"{path} unpacks to {size} bytes, more than the limit of {MAX_BYTES}", _MEND)
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("numbers in big-endian order")
        unpickler = _TorchUnpickler(_next_pickle(io.BytesIO(archive.read(pickles[0]))))
        found = unpickler.load()
        for key, storage in unpickler.storages.items():
            storage.fill(archive.read(f"{folder}data/{key}"))
    return found


_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001


def _from_legacy(content: bytes) -> Any:
    """Five pickles (magic number, version, machine, object, keys of storages), then the storages with their sizes."""
    stream = io.BytesIO(content)
    if [_Unpickler(_next_pickle(stream)).load() for _ in range(2)] != [_LEGACY_MAGIC, _LEGACY_VERSION]:
        raise ValueError("nothing that torch wrote")
    machine = _Unpickler(_next_pickle(stream)).load()
    if machine.get("little_endian") is not True:
        raise ValueError("numbers in big-endian order")
    unpickler = _TorchUnpickler(_next_pickle(stream))
    found = unpickler.load()
    for key in _Unpickler(_next_pickle(stream)).load():
        storage = unpickler.storages[key]
        if int.from_bytes(stream.read(8), "little") != storage.number:
            raise ValueError("a storage of two sizes")
        storage.fill(stream.read(storage.number * storage.dtype.itemsize))
    return found


# ---- both ------------------------------------------------------------------------------------------------------------
@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns whatever a damaged or hostile file provokes into one error that names the file."""
    try:
        with memory_limit(_MEMORY):
            yield
    except DataError:
        raise
    except Exception as error:
        if isinstance(error, _RefusedError):
            raise DataError(
                f"{path} asks for {str(error)[:80]!r}, which no label mask needs; "
                "the file was refused and nothing was run",
                f"Do not use this file. {_MEND}",
            ) from error
        detail = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is damaged or no label mask ({detail[:160]})", _MEND) from error


def _plain(value: Any) -> Any:
    """Arrays and tensors as NumPy arrays, also as the values of a mapping."""
    if isinstance(value, Array):
        return _plain(value.value)
    if isinstance(value, _Tensor):
        return value.numpy()
    if isinstance(value, dict):
        spend(OBJECT_BYTES * len(value))
        return {key: item if isinstance(item, dict) else _plain(item) for key, item in value.items()}
    return value
