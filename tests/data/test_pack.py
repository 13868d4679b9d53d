"""Opening packs: structural damage at the door, payload damage when an entry is read."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mtdense.core.errors import DataError
from mtdense.core.seeds import derive_rng
from mtdense.data.pack import HEADER, Pack, is_entry_name
from mtdense.data.pack_work import SourceWork, find_files
from mtdense.data.pack_writer import write_pack


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pack")
    for name in ("a/1", "a/2", "b/1", "b/2"):
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "data" / name).write_bytes(name.encode() * 500)
    files, _ = find_files(folder / "data")
    work = SourceWork(files, dataset="set", version="set-1", source="here", images=2)
    return write_pack(work, folder / "x.h5").path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copy(made, tmp_path / "x.h5"))


def read_all(path: Path) -> dict[str, bytes]:
    pack = Pack(path)
    return {name: bytes(pack.read(name)) for name in pack.entries}


def start_of(path: Path) -> int:
    with h5py.File(path) as file:
        return int(file["content"].id.get_offset())


def flip(path: Path, place: int, bit: int = 0) -> None:
    with path.open("r+b") as stream:
        stream.seek(place)
        (value,) = stream.read(1)
        stream.seek(place)
        stream.write(bytes([value ^ 1 << bit]))


def test_payload_damage_names_entry_and_file(path: Path) -> None:
    flip(path, start_of(path) + 1500 + 7, 3)
    pack = Pack(path)
    order = list(pack.entries)
    assert bytes(pack.read(order[0])) == order[0].encode() * 500
    with pytest.raises(DataError, match=rf"payload damage: the entry '{order[1]}' of .*x\.h5"):
        pack.read(order[1])
    with pytest.raises(DataError, match="payload damage"):  # and again
        pack.read(order[1])
    assert bytes(pack.read(order[2])) == order[2].encode() * 500


@pytest.mark.parametrize("keep", [0, 1, 100, 1000, 3000, 0.5, -100, -1])
def test_a_pack_cut_short_is_not_opened(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match=r"x\.h5"):
        _ = Pack(path).header


def test_any_flipped_bit_is_found_or_harmless(made: Path, tmp_path: Path) -> None:
    """In HDF5's structures, the index, the header and the content: one error that names the file, or every byte."""
    whole, start = read_all(made), start_of(made)
    original = made.read_bytes()
    rng = derive_rng(0, "flips")
    metadata = [*range(start), *range(start + 6000, len(original))]
    found = 0
    for number in range(160):
        path = tmp_path / f"{number}.h5"
        place = int(rng.choice(metadata)) if number % 4 else start + int(rng.integers(6000))
        path.write_bytes(original)
        flip(path, place, int(rng.integers(8)))
        try:
            assert read_all(path) == whole, place
        except DataError as error:
            assert str(path) in str(error) and error.mend is not None
            found += 1
        path.unlink()
    assert found > 60


def change(path: Path, key: str, value: Any) -> None:
    with h5py.File(path, "a") as file:
        del file[key]
        if value is not None:
            file[key] = value


def change_header(path: Path, **values: Any) -> None:
    with h5py.File(path, "a") as file:
        header = json.loads(file.attrs[HEADER])
        header.update(values)
        file.attrs[HEADER] = json.dumps({key: value for key, value in header.items() if value is not None})


