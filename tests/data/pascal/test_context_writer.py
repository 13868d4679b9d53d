"""Replicas of PASCAL_MT: files as the archive has them, and equal whenever they are written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from mtdense.core.errors import DataError
from mtdense.data import read_label_mask
from mtdense.data.pascal.context_writer import write_pascal_context_replica
from mtdense.data.pascal.facts import PASCAL_TASKS
from mtdense.data.published import replica_mark

SIZE = (48, 64)
IDS = [f"2008_{3 * i:06d}" for i in range(6)]


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pascal_context_replica(tmp_path_factory.mktemp("pascal") / "r", 6, 2, seed=3, size=SIZE)


def test_files(replica: Path) -> None:
    every = sorted([*IDS, "2008_000002", "2008_000005"])
    folders = {"JPEGImages": ".jpg", "semseg/pascal-context": ".png", "human_parts": ".mat", "sal_distill": ".png"}
    folders |= {"normals_distill": ".png", "pascal-context/trainval": ".mat"}
    for folder, suffix in folders.items():
        assert sorted(path.name for path in (replica / folder).iterdir()) == [image_id + suffix for image_id in every]
    voc = sorted((replica / "semseg" / "VOC12").iterdir())
    assert [path.stem for path in voc] == [image_id for image_id in every if int(image_id[5:]) % 2 == 0]
    assert Image.open(voc[0]).mode == "P"
    lists = replica / "ImageSets" / "Context"
    assert (lists / "train.txt").read_text().split() == IDS
    assert (lists / "val.txt").read_text() == "2008_000002\n2008_000005\n"
    assert (lists / "test_new.txt").read_text() == "2008_000002\n"


def test_structs_have_the_order_that_public_readers_index_by(replica: Path) -> None:
    """As they do: `m['anno'][0][0][1][0]` are objects, of which [1] is the class, [2] the mask and [3] the parts."""
    noted = json.loads((replica / "ImageSets" / "Parts" / "train.txt").read_text())
    kinds, names = set(), set()
    for image_id in IDS:
        stored = scipy.io.loadmat(replica / "human_parts" / f"{image_id}.mat")["anno"]
        assert stored.dtype.names == ("imname", "objects") and stored[0][0][0][0] == image_id
        objects = stored[0][0][1][0]
        assert stored[0][0][1].dtype.names == ("class", "class_ind", "mask", "parts")
        assert [int(item[1].item()) for item in objects] == noted[image_id]
        for item in objects:
            kinds.add((str(item[0][0]), int(item[1].item())))
            assert item[2].shape == SIZE and item[2].any()
            if item[1].item() != 15:
                assert len(item[3]) == 0
                continue
            for part in item[3][0]:
                names.add(str(part[0][0]))
                assert part[1].dtype == np.uint8 and not (part[1] & ~item[2]).any()
    assert ("person", 15) in kinds and len(kinds) > 2
    assert {"head", "torso"} <= names and any(name.startswith("l") for name in names)


def test_label_map_and_pictures(replica: Path) -> None:
    classes = scipy.io.loadmat(replica / "pascal-context" / "trainval" / f"{IDS[3]}.mat")["LabelMap"]
    assert classes.dtype == np.uint16 and 284 in classes and classes.shape == SIZE
    assert set(np.unique(np.array(Image.open(replica / "sal_distill" / f"{IDS[3]}.png")))) == {0, 255}
    normals = np.array(Image.open(replica / "normals_distill" / f"{IDS[3]}.png")).astype(np.float64) * 2 / 255 - 1
    assert np.abs(np.linalg.norm(normals, axis=-1) - 1).max() < 0.01
    assert np.median(normals[..., 2]) > 0.2 and normals[..., 2].max() > 0.9  # towards the camera
    floor = normals[classes == 158]
    assert floor.size and np.median(floor[:, 1]) > 0.5  # up


def test_masks_in_the_published_format(replica: Path) -> None:
    for name, labels in (("onelabel.npy", [1]), ("randomlabels.npy", [1, 2, 3, 4])):
        stored = np.load(replica / "pascal_settings" / name, allow_pickle=True)
        lists = stored.item()
        assert stored.shape == () and list(lists) == ["human_parts", "edge", "semseg", "normals", "sal"]
        assert all(isinstance(image_id, np.str_) for listed in lists.values() for image_id in listed)
        assert set(lists["human_parts"]) <= {IDS[3], IDS[5]}
        tasks = [task for task in PASCAL_TASKS if task != "human_parts" or lists["human_parts"]]
        mask = read_label_mask(replica / "pascal_settings" / name, IDS, tasks, columns=PASCAL_TASKS)
        assert set(mask.labelled.sum(axis=1)) <= set(labels)
        assert mask.counts()["edges"] == len(lists["edge"])


def test_a_replica_is_the_same_whenever_it_is_written(replica: Path, tmp_path: Path) -> None:
    again = write_pascal_context_replica(tmp_path / "new", 6, 2, seed=3, size=SIZE)
    files = [path.relative_to(again) for path in sorted(again.rglob("*")) if path.is_file()]
    assert len(files) == 8 * 6 + 4 + 3 + 2 + 2 + 1
    for file in files:
        assert (again / file).read_bytes() == (replica / file).read_bytes(), file
    mark = replica_mark(again)
    assert mark is not None and mark["layout"] == "pascal_context"
    with pytest.raises(DataError, match="a replica of other scenes"):
        write_pascal_context_replica(again, 5, 2, seed=3, size=SIZE)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(DataError, match="is not empty and holds no replica"):
        write_pascal_context_replica(tmp_path / "mine", 1, 1, size=SIZE)


def test_without_people_or_training_images(tmp_path: Path) -> None:
    root = write_pascal_context_replica(tmp_path / "new", 0, 1, size=SIZE)
    assert (root / "ImageSets" / "Context" / "train.txt").read_text() == ""
    assert np.load(root / "pascal_settings" / "onelabel.npy", allow_pickle=True).item()["semseg"] == []
