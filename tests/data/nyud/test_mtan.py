"""NYUD-v2 as MTAN pre-processed it: replicas, hand-made files, and damaged ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from mtdense.core.errors import ConfigError, DataError
from mtdense.data import DenseDataset
from mtdense.data.nyud.mtan import NYUDMtanDataset, mtan_specs
from mtdense.data.nyud.mtan_writer import write_mtan_replica
from mtdense.data.procedural import NYUD13_CLASSES, ProceduralScenes
from mtdense.data.published import replica_mark
from mtdense.tasks import build_tasks

SIZE = (24, 32)
TASKS = ["semseg", "depth", "normals"]


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mtan_replica(tmp_path_factory.mktemp("mtan"), train=3, test=2, seed=5, size=SIZE)


@pytest.fixture
def root(replica: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(replica, tmp_path / "copy"))


@pytest.mark.parametrize(("split", "remainder"), [("train", 0), ("test", 2)])
def test_a_replica_gives_the_scenes_back(replica: Path, split: str, remainder: int) -> None:
    data = NYUDMtanDataset(replica, split)
    scenes = ProceduralScenes(SIZE, seed=5)
    assert len(data) == {"train": 3, "test": 2}[split]
    for i in range(len(data)):
        scene, raw = scenes.render(3 * i + remainder), data.load(i, TASKS)
        np.testing.assert_array_equal(raw.image, scene.image)
        np.testing.assert_array_equal(raw.labels["semseg"], scene.semseg)
        np.testing.assert_array_equal(raw.labels["depth"], scene.depth)
        np.testing.assert_allclose(raw.labels["normals"], scene.normals, atol=2e-7)
        assert raw.camera is None


def test_what_a_data_set_says(replica: Path) -> None:
    train, test = NYUDMtanDataset(replica, "train"), NYUDMtanDataset(replica, "test")
    assert isinstance(train, DenseDataset)
    assert train.ids == ["train-0", "train-1", "train-2"] and test.ids == ["val-0", "val-1"]
    assert train.version == test.version and train.version.startswith("replica-nyud_mtan-")
    assert train.available(0) == frozenset(TASKS) and train.derived == frozenset()
    assert train.task_specs() == mtan_specs()
    assert tuple(build_tasks(mtan_specs())["semseg"].spec["class_names"]) == NYUD13_CLASSES


def test_files_have_the_published_form(replica: Path) -> None:
    for split, number in (("train", 3), ("val", 2)):
        forms = {"image": ((3,), "f8"), "label": ((), "f4"), "depth": ((1,), "f4"), "normal": ((3,), "f8")}
        for kind, (last, dtype) in forms.items():
            files = sorted((replica / split / kind).iterdir())
            assert [path.name for path in files] == [f"{i}.npy" for i in range(number)]
            array = np.load(files[0])
            assert (array.shape, array.dtype) == ((*SIZE, *last), np.dtype(dtype))
    normal = np.load(replica / "train" / "normal" / "0.npy")
    assert (normal[..., 1] < 0.2).all()  # the second channel points forward: no visible surface does
    assert np.load(replica / "train" / "image" / "0.npy").max() <= 1


def test_a_replica_can_be_written_again(replica: Path, root: Path) -> None:
    first = (root / "train" / "depth" / "1.npy").read_bytes()
    (root / "train" / "depth" / "1.npy").unlink()
    write_mtan_replica(root, train=3, test=2, seed=5, size=SIZE)
    assert (root / "train" / "depth" / "1.npy").read_bytes() == first
    assert NYUDMtanDataset(root, "train").version == NYUDMtanDataset(replica, "train").version
    with pytest.raises(DataError, match="a replica of other scenes"):
        write_mtan_replica(root, train=4, test=2, seed=5, size=SIZE)
    mark = replica_mark(root)
    assert mark is not None and mark["scenes"] == {"train": 3, "test": 2}


def test_void_and_missing_values(root: Path) -> None:
    folder = root / "train"
    label = np.full(SIZE, 12, np.int64)
    label[0] = -1
    depth = np.full((*SIZE, 1), 2.5)
    depth[1] = 0
    normal = np.zeros((*SIZE, 3))
    normal[..., 1], normal[2] = -1, 0
    for kind, array in (("label", label), ("depth", depth), ("normal", normal)):
        np.save(folder / kind / "0.npy", array)
    labels = NYUDMtanDataset(root, "train").load(0, TASKS).labels
    assert (labels["semseg"][0] == 255).all() and (labels["semseg"][1:] == 12).all()
    assert (labels["depth"][1] == -1).all() and (labels["depth"][2:] == 2.5).all()
    assert not labels["normals"][2].any()
    np.testing.assert_array_equal(labels["normals"][3, 3], (0, 0, -1))


def test_axes_of_the_normals_are_an_option(replica: Path) -> None:
    stored = np.load(replica / "train" / "normal" / "0.npy")
    swapped = NYUDMtanDataset(replica, "train", normals_axes="+x+y+z").load(0, ["normals"]).labels["normals"]
    np.testing.assert_allclose(swapped, stored, atol=1e-6)
    with pytest.raises(DataError, match="point away from the camera"):
        NYUDMtanDataset(replica, "train", normals_axes="+x-z-y").load(0, ["normals"])
    with pytest.raises(ConfigError, match="no choice of axes"):
        NYUDMtanDataset(replica, "train", normals_axes="xyz")


def test_only_tasks_asked_for_need_files(root: Path) -> None:
    shutil.rmtree(root / "train" / "normal")
    data = NYUDMtanDataset(root, "train", tasks=["semseg", "depth"])
    assert data.available(0) == {"semseg", "depth"} and set(data.task_specs()) == {"semseg", "depth"}
    assert not data.eligible(0, "normals")
    with pytest.raises(DataError, match="has no normals labels"):
        data.load(0, ["normals"])
    with pytest.raises(DataError, match=r"no such folder: .*normal"):
        NYUDMtanDataset(root, "train")


def test_labels_not_asked_for_are_not_read(root: Path) -> None:
    (root / "train" / "depth" / "0.npy").write_bytes(b"")
    assert set(NYUDMtanDataset(root, "train").load(0, ["semseg"]).labels) == {"semseg"}


def test_missing_files(root: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder: .*nowhere(.|\n)*lorenmt/mtan"):
        NYUDMtanDataset(root / "nowhere", "train")
    with pytest.raises(DataError, match=r"Set `data.root` to .*copy\."):
        NYUDMtanDataset(root.parent, "train")
    (root / "val" / "depth" / "1.npy").unlink()
    with pytest.raises(DataError, match=r"holds 2 files, but .*depth 1"):
        NYUDMtanDataset(root, "test")
    (root / "train" / "image" / "1.npy").unlink()
    with pytest.raises(DataError, match=r"image has a gap: there is no 1\.npy but 2\.npy"):
        NYUDMtanDataset(root, "train")
    shutil.rmtree(root / "train" / "image")
    (root / "train" / "image").mkdir()
    with pytest.raises(DataError, match=r"image holds no \.npy file"):
        NYUDMtanDataset(root, "train")


@pytest.mark.parametrize("name", ["a.npy", "01.npy", "-1.npy", "٣.npy"])
def test_names_are_numbers(root: Path, name: str) -> None:
    shutil.copy(root / "train" / "image" / "0.npy", root / "train" / "image" / name)
    with pytest.raises(DataError, match="has no number for a name"):
        NYUDMtanDataset(root, "train")


def test_files_of_the_system_are_passed_over(root: Path) -> None:
    version = NYUDMtanDataset(root, "train").version
    for name in ("._0.npy", ".DS_Store", "readme.txt"):
        (root / "train" / "image" / name).touch()
    assert NYUDMtanDataset(root, "train").version == version


def test_the_version_is_of_both_splits(root: Path) -> None:
    version = NYUDMtanDataset(root, "train").version
    (root / "val" / "normal" / "1.npy").unlink()
    assert NYUDMtanDataset(root, "train").version != version


def damage(path: Path, array: object) -> None:
    np.save(path, np.asarray(array))


@pytest.mark.parametrize(
    ("kind", "task", "array", "message"),
    [
        ("image", "semseg", np.full((*SIZE, 3), 1.5), "outside \\[0, 1\\]"),
        ("image", "semseg", np.zeros((8, 8, 3)), "has 8x8 pixels, its label .*label.0.npy 24x32"),
        ("label", "semseg", np.full(SIZE, 13.0), "13"),
        ("label", "semseg", np.full(SIZE, -2), "-2"),
        ("label", "semseg", np.full(SIZE, 1.5), "1.5"),
        ("label", "semseg", np.zeros((12, 16)), "12x16"),
        ("depth", "depth", np.full((*SIZE, 1), -3.0), "-3"),
        ("depth", "depth", np.ones((*SIZE, 1), np.uint16), "whole numbers"),
        ("normal", "normals", np.full((*SIZE, 3), 0.9), "no unit vectors"),
        ("normal", "normals", np.zeros(SIZE), "Store three channels"),
        ("normal", "normals", np.array(["x"], dtype=object), "normal.0.npy"),
    ],
)
def test_damaged_contents_are_named(root: Path, kind: str, task: str, array: np.ndarray, message: str) -> None:
    damage(root / "train" / kind / "0.npy", array)
    with pytest.raises(DataError, match=message) as caught:
        NYUDMtanDataset(root, "train").load(0, [task])
    assert "0.npy" in str(caught.value) and "Mend:" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 20, 200])
def test_truncated_files_are_named(root: Path, keep: int) -> None:
    path = root / "train" / "depth" / "2.npy"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"depth/2\.npy"):
        NYUDMtanDataset(root, "train").load(2, ["depth"])


def test_options_are_checked(replica: Path) -> None:
    with pytest.raises(ConfigError, match="unknown split 'val'"):
        NYUDMtanDataset(replica, "val")
    with pytest.raises(ConfigError, match="unknown task 'edges'"):
        NYUDMtanDataset(replica, "train", tasks=["edges"])