@pytest.mark.parametrize("key", ["content", "names", "sizes", "sha256"])
def test_a_missing_key_is_named(path: Path, key: str) -> None:
    change(path, key, None)
    with pytest.raises(DataError, match=rf"x\.h5 has no '{key}'"):
        _ = Pack(path).header


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sizes", np.array([1, 2, 3]), "its index does not have its checksum"),
        ("sizes", np.array([1500, 1500, 1500, 1500], np.int32), "'sizes' is int32"),
        ("sha256", np.zeros((4, 32), np.uint8), "its index does not have its checksum"),
        ("names", np.frombuffer(b"a/1\na/2\nb/1\nb/3", np.uint8), "its index does not have its checksum"),
        ("names", np.zeros((3, 3), np.uint8), r"'names' is uint8 \(3, 3\)"),
        ("content", np.zeros(10, np.uint8), "'content' has 10 bytes, not 6000"),
        ("content", np.zeros(6000, np.int16), "'content' is no plain sequence of bytes"),
        ("content", h5py.SoftLink("/names"), "'content' is no array of this file"),
        ("content", h5py.ExternalLink("/etc/passwd", "/"), "cut short|'content' is no array of this file"),
    ],
)
def test_an_index_that_does_not_fit(path: Path, key: str, value: Any, message: str) -> None:
    change(path, key, value)
    with pytest.raises(DataError, match=message) as caught:
        _ = Pack(path).header
    assert str(path) in str(caught.value)


def test_content_in_another_file_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(6000))
    with h5py.File(path, "a") as file:
        del file["content"]
        file.create_dataset("content", (6000,), "u1", external=[(str(tmp_path / "secret"), 0, 6000)])
    with pytest.raises(DataError, match="'content' lies in another file"):
        _ = Pack(path).header


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 3}, "of format 3, this version reads 1 to 2"),
        ({"format": "1"}, "damaged header"),
        ({"codec": "zip"}, r"damaged header \(codec\)"),
        ({"version": None}, r"damaged header \(version\)"),
        ({"bytes": 5999}, "6000 bytes, not 5999"),
        ({"entries": 3}, "differ in number"),
        ({"codec": "raw"}, "has no 'catalogue'"),
    ],
)
def test_a_header_that_does_not_fit(path: Path, values: dict[str, Any], message: str) -> None:
    change_header(path, **values)
    with pytest.raises(DataError, match=message):
        _ = Pack(path).header


def test_other_files_are_no_packs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such pack"):
        _ = Pack(tmp_path / "none.h5").header
    with pytest.raises(DataError, match="is a folder"):
        _ = Pack(tmp_path).header
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(DataError, match="damaged, or no HDF5 file"):
        _ = Pack(tmp_path / "text.h5").header
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["content"] = np.zeros(3)
    with pytest.raises(DataError, match="an HDF5 file, but no pack"):
        _ = Pack(tmp_path / "other.h5").header
    with h5py.File(tmp_path / "other.h5", "a") as file:
        file.attrs[HEADER] = "[" * 9_000
    with pytest.raises(DataError, match=r"other\.h5"):
        _ = Pack(tmp_path / "other.h5").header


def test_a_file_that_is_changed_while_in_use(path: Path) -> None:
    pack = Pack(path)
    name = next(iter(pack.entries))
    pack.read(name)
    copy = pickle.loads(pickle.dumps(pack))
    flip(path, start_of(path))
    os.utime(path)  # the clock of the file system may be coarse
    with pytest.raises(DataError, match="was changed while in use"):
        pack.read(name)
    with pytest.raises(DataError, match="payload damage"):  # another process looks anew
        copy.read(name)


def test_another_pack_in_its_place(path: Path, tmp_path: Path) -> None:
    pack = Pack(path)
    _ = pack.header
    copy = pickle.loads(pickle.dumps(pack))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "other").touch()
    (tmp_path / "data" / "more").write_bytes(b"1")
    work = SourceWork(find_files(tmp_path / "data")[0], dataset="set", version="set-2", source="here", images=1)
    write_pack(work, path, overwrite=True)
    for one in (pack, copy):
        with pytest.raises(DataError, match="was changed while in use"):
            one.read(next(iter(pack.entries)))


def test_entries_are_relative_paths() -> None:
    for name in ("a", "a/b.png", "a b/ä", "..a"):
        assert is_entry_name(name)
    for name in ("", ".", "/a", "a//b", "./a", "a/", "../a", "a/../b", "a\nb"):
        assert not is_entry_name(name)


def test_a_missing_entry(made: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no entry 'c'"):
        Pack(made).read("c")
    with pytest.raises(DataError, match="is a pack of source files"):
        _ = Pack(made).catalogue
