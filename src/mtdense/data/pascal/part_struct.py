"""Reading of PASCAL-Part annotations: nested structs in .mat files of MATLAB 5 to 7.2, and nothing else of them.

```
anno      1x1 struct  imname, objects
objects   1xN struct  class, class_ind, mask, parts
parts     1xM struct  part_name, mask          or an empty matrix
```

Masks have the image's size. The reader trusts no number in the file: nothing is allotted by what a header says, and
what is unpacked has a limit.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import DataError
from mtdense.data.io import read_bytes
from mtdense.data.location import Location
from mtdense.data.pascal.facts import PERSON

__all__ = ["MAX_BYTES", "PersonPart", "StructArray", "read_objects", "read_person_parts", "read_struct"]

MAX_BYTES = 1 << 30
"""Largest content, unpacked, that is read; more is taken for a bomb."""

_HEADER = 128
_DEEPEST = 8
_COMPRESSED, _MATRIX = 15, 14
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMERIC = range(6, 16)
_COMPLEX = 0x0800
_STORAGE = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}

_DAMAGED = "The file is damaged or cut short: copy or download it again."

StructArray: TypeAlias = "list[dict[str, Any]]"
"""Elements of a struct array in column-major order; values are `StructArray`, str, arrays, or None (other kinds)."""


class PersonPart(NamedTuple):
    """A part of a person."""

    name: str
    mask: npt.NDArray[np.bool_]


class _Damaged(Exception):
    """What is wrong with a file."""


def read_struct(path: Location, key: str) -> StructArray:
    """Reads a struct array from a .mat file.

    Raises:
        DataError: Missing, damaged, too large, of another format, or without that struct.
    """
    try:
        content = read_bytes(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}", "Restore it, or take the image out of the data set.") from error
    except (OSError, ValueError) as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read ({detail})", "Correct the file or its permissions.") from error
    if content.startswith(b"MATLAB 7.3"):
        raise DataError(f"{path} is of MATLAB 7.3", "Store it with `save -v7`.")
    try:
        variables = _variables(content)
    except _Damaged as error:
        raise DataError(f"{path} cannot be decoded ({error})", _DAMAGED) from error
    if key not in variables:
        raise DataError(f"{path} has no {key!r}, but {', '.join(sorted(variables)) or 'nothing'}", "Copy it again.")
    value = variables[key]
    if not isinstance(value, list):
        raise DataError(f"{path}: {key!r} is no struct", "Copy or download it again.")
    return value


def read_objects(path: Location) -> StructArray:
    """Reads the objects of an image: fields `class`, `class_ind`, `mask` and `parts`, as stored.

    Raises:
        DataError: As `read_struct`; or the struct is not of PASCAL-Part.
    """
    anno = read_struct(path, "anno")
    objects = anno[0].get("objects") if len(anno) == 1 else None
    if isinstance(objects, np.ndarray) and objects.size == 0:
        return []
    if not isinstance(objects, list):
        raise DataError(f"{path}: 'anno' has no struct 'objects'", "Copy the annotations of PASCAL-Part again.")
    return objects


def read_person_parts(path: Location) -> list[PersonPart]:
    """Reads the parts of all people of an image, in the order of the file: later ones lie on top of earlier ones.

    Raises:
        DataError: As `read_objects`, or a part without name or mask.
    """
    found: list[PersonPart] = []
    for number, item in enumerate(read_objects(path), start=1):
        kind = item.get("class_ind")
        if not isinstance(kind, np.ndarray) or kind.size != 1:
            raise DataError(f"{path}: object {number} has no 'class_ind'", "Copy or download it again.")
        if kind.item() != PERSON:
            continue
        parts = item.get("parts")
        if isinstance(parts, np.ndarray) and parts.size == 0:
            continue
        if not isinstance(parts, list):
            raise DataError(f"{path}: object {number} has no struct 'parts'", "Copy or download it again.")
        found += [_part(path, number, part) for part in parts]
    return found


def _part(path: Location, number: int, part: Mapping[str, Any]) -> PersonPart:
    name, mask = part.get("part_name"), part.get("mask")
    if not isinstance(name, str) or not isinstance(mask, np.ndarray) or mask.ndim != 2:
        raise DataError(f"{path}: a part of object {number} lacks a name or a mask", "Copy or download it again.")
    return PersonPart(name, mask.astype(np.bool_))


# ---- the format ------------------------------------------------------------------------------------------------------
def _variables(content: bytes) -> dict[str, Any]:
    """{name: value} of a file."""
    if len(content) < _HEADER or content[126:128] not in (b"IM", b"MI"):
        raise _Damaged("no MATLAB 5 file")
    order = "<" if content[126:128] == b"IM" else ">"
    data, found, room, start = memoryview(content), {}, MAX_BYTES, _HEADER
    while start < len(data):
        kind, inner, start = _element(data, start, order, padded=False)
        if kind == _COMPRESSED:
            unpacked = _unpack(inner, room)
            room -= len(unpacked)
            kind, inner, _ = _element(memoryview(unpacked), 0, order)
        if kind == _MATRIX:
            name, value = _matrix(inner, order, 0)
            found[name] = value
    return found


def _unpack(data: memoryview, room: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(data, room + 1)
    except zlib.error as error:
        raise _Damaged(str(error)) from error
    if len(unpacked) > room:
        raise _Damaged(f"more than {MAX_BYTES} bytes, unpacked")
    if not stream.eof:
        raise _Damaged("its end is missing")
    return unpacked


def _element(data: memoryview, start: int, order: str, padded: bool = True) -> tuple[int, memoryview, int]:
    """Type and content of a data element, and where the next one begins."""
    if start + 8 > len(data):
        raise _Damaged("its end is missing")
    kind, size = struct.unpack_from(order + "II", data, start)
    if kind >> 16:  # a small element: both numbers in one word, up to four bytes in the next
        kind, size, begin, end = kind & 0xFFFF, kind >> 16, start + 4, start + 8
        if size > 4:
            raise _Damaged("a small element of more than 4 bytes")
        return kind, data[begin : begin + size], end
    begin = start + 8
    if begin + size > len(data):
        raise _Damaged("its end is missing")
    return kind, data[begin : begin + size], begin + size + (-size % 8 if padded else 0)


def _numbers(kind: int, data: memoryview, order: str) -> npt.NDArray[Any]:
    if kind not in _STORAGE:
        raise _Damaged(f"numbers of unknown type {kind}")
    dtype = np.dtype(order + _STORAGE[kind])
    if len(data) % dtype.itemsize:
        raise _Damaged("numbers cut short")
    return np.frombuffer(data, dtype)


def _matrix(data: memoryview, order: str, depth: int) -> tuple[str, Any]:
    """Name and value of a matrix."""
    if len(data) == 0:
        return "", np.zeros((0, 0))
    if depth > _DEEPEST:
        raise _Damaged("structs within structs")
    kind, content, start = _element(data, 0, order)
    flags = int(_numbers(kind, content, order)[:1].sum())
    kind, content, start = _element(data, start, order)
    shape = [int(length) for length in _numbers(kind, content, order)]
    _, content, start = _element(data, start, order)
    name = bytes(content).decode("latin-1")
    if len(shape) < 2 or min(shape) < 0:
        raise _Damaged(f"a matrix of shape {shape}")
    if flags & 0xFF == _STRUCT:
        return name, _struct(data, start, order, math.prod(shape), depth)
    if flags & 0xFF == _CELL and math.prod(shape) == 0:  # another way to store "no parts"
        return name, np.zeros(shape)
    if flags & 0xFF not in (_CHAR, *_NUMERIC) or flags & _COMPLEX:
        return name, None
    kind, content, _ = _element(data, start, order)
    if flags & 0xFF == _CHAR:
        return name, _text(kind, content, order)
    values = _numbers(kind, content, order)
    if values.size != math.prod(shape):
        raise _Damaged(f"{values.size} values for a matrix of shape {shape}")
    return name, values.reshape(shape, order="F")


def _text(kind: int, data: memoryview, order: str) -> str:
    if kind not in _TEXT:
        raise _Damaged(f"text of unknown type {kind}")
    codec = _TEXT[kind] if _TEXT[kind] != "utf-16" else f"utf-16-{'le' if order == '<' else 'be'}"
    try:
        return bytes(data).decode(codec)
    except UnicodeDecodeError as error:
        raise _Damaged("text that cannot be decoded") from error


def _struct(data: memoryview, start: int, order: str, count: int, depth: int) -> StructArray:
    kind, content, start = _element(data, start, order)
    width = int(_numbers(kind, content, order)[:1].sum())
    _, content, start = _element(data, start, order)
    names = bytes(content)
    if width < 1 or len(names) % width:
        raise _Damaged("a struct without names of fields")
    fields = [names[i : i + width].split(b"\0", 1)[0].decode("latin-1") for i in range(0, len(names), width)]
    if count * len(fields) * 8 > len(data):  # each value takes at least its tag
        raise _Damaged(f"a struct of {count} elements")
    if not fields:
        return []
    elements: StructArray = []
    for _ in range(count):
        element = {}
        for field in fields:
            kind, content, start = _element(data, start, order)
            if kind != _MATRIX:
                raise _Damaged(f"no matrix in field {field!r}")
            element[field] = _matrix(content, order, depth + 1)[1]
        elements.append(element)
    return elements
