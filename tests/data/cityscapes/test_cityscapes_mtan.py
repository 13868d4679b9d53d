"""Cityscapes as MTAN pre-processed it: replicas, hand-made files, and damaged ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mtdense.core.errors import ConfigError, DataError
from mtdense.data import DenseDataset
from mtdense.data.cityscapes.facts import category_of_class, class_of_label
from mtdense.data.cityscapes.mtan import PUBLISHED, CityscapesMtanDataset, cityscapes_mtan_specs
from mtdense.data.cityscapes.mtan_writer import LARGEST, MASK_FILE, write_cityscapes_mtan_replica
from mtdense.data.cityscapes.street import as_street
from mtdense.data.mask_files import read_label_mask
from mtdense.data.procedural import ProceduralScenes

SIZE = (32, 64)
TASKS = ["semseg", "depth"]


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cityscapes_mtan_replica(tmp_path_factory.mktemp("mtan"), train=3, test=2, seed=5, size=SIZE)


@pytest.fixture
def root(replica: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(replica, tmp_path / "copy"))


@pytest.mark.parametrize("num_classes", [7, 19])
@pytest.mark.parametrize(("split", "remainder"), [("train", 0), ("test", 2)])
def test_a_replica_gives_the_scenes_back(replica: Path, split: str, remainder: int, num_classes: int) -> None:
    """Classes exactly; disparity within half a step of 1 / 256 pixel and its offset of one step."""
    data = CityscapesMtanDataset(replica, split, num_classes=num_classes)
    scenes = ProceduralScenes(SIZE, seed=5)
    assert len(data) == {"train": 3, "test": 2}[split]
    for i in range(len(data)):
        scene, raw = scenes.render(3 * i + remainder), data.load(i, TASKS)
        street = as_street(scene)
        classes = class_of_label()[street.label_ids]
        np.testing.assert_array_equal(raw.image, scene.image)
        expected = classes if num_classes == 19 else category_of_class()[classes]
        np.testing.assert_array_equal(raw.labels["semseg"], expected)
        stored = (raw.labels["depth"] * LARGEST - 1) / 256
        np.testing.assert_allclose(stored, street.disparity, atol=1 / 512 + 1e-4)
        assert raw.camera is None


def test_what_a_data_set_says(replica: Path) -> None:
    train, test = CityscapesMtanDataset(replica, "train"), CityscapesMtanDataset(replica, "test")
    assert isinstance(train, DenseDataset)
    assert train.ids == ["train-0", "train-1", "train-2"] and test.ids == ["val-0", "val-1"]
    assert train.version == test.version and train.version.startswith("replica-cityscapes_mtan-7-")
    assert train.version != CityscapesMtanDataset(replica, "train", num_classes=19).version
    assert train.available(0) == frozenset(TASKS) and train.task_specs() == cityscapes_mtan_specs()
    assert cityscapes_mtan_specs()["depth"]["unit"] == "normalised_disparity"
    assert PUBLISHED.counts == {"train": 2975, "test": 500}


def test_files_have_the_published_form(replica: Path) -> None:
    forms = {"image": (3,), "label_7": (), "label_19": (), "depth": (1,)}
    for split, number in (("train", 3), ("val", 2)):
        for kind, last in forms.items():
            files = sorted((replica / split / kind).iterdir())
            assert [path.name for path in files] == [f"{i}.npy" for i in range(number)]
            array = np.load(files[0])
            assert array.shape == (*SIZE, *last) and array.dtype.kind == "f"
    assert 0 < np.load(replica / "train" / "depth" / "0.npy").max() < 1


def test_the_mask_is_that_of_the_published_form(replica: Path) -> None:
    stored = torch.load(replica / MASK_FILE, weights_only=True)["labels_weights"]
    assert stored.shape == (3, 2) and stored.dtype == torch.float32 and stored.sum(dim=1).tolist() == [1, 1, 1]
    ids = CityscapesMtanDataset(replica, "train").ids
    mask = read_label_mask(replica / MASK_FILE, ids, TASKS, columns=TASKS)
    np.testing.assert_array_equal(mask.labelled, stored.numpy() > 0)


def test_a_replica_can_be_written_again(replica: Path, root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "train" / "depth")
    write_cityscapes_mtan_replica(root, train=3, test=2, seed=5, size=SIZE)
    for path in replica.rglob("*.*"):
        assert (root / path.relative_to(replica)).read_bytes() == path.read_bytes(), path
    with pytest.raises(DataError, match="a replica of other scenes"):
        write_cityscapes_mtan_replica(root, train=3, test=2, seed=6, size=SIZE)
    lone = write_cityscapes_mtan_replica(tmp_path / "lone", train=1, test=1, size=SIZE)
    assert not (lone / MASK_FILE).exists() and len(CityscapesMtanDataset(lone, "train")) == 1


def test_libmtl_calls_the_folder_label(root: Path) -> None:
    expected = CityscapesMtanDataset(root, "train").load(0, ["semseg"]).labels["semseg"]
    for split in ("train", "val"):
        (root / split / "label_7").rename(root / split / "label")
    data = CityscapesMtanDataset(root, "train")
    np.testing.assert_array_equal(data.load(0, ["semseg"]).labels["semseg"], expected)


def test_void_and_missing_values(root: Path) -> None:
    label = np.full(SIZE, 6, np.int64)
    label[0] = -1
    depth = np.full((*SIZE, 1), 0.25)
    depth[1] = 0
    for kind, array in (("label_7", label), ("depth", depth)):
        np.save(root / "train" / kind / "0.npy", array)
    labels = CityscapesMtanDataset(root, "train").load(0, TASKS).labels
    assert (labels["semseg"][0] == 255).all() and (labels["semseg"][1:] == 6).all()
    assert (labels["depth"][1] == -1).all() and (labels["depth"][2:] == 0.25).all()


def test_only_tasks_asked_for_need_files(root: Path) -> None:
    shutil.rmtree(root / "train" / "label_7")
    data = CityscapesMtanDataset(root, "train", tasks=["depth"])
    assert data.available(0) == {"depth"} == set(data.task_specs())
    with pytest.raises(DataError, match="has no semseg labels"):
        data.load(0, ["semseg"])
    with pytest.raises(DataError, match=r"no such folder: .*label_7(.|\n)*lorenmt/mtan"):
        CityscapesMtanDataset(root, "train")
    (root / "train" / "depth" / "0.npy").write_bytes(b"")
    assert set(CityscapesMtanDataset(root, "train", num_classes=19).load(0, ["semseg"]).labels) == {"semseg"}


def test_missing_files(root: Path) -> None:
    with pytest.raises(DataError, match=r"Set `data.root` to .*copy\."):
        CityscapesMtanDataset(root.parent, "train")
    (root / "val" / "depth" / "1.npy").unlink()
    with pytest.raises(DataError, match=r"holds 2 files, but .*depth 1"):
        CityscapesMtanDataset(root, "test")
    (root / "train" / "image" / "1.npy").unlink()
    with pytest.raises(DataError, match=r"image has a gap: there is no 1\.npy but 2\.npy"):
        CityscapesMtanDataset(root, "train")
    (root / "train" / "image" / "01.npy").touch()
    with pytest.raises(DataError, match="has no number for a name"):
        CityscapesMtanDataset(root, "train")
    shutil.rmtree(root / "train" / "image")
    (root / "train" / "image").mkdir()
    with pytest.raises(DataError, match=r"image holds no \.npy file"):
        CityscapesMtanDataset(root, "train")


@pytest.mark.parametrize(
    ("kind", "task", "array", "message"),
    [
        ("image", "semseg", np.full((*SIZE, 3), 1.5), "outside \\[0, 1\\]"),
        ("image", "semseg", np.zeros((8, 8, 3)), "has 8x8 pixels, its label .*label_7.0.npy 32x64"),
        ("label_7", "semseg", np.full(SIZE, 7.0), "label 7 "),
        ("label_7", "semseg", np.full(SIZE, -2), "-2"),
        ("label_7", "semseg", np.full(SIZE, 0.5), "0.5"),
        ("depth", "depth", np.full((*SIZE, 1), -3.0), "-3"),
        ("depth", "depth", np.full((*SIZE, 1), 35.5), "normalised disparity reaches 35.5"),
        ("depth", "depth", np.ones((*SIZE, 1), np.uint16), "whole numbers"),
        ("depth", "depth", np.linspace(0, 1, 3 * SIZE[0] * SIZE[1]).reshape(*SIZE, 3), "one channel"),
        ("depth", "depth", np.array(["x"], dtype=object), "depth.0.npy"),
    ],
)
def test_damaged_contents_are_named(root: Path, kind: str, task: str, array: np.ndarray, message: str) -> None:
    np.save(root / "train" / kind / "0.npy", array)
    with pytest.raises(DataError, match=message) as caught:
        CityscapesMtanDataset(root, "train").load(0, [task])
    assert "0.npy" in str(caught.value) and "Mend:" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 20, 200])
def test_truncated_files_are_named(root: Path, keep: int) -> None:
    path = root / "train" / "depth" / "2.npy"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"depth/2\.npy"):
        CityscapesMtanDataset(root, "train").load(2, ["depth"])


def test_options_are_checked(replica: Path) -> None:
    with pytest.raises(ConfigError, match="unknown split 'val'"):
        CityscapesMtanDataset(replica, "val")
    with pytest.raises(ConfigError, match="unknown task 'normals'"):
        CityscapesMtanDataset(replica, "train", tasks=["normals"])
    with pytest.raises(ConfigError, match="num_classes is 2"):
        CityscapesMtanDataset(replica, "train", num_classes=2)
