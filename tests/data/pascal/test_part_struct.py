"""The reader of nested structs, against files of SciPy and hand-made bytes."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from mtdense.core.errors import DataError
from mtdense.data.pascal import part_struct
from mtdense.data.pascal.part_struct import read_objects, read_person_parts, read_struct


def save(path: Path, *, compress: bool = True, **variables: Any) -> Path:
    scipy.io.savemat(path, variables, do_compression=compress)
    return path


@pytest.mark.parametrize("compress", [True, False])
def test_values_of_a_struct(tmp_path: Path, compress: bool) -> None:
    inner = np.empty((1, 2), dtype=[("name", object), ("mask", object)])
    inner[0, 0] = ("löwe", np.arange(6, dtype=np.uint16).reshape(2, 3))
    inner[0, 1] = ("x", np.zeros((0, 0)))
    outer = {"text": "", "number": 1.5, "flags": np.eye(3, dtype=bool), "list": inner, "cell": np.zeros((0, 0), object)}
    (value,) = read_struct(save(tmp_path / "a.mat", compress=compress, other=3, anno=outer), "anno")
    assert value["text"] == "" and value["number"].item() == 1.5 and value["cell"].size == 0
    np.testing.assert_array_equal(value["flags"], np.eye(3))
    assert [item["name"] for item in value["list"]] == ["löwe", "x"]
    np.testing.assert_array_equal(value["list"][0]["mask"], [[0, 1, 2], [3, 4, 5]])
    assert value["list"][1]["mask"].size == 0


def big_endian() -> bytes:
    """A struct `anno` with the field `n`, the number 7, as a big-endian machine would write it."""

    def element(kind: int, content: bytes) -> bytes:
        return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    def matrix(kind: int, name: bytes, body: bytes) -> bytes:
        head = element(6, struct.pack(">II", kind, 0)) + element(5, struct.pack(">ii", 1, 1)) + element(1, name)
        return element(14, head + body)

    names = struct.pack(">HHi", 4, 5, 8) + element(1, b"n".ljust(8, b"\0"))  # the length in a small element
    body = names + matrix(6, b"", element(3, struct.pack(">h", 7)))
    return b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + matrix(2, b"anno", body)


def test_big_endian_files(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(big_endian())
    assert read_struct(path, "anno")[0]["n"].item() == 7
    assert scipy.io.loadmat(path)["anno"]["n"][0, 0].item() == 7  # the bytes are right


def test_what_is_no_annotation(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    for variables, message in (
        ({"b": {"c": 1}}, "has no 'anno', but b"),
        ({}, "has no 'anno', but nothing"),
        ({"anno": np.eye(3)}, "'anno' is no struct"),
        ({"anno": {"c": 1}}, "'anno' has no struct 'objects'"),
        ({"anno": {"objects": 1}}, "'anno' has no struct 'objects'"),
        ({"anno": {"objects": {"parts": 1}}}, "object 1 has no 'class_ind'"),
        ({"anno": {"objects": {"class_ind": "15"}}}, "object 1 has no 'class_ind'"),
        ({"anno": {"objects": {"class_ind": 15, "parts": 3}}}, "object 1 has no struct 'parts'"),
        ({"anno": {"objects": {"class_ind": 15, "parts": {"mask": np.eye(2)}}}}, "lacks a name or a mask"),
        ({"anno": {"objects": {"class_ind": 15, "parts": {"part_name": "head"}}}}, "lacks a name or a mask"),
        ({"anno": {"objects": {"class_ind": 15, "parts": {"part_name": 1, "mask": np.eye(2)}}}}, "lacks a name or"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            read_person_parts(save(path, **variables))
        assert str(path) in str(caught.value)
    assert read_objects(save(path, anno={"objects": np.zeros((0, 0))})) == []
    with pytest.raises(DataError, match="no such file"):
        read_objects(tmp_path / "b.mat")
    with pytest.raises(DataError, match="cannot be read"):
        read_objects(tmp_path)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(600))
    with pytest.raises(DataError, match=r"is of MATLAB 7\.3"):
        read_objects(path)
    path.write_bytes(b"text" * 100)
    with pytest.raises(DataError, match="no MATLAB 5 file"):
        read_objects(path)


def test_any_damage_is_one_error_or_harmless(tmp_path: Path) -> None:
    """Whatever single byte is changed, and wherever the file is cut: no other exception, and nothing large."""
    parts = {"part_name": "head", "mask": np.ones((4, 5), np.uint8)}
    path = save(tmp_path / "a.mat", compress=False, anno={"imname": "i", "objects": {"class_ind": 15, "parts": parts}})
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    caught = 0
    for place in range(124, len(content)):
        for value in {255 * (place % 2), int(rng.integers(256))} - {content[place]}:
            path.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
            try:
                read_person_parts(path)
            except DataError as error:
                caught += 1
                assert str(path) in str(error)
    assert caught > len(content) // 2
    for keep in range(128, len(content), 3):
        path.write_bytes(content[:keep])
        with pytest.raises(DataError, match=r"a\.mat"):
            read_person_parts(path)


def test_compressed_damage_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.mat", anno={"objects": {"class_ind": 15, "parts": {"mask": np.eye(40)}}})
    content = bytearray(path.read_bytes())
    for place in range(136, len(content)):
        changed = content.copy()
        changed[place] ^= 16
        path.write_bytes(changed)
        with pytest.raises(DataError, match="cannot be decoded"):
            read_struct(path, "anno")


def test_bombs_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_struct, "MAX_BYTES", 1000)
    packed = zlib.compress(bytes(100_000))
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(DataError, match="more than 1000 bytes"):
        read_struct(path, "anno")
