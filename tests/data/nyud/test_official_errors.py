"""Whatever can be wrong with the official file: one error each, which names the file and the mend."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.nyud.official import NYUDOfficialDataset
from mtdense.data.nyud.official_file import OFFICIAL_FILE, REPLICA_ATTRIBUTE, OfficialFile
from mtdense.data.nyud.official_writer import write_official_replica
from tests.data.nyud.official_files import FRAME, SHAPES, SIZE, TYPES, wreck, write_genuine


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("replica")
    write_official_replica(root, train=5, test=3, size=SIZE)
    return root


@pytest.fixture
def own(replica: Path, tmp_path: Path) -> Path:
    """A replica that the test may damage."""
    shutil.copytree(replica, tmp_path / "own")
    return tmp_path / "own"


def test_options_that_do_not_exist(replica: Path) -> None:
    for options in ({"classes": 37}, {"depth_source": "filled"}, {"crop": "eigen"}, {"normals_radius": 0}):
        with pytest.raises(ConfigError, match=rf"`{next(iter(options))}` is"):
            NYUDOfficialDataset(replica, "train", **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="`split` is 'val'"):
        NYUDOfficialDataset(replica, "val")  # type: ignore[arg-type]


def check_error(root: Path, *parts: str, mend: str = "cs.nyu.edu") -> None:
    with pytest.raises(DataError) as caught:
        NYUDOfficialDataset(root, "train", depth_source="raw")
    for part in (*parts, str(root)):
        assert part in str(caught.value.problem)
    assert mend in str(caught.value.mend)


def test_missing_folder_and_file(tmp_path: Path) -> None:
    check_error(tmp_path / "nowhere", "no such folder")
    check_error(tmp_path, "no such file", OFFICIAL_FILE)
    (tmp_path / "file").write_text("")
    check_error(tmp_path / "file", "is a file", mend="folder that holds")


def test_file_that_vanishes(own: Path) -> None:
    data = NYUDOfficialDataset(own, "train")
    (own / OFFICIAL_FILE).unlink()
    with pytest.raises(DataError, match="no such file"):
        data.load(0, [])


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions bind no superuser")
def test_file_without_permission(own: Path) -> None:
    (own / OFFICIAL_FILE).chmod(0)
    check_error(own, "permission", mend="permissions")


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"MATLAB 5.0 MAT-file" + bytes(2000)])
def test_not_hdf5(tmp_path: Path, content: bytes) -> None:
    (tmp_path / OFFICIAL_FILE).write_bytes(content)
    check_error(tmp_path, "no MATLAB 7.3 file")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_cut_short(own: Path, share: float) -> None:
    path = own / OFFICIAL_FILE
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    check_error(own, "damaged or cut short")


def test_damage_that_the_description_meets(own: Path) -> None:
    wreck(own, "labels", [1])
    check_error(own, "cannot be read")


@pytest.mark.parametrize("key", ["images", "labels", "instances", "rawDepths"])
def test_missing_key(tmp_path: Path, key: str) -> None:
    write_genuine(tmp_path, **{key: None})
    check_error(tmp_path, f"has no {key!r}", "it has:")


@pytest.mark.parametrize(
    ("key", "shape", "dtype"),
    [
        ("labels", (1449, 480, 640), "u2"),  # axes in Python's order
        ("images", (1449, 640, 480, 3), "u1"),
        ("images", (1449, 3, 640, 480), "u2"),
        ("images", (1449, 3, 640), "u1"),
        ("rawDepths", (1449, 640, 480), "u2"),
        ("instances", (1000, 640, 480), "u1"),
        ("labels", (1449, 640, 480), "f4"),
    ],
)
def test_wrong_shape_or_type(tmp_path: Path, key: str, shape: tuple[int, ...], dtype: str) -> None:
    write_genuine(tmp_path, **{key: (shape, dtype)})
    found = "uint16, not uint8" if (key, dtype) == ("images", "u2") else str(shape)
    check_error(tmp_path, repr(key), found)


def test_wrong_number_of_frames(tmp_path: Path) -> None:
    write_genuine(tmp_path, **{key: ((700, *shape[1:]), TYPES[key]) for key, shape in SHAPES.items()})
    check_error(tmp_path, "700 frames", "1449")


def test_keys_that_lead_elsewhere(tmp_path: Path) -> None:
    path = write_genuine(tmp_path, labels=None)
    other = write_genuine(tmp_path / "other")
    layout = h5py.VirtualLayout(SHAPES["labels"], "u2")
    layout[...] = h5py.VirtualSource(str(other), "labels", SHAPES["labels"])
    makers: list[tuple[str, Callable[[Any], Any]]] = [
        ("this file", lambda file: file.__setitem__("labels", h5py.ExternalLink(str(other), "/labels"))),
        ("this file", lambda file: file.__setitem__("labels", h5py.SoftLink("/instances"))),
        ("this file", lambda file: file.create_group("labels")),
        ("another file", lambda file: file.create_virtual_dataset("labels", layout)),
        ("another file", lambda file: file.create_dataset("labels", (9,), "u2", external=[(str(other), 0, 99)])),
    ]
    for said, make in makers:
        with h5py.File(path, "r+") as file:
            make(file)
        check_error(tmp_path, "'labels'", said)
        with h5py.File(path, "r+") as file:
            del file["labels"]


def test_label_beyond_894(tmp_path: Path) -> None:
    with h5py.File(write_genuine(tmp_path), "r+") as file:
        file["labels"][FRAME - 1, 7, 9] = 895
    data = NYUDOfficialDataset(tmp_path, "train")
    for task in ("semseg", "edges"):
        with pytest.raises(DataError, match=rf"{OFFICIAL_FILE}: frame {FRAME} has the label 895"):
            data.load(0, [task])


@pytest.mark.parametrize(
    "mark",
    [
        "no JSON",
        "[" * 60_000,
        "[]",
        "{}",
        '{"size": [48, 64]}',
        '{"size": [48, 64], "split": {"train": [1, 2], "test": [2, 3]}}',
        '{"size": [48, 64], "split": {"train": [0, 1], "test": [2]}}',
        '{"size": [48, Infinity], "split": {"train": [1], "test": [2]}}',
        '{"size": [48, 64], "split": {"train": [], "test": []}}',
        '{"size": [-48, -64], "split": {"train": [1], "test": [2]}}',
        '{"size": [480000, 640000], "split": {"train": [1], "test": [2]}}',
    ],
)
def test_marks_that_make_no_sense(own: Path, mark: str) -> None:
    with h5py.File(own / OFFICIAL_FILE, "r+") as file:
        file.attrs[REPLICA_ATTRIBUTE] = mark
    check_error(own, "the mark of a replica", mend="Write it anew")


def test_mark_of_other_frames(own: Path) -> None:
    with h5py.File(own / OFFICIAL_FILE, "r+") as file:
        file.attrs[REPLICA_ATTRIBUTE] = '{"size": [48, 64], "split": {"train": [1, 2], "test": [3]}}'
    check_error(own, "(8, 3, 3)", "expected (3, 3, 3)")


def test_a_replica_without_a_split(tmp_path: Path) -> None:
    write_official_replica(tmp_path / "r", train=0, test=2, size=SIZE)
    check_error(tmp_path / "r", "no train frames", mend="replica")
    assert len(NYUDOfficialDataset(tmp_path / "r", "test")) == 2


def test_frames_that_are_not_there(own: Path) -> None:
    file = OfficialFile(own)
    assert file.camera(1).shape == (3, 3)
    with pytest.raises(DataError, match=r"frame 9 \('labels'\)"):
        file.read("labels", 9)
