"""A folder of people's own pictures, from files to labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtdense.core.errors import ConfigError, DataError
from mtdense.data import FolderDataset, FolderIndex, LabelCoding, io
from mtdense.geometry import camera_matrix

SIZE = (12, 16)
SPECS: dict[str, dict[str, Any]] = {
    "semseg": {"num_classes": 5},
    "depth": {},
    "normals": {},
    "edges": {},
    "human_parts": {},
}
CODING = LabelCoding(depth_scale=1000, normals_axes="+x+z-y")
CAMERA = camera_matrix(14, 14, 7.5, 5.5)


def rng(stem: str) -> np.random.Generator:
    return np.random.default_rng(sum(map(ord, stem)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three towns with classes, two rooms with depth (one with normals); no image has all labels."""
    for stem in ("town/0", "town/1", "town/2"):
        io.write_image(tmp_path / "images" / f"{stem}.jpg", rng(stem).integers(0, 256, (*SIZE, 3), dtype=np.uint8))
        io.write_map(tmp_path / "semseg" / f"{stem}.png", rng(stem).integers(0, 5, SIZE, dtype=np.uint8))
    for stem in ("room0", "room1"):
        io.write_image(tmp_path / "images" / f"{stem}.png", rng(stem).integers(0, 256, (*SIZE, 3), dtype=np.uint8))
        io.write_map(tmp_path / "depth" / f"{stem}.png", np.full(SIZE, 2500, np.uint16))
    io.write_array(tmp_path / "normals" / "room0.npy", np.tile(np.array([0.6, -0.8, 0], np.float32), (*SIZE, 1)))
    return tmp_path


def make(root: Path, tasks: tuple[str, ...] = ("semseg", "depth", "normals"), **options: Any) -> FolderDataset:
    index = FolderIndex(root, tasks, derive=options.pop("derive", ()), folders=options.pop("folders", None))
    specs = {task: SPECS[task] for task in options.pop("specs", tasks)}
    return FolderDataset(index, index.stems, specs, options.pop("coding", CODING), **options)


def test_what_is_there(root: Path) -> None:
    data = make(root)
    assert data.ids == ["room0", "room1", "town__0", "town__1", "town__2"]
    assert [sorted(data.available(i)) for i in (0, 1, 2)] == [["depth", "normals"], ["depth"], ["semseg"]]
    assert data.derived == frozenset()


def test_labels_are_decoded(root: Path) -> None:
    data = make(root)
    room = data.load(0, ["depth", "normals"])
    assert room.id == "room0" and room.image.shape == (*SIZE, 3) and room.image.dtype == np.uint8
    assert (room.labels["depth"] == 2.5).all()
    np.testing.assert_allclose(room.labels["normals"][3, 4], [0.6, 0, -0.8], atol=1e-6)
    town = data.load(2, ["semseg"])
    np.testing.assert_array_equal(town.labels["semseg"], rng("town/0").integers(0, 5, SIZE, dtype=np.uint8))
    assert set(data.load(0, ["depth"]).labels) == {"depth"}
    assert data.load(0, []).labels == {}


def test_a_label_that_is_not_asked_for_is_not_opened(root: Path) -> None:
    (root / "normals" / "room0.npy").write_bytes(b"broken")
    data = make(root)
    data.load(0, ["depth"])
    with pytest.raises(DataError, match=r"normals/room0\.npy"):
        data.load(0, ["normals"])


def test_other_folder_names(root: Path) -> None:
    (root / "semseg").rename(root / "classes")
    data = make(root, folders={"semseg": "classes"})
    assert data.available(2) == {"semseg"}


