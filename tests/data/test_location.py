"""A pack of source files is read as the folder that it was made from."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from mtdense.core.errors import DataError
from mtdense.data import io
from mtdense.data.location import Location, PackPath, open_root
from mtdense.data.pack_work import SourceWork, find_files
from mtdense.data.pack_writer import write_pack
from mtdense.data.published import check_folders, files_version, replica_mark, write_replica_mark

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every type of file that is read."""
    root = tmp_path_factory.mktemp("data") / "set"
    picture = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    io.write_image(root / "images" / "a.png", picture)
    io.write_image(root / "images" / "b.jpg", picture)
    io.write_map(root / "labels" / "a.png", picture[..., 0], palette=[[i, i, 0] for i in range(256)])
    io.write_array(root / "labels" / "deep" / "c.npy", RNG.normal(size=(20, 30, 3)))
    io.write_array(root / "labels" / "deep" / "f.npy", np.asfortranarray(RNG.normal(size=(20, 30))))
    io.write_array(root / "labels" / "deep" / "one.npy", np.ones((20, 30, 1), np.float32))
    scipy.io.savemat(root / "labels" / "m.mat", {"depth": RNG.normal(size=(20, 30))}, do_compression=True)
    (root / "list.txt").write_bytes("ä\r\nb\n".encode())
    write_replica_mark(root, seed=3, size=(20, 30), scenes={"train": 1})
    return root


@pytest.fixture(scope="module")
def packed(folder: Path) -> PackPath:
    work = SourceWork(find_files(folder)[0], dataset="set", version="set-1", source="here", images=2)
    found = open_root(write_pack(work, folder.parent / "set.h5").path)
    assert isinstance(found, PackPath)
    return found


def below(root: Location) -> list[Location]:
    found = []
    for path in sorted(root.iterdir()):
        found += [path, *(below(path) if path.is_dir() else [])]
    return found


def test_the_tree_is_the_same(folder: Path, packed: PackPath) -> None:
    ours, theirs = below(packed), below(folder)
    assert [str(path.relative_to(packed)) for path in ours] == [str(path.relative_to(folder)) for path in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert (one.name, one.stem, one.suffix) == (other.name, other.stem, other.suffix)
        assert (one.is_file(), one.is_dir(), one.exists()) == (other.is_file(), other.is_dir(), True)
        assert one.parent / one.name == one and one.parent.is_dir()
        if one.is_file():
            assert one.stat().st_size == other.stat().st_size
            assert one.read_bytes() == other.read_bytes()
            with one.open("rb") as stream, other.open("rb") as file:
                assert stream.read(7) == file.read(7)
    assert (packed / "list.txt").read_text(encoding="utf-8") == "ä\nb\n"
    assert (
        packed.name == "set.h5" and packed.parent == packed and packed / "images/a.png" == packed / "images" / "a.png"
    )
    assert str(packed / "images" / "a.png") == f"{folder.parent / 'set.h5'}/images/a.png"


def test_readers_give_the_same(folder: Path, packed: PackPath) -> None:
    readers = {".png": (io.read_image, io.read_map), ".jpg": (io.read_image, io.read_map), ".npy": (io.read_array,)}
    read = 0
    for one, other in zip(below(packed), below(folder), strict=True):
        for reader in readers.get(one.suffix, ()):
            ours, theirs = reader(one), reader(other)
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype and ours.flags.writeable and ours.strides == theirs.strides
            read += 1
    assert read == 9
    path = ("labels", "m.mat")
    np.testing.assert_array_equal(
        io.read_mat(packed / path[0] / path[1], "depth"), io.read_mat(folder / path[0] / path[1], "depth")
    )


def test_facts_of_published_data_are_the_same(folder: Path, packed: PackPath) -> None:
    check_folders(packed, ["images", "labels/deep"], "Ask X.")
    with pytest.raises(DataError, match=r"no such folder: .*set\.h5/depth"):
        check_folders(packed, ["images", "depth"], "Ask X.")
    assert replica_mark(packed) == replica_mark(folder) is not None
    assert replica_mark(packed / "images") is None
    files = [path for path in below(packed) if path.is_file()]
    assert files_version("set", files, packed) == files_version(
        "set", [p for p in below(folder) if p.is_file()], folder
    )
    with pytest.raises(DataError, match="cannot be found"):
        files_version("set", [packed / "gone"], packed)


def test_what_is_not_there(packed: PackPath) -> None:
    gone = packed / "images" / "gone.png"
    assert not gone.exists() and not gone.is_file() and not gone.is_dir()
    for attempt in (gone.read_bytes, gone.stat, lambda: gone.open("rb"), lambda: gone.read_text(encoding="utf-8")):
        with pytest.raises(FileNotFoundError, match=r"gone\.png"):
            attempt()
    with pytest.raises(FileNotFoundError):
        gone.iterdir()
    with pytest.raises(NotADirectoryError):
        (packed / "list.txt").iterdir()
    with pytest.raises(IsADirectoryError):
        (packed / "images").read_bytes()
    with pytest.raises(ValueError, match="'wb'"):
        gone.open("wb")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not in the subpath"):
        packed.relative_to(packed / "images")
    for reader in (io.read_image, io.read_map, io.read_array):
        with pytest.raises(DataError, match=r"no such file: .*set\.h5/images/gone\.png"):
            reader(gone)


def test_damaged_files_in_a_pack_are_named(tmp_path: Path) -> None:
    root = tmp_path / "bad"
    io.write_image(root / "cut.png", np.zeros((20, 30, 3), np.uint8))
    io.write_array(root / "cut.npy", np.zeros((20, 30)))
    np.save(root / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(root / "huge.npy", np.zeros(1))
    header = (root / "huge.npy").read_bytes()
    (root / "huge.npy").write_bytes(header.replace(b"(1,)", b"(9999999, 9999999)").replace(b" " * 14, b"", 1))
    (root / "rubbish.npy").write_bytes(b"\x93NUMPY\x03\x00 rubbish")
    for name in ("cut.png", "cut.npy"):
        (root / name).write_bytes((root / name).read_bytes()[:-40])
    work = SourceWork(find_files(root)[0], dataset="set", version="set-1", source="here", images=2)
    packed = open_root(write_pack(work, tmp_path / "bad.h5").path)
    for path in packed.iterdir():
        with pytest.raises(DataError, match=path.name.replace(".", r"\.")) as caught:
            io.read_map(path)
        assert caught.value.mend is not None


def test_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_root("~/set") == tmp_path / "set"
    (tmp_path / "odd.h5").mkdir()
    assert open_root(tmp_path / "odd.h5") == tmp_path / "odd.h5"
    absent = open_root(tmp_path / "none.h5")
    with pytest.raises(DataError, match=r"no such pack: .*none\.h5"):
        absent.is_dir()


def test_it_travels_to_other_processes(packed: PackPath) -> None:
    path = packed / "images" / "a.png"
    content = path.read_bytes()
    copy = pickle.loads(pickle.dumps(path))
    assert copy == path and hash(copy) == hash(path) and copy.read_bytes() == content
    assert len(pickle.dumps(packed)) < 1000