def test_derived_labels_fill_gaps_and_never_replace(root: Path) -> None:
    derive = ("edges_from_semseg", "normals_from_depth")
    data = make(root, ("semseg", "depth", "normals", "edges"), derive=derive, camera=CAMERA)
    assert data.derived == {"normals", "edges"}
    assert data.available(1) == {"depth", "normals"} and data.available(2) == {"semseg", "edges"}
    stored, derived = (data.load(i, ["normals"]).labels["normals"] for i in (0, 1))
    np.testing.assert_allclose(stored[5, 5], [0.6, 0, -0.8], atol=1e-6)
    np.testing.assert_allclose(derived[5, 5], [0, 0, -1], atol=1e-6)
    edges = data.load(2, ["edges"]).labels
    assert set(edges) == {"edges"}  # the source is not handed out: it was not asked for
    assert set(np.unique(edges["edges"])) <= {0, 1}


def test_derivations_need_their_source(root: Path) -> None:
    with pytest.raises(ConfigError, match="camera"):
        make(root, derive=("normals_from_depth",))
    with pytest.raises(ConfigError, match="semseg"):
        make(root, ("edges",), derive=("edges_from_semseg",))
    only_edges = make(root, ("edges",), derive=("edges_from_semseg",), specs=("edges", "semseg"))
    assert only_edges.available(2) >= {"edges"}


def test_person_decides_on_eligibility(root: Path) -> None:
    for number, stem in enumerate(("town/0", "town/1")):
        io.write_map(root / "human_parts" / f"{stem}.png", np.full(SIZE, 3 * number, np.uint8))
    data = make(root, ("human_parts",))
    assert [data.eligible(i, "human_parts") for i in range(5)] == [False, False, False, True, False]
    assert data.available(2) == {"human_parts"}


def test_version_is_a_fingerprint_of_the_files(root: Path) -> None:
    version = make(root).version
    assert version == make(root, ("semseg",)).version  # tasks asked for do not matter
    io.write_map(root / "semseg" / "room0.png", np.zeros(SIZE, np.uint8))
    assert make(root).version != version


# ---- faults ----------------------------------------------------------------------------------------------------------
def test_missing_root_images_and_task(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        FolderIndex(tmp_path / "nowhere", ["semseg"])
    with pytest.raises(DataError, match="photos"):
        FolderIndex(root, ["semseg"], images="photos")
    with pytest.raises(DataError, match="saliency"):
        FolderIndex(root, ["saliency"])
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        FolderIndex(root, ["semseg"], images="empty")


def test_labels_that_belong_to_no_image(root: Path) -> None:
    io.write_map(root / "saliency" / "town_0_mask.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(DataError, match=r"saliency belongs to an image.*town_0_mask"):
        FolderIndex(root, ["saliency"])


def test_ids_must_differ(root: Path) -> None:
    io.write_image(root / "images" / "town__0.png", np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(DataError, match="same id"):
        FolderIndex(root, ["semseg"])


def test_two_sizes_name_both_files(root: Path) -> None:
    io.write_map(root / "semseg" / "town" / "0.png", np.zeros((6, 8), np.uint8))
    with pytest.raises(DataError, match=r"town/0\.jpg has 12x16 pixels, its label .*semseg/town/0\.png 6x8"):
        make(root).load(2, ["semseg"])
    label = np.arange(48).reshape(6, 8) % 5
    io.write_map(root / "semseg" / "town" / "0.png", label.astype(np.uint8))
    resized = make(root, resize_labels="nearest").load(2, ["semseg"]).labels["semseg"]
    np.testing.assert_array_equal(resized, label.repeat(2, 0).repeat(2, 1))


def test_class_77_names_file_value_and_mend(root: Path) -> None:
    label = np.zeros(SIZE, np.uint8)
    label[0, 0] = 77
    io.write_map(root / "semseg" / "town" / "1.png", label)
    with pytest.raises(DataError, match=r"town/1\.png: label 77 .*5-class") as caught:
        make(root).load(3, ["semseg"])
    assert caught.value.mend


def test_truncated_png(root: Path) -> None:
    path = root / "depth" / "room1.png"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"depth/room1\.png cannot be decoded"):
        make(root).load(1, ["depth"])


def test_file_deleted_after_listing(root: Path) -> None:
    data = make(root)
    (root / "images" / "room1.png").unlink()
    with pytest.raises(DataError, match=r"no such file: .*room1\.png"):
        data.load(1, [])
