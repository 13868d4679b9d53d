"""The official file: decoding, versions, laziness and processes.

Files are replicas, or "genuine" ones: of the true shape, unmarked, with a few frames filled (HDF5 stores no others).
"""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from torch.utils.data import DataLoader

from mtdense.core.errors import DataError
from mtdense.data import JointTransform, PartialLabelDataset, collate, full_label_mask
from mtdense.data.nyud import facts
from mtdense.data.nyud.official import NYUDOfficialDataset
from mtdense.data.nyud.official_file import OFFICIAL_FILE
from mtdense.data.nyud.official_writer import write_official_replica
from mtdense.geometry import camera_matrix, crop_camera
from mtdense.tasks import build_tasks
from tests.data.nyud.official_files import FRAME, SIZE, wreck, write_genuine

TASKS = ["semseg", "edges", "depth"]


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """Folder of an unmarked file whose third frame is filled, and what was put there, channels last."""
    root = tmp_path_factory.mktemp("genuine")
    rng = np.random.default_rng(0)
    labels = np.repeat(np.repeat(rng.integers(0, 895, (48, 64)), 10, axis=0), 10, axis=1)
    labels[:20, :400] = np.arange(895).repeat(9)[:8000].reshape(20, 400)
    depth = rng.uniform(0.5, 9.0, (480, 640)).astype(np.float32)
    raw = depth.copy()
    raw[100:200, 100:300] = 0
    for i, value in enumerate((0.0, -0.0, -2.0, np.nan, np.inf, -np.inf)):
        depth[300, 300 + i] = value
    stored = {
        "images": rng.integers(0, 256, (480, 640, 3), dtype=np.uint8),
        "labels": labels.astype(np.uint16),
        "instances": rng.integers(0, 2, (24, 32)).repeat(20, axis=0).repeat(20, axis=1).astype(np.uint8),
        "depths": depth,
        "rawDepths": raw,
    }
    with h5py.File(write_genuine(root), "r+") as file:
        for key, array in stored.items():
            for place in np.ndindex(array.shape[2:]):  # written by h5py's own axes, channel by channel
                file[key][(FRAME - 1, *place)] = np.swapaxes(array[(..., *place)], 0, 1)
    return root, stored


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


# ---- decoding --------------------------------------------------------------------------------------------------------
def test_official_split_size_and_camera(genuine: tuple[Path, Any]) -> None:
    train, test = (NYUDOfficialDataset(genuine[0], split) for split in ("train", "test"))  # type: ignore[arg-type]
    assert (len(train), len(test)) == (795, 654)
    assert train.ids[:2] == ["nyu_0003", "nyu_0004"] and test.ids[:3] == ["nyu_0001", "nyu_0002", "nyu_0009"]
    assert not set(train.ids) & set(test.ids) and max([*train.ids, *test.ids]) == "nyu_1449"
    assert train.version.startswith("nyud_official-13-") and train.version == test.version
    raw = train.load(0, [])
    assert raw.image.shape == (480, 640, 3) and raw.labels == {}
    np.testing.assert_array_equal(raw.camera, camera_matrix(518.8579, 519.4696, 325.5824, 253.7362))


def test_images_keep_their_axes(genuine: tuple[Path, dict[str, np.ndarray]]) -> None:
    raw = NYUDOfficialDataset(genuine[0], "train").load(0, [])
    np.testing.assert_array_equal(raw.image, genuine[1]["images"])
    assert raw.image.flags.c_contiguous


@pytest.mark.parametrize("classes", [13, 40])
def test_labels_become_classes(genuine: tuple[Path, dict[str, np.ndarray]], classes: Any) -> None:
    root, stored = genuine
    semseg = NYUDOfficialDataset(root, "train", classes=classes).load(0, ["semseg"]).labels["semseg"]
    published = json.loads(Path(facts.__file__).with_name("classes.json").read_text())
    expected = {0: 255}
    for label, class_40 in enumerate(published["label_to_class_40"], start=1):
        expected[label] = (class_40 if classes == 40 else published["class_40_to_class_13"][class_40 - 1]) - 1
    assert set(np.unique(stored["labels"])) >= set(range(800))
    np.testing.assert_array_equal(semseg, np.vectorize(expected.__getitem__)(stored["labels"]))
    assert semseg.dtype == np.int64


def test_edges_are_borders_between_instances(genuine: tuple[Path, dict[str, np.ndarray]]) -> None:
    root, stored = genuine
    edges = NYUDOfficialDataset(root, "train").load(0, ["edges"]).labels["edges"]
    seen = set()
    for y, x in np.ndindex(60, 90):
        here = (stored["labels"][y, x], stored["instances"][y, x])
        beside = [(stored["labels"][p], stored["instances"][p]) for p in ((y, x + 1), (y + 1, x))]
        void = 0 in (here[0], *(other[0] for other in beside))
        expected = 255 if void else int(any(other != here for other in beside))
        assert edges[y, x] == expected
        seen.add(expected)
    assert seen == {0, 1, 255}
    # Instances of one label are told apart.
    same = (stored["labels"][:, :-1] == stored["labels"][:, 1:]) & (stored["labels"][:, :-1] > 0)
    parted = same & (stored["instances"][:, :-1] != stored["instances"][:, 1:])
    assert parted.sum() > 0 and (edges[:, :-1][parted] != 0).all()


def test_depth_keeps_metres_and_marks_what_is_missing(genuine: tuple[Path, dict[str, np.ndarray]]) -> None:
    root, stored = genuine
    depth = NYUDOfficialDataset(root, "train").load(0, ["depth"]).labels["depth"]
    assert (depth[300, 300:306] == -1).all() and (depth == -1).sum() == 6
    np.testing.assert_array_equal(depth[depth != -1], stored["depths"][depth != -1])
    raw = NYUDOfficialDataset(root, "train", depth_source="raw").load(0, ["depth"]).labels["depth"]
    assert (raw[100:200, 100:300] == -1).all() and (raw == -1).sum() == 20_000
    assert depth.dtype == raw.dtype == np.float32


def test_valid_crop_cuts_everything_alike(genuine: tuple[Path, Any]) -> None:
    full = NYUDOfficialDataset(genuine[0], "train").load(0, TASKS)
    data = NYUDOfficialDataset(genuine[0], "train", crop="valid")
    valid = data.load(0, TASKS)
    np.testing.assert_array_equal(valid.image, full.image[44:471, 40:601])
    for task in TASKS:
        np.testing.assert_array_equal(valid.labels[task], full.labels[task][44:471, 40:601])
    assert full.camera is not None
    np.testing.assert_array_equal(valid.camera, crop_camera(full.camera, 44, 40))


def test_labels_pass_the_tasks_own_check(genuine: tuple[Path, Any], replica: Path) -> None:
    for root in (genuine[0], replica):
        data = NYUDOfficialDataset(root, "train", derive_normals=True, normals_radius=1)
        tasks = build_tasks(data.task_specs())
        assert list(tasks) == ["semseg", "normals", "edges", "depth"]
        assert data.available(0) == frozenset(tasks) and data.derived == {"edges", "normals"}
        raw = data.load(0, tasks)
        for name, task in tasks.items():
            checked = task.check_label(raw.labels[name], name)
            assert checked.dtype == raw.labels[name].dtype
            np.testing.assert_allclose(checked, raw.labels[name], atol=1e-5)


def test_without_derive_normals_there_are_none(replica: Path) -> None:
    data = NYUDOfficialDataset(replica, "train")
    assert "normals" not in data.task_specs() and "normals" not in data.available(0) and data.derived == {"edges"}
    with pytest.raises(DataError, match="no normals labels"):
        data.load(0, ["normals"])


# ---- versions and subsets --------------------------------------------------------------------------------------------
def test_versions(replica: Path, tmp_path: Path) -> None:
    def version(root: Path = replica, **options: Any) -> str:
        return NYUDOfficialDataset(root, "train", **options).version

    assert version().startswith("replica-nyud_official-13-") and version() == version(normals_radius=3)
    assert version(derive_normals=True) == version()
    other = tmp_path / "other"
    write_official_replica(other, train=5, test=3, size=SIZE, seed=1)
    versions = [
        version(),
        version(other),
        version(classes=40),
        version(depth_source="raw"),
        version(crop="valid"),
        version(derive_normals=True, normals_radius=3),
    ]
    assert len(set(versions)) == len(versions)


# ---- laziness and processes ------------------------------------------------------------------------------------------


def test_only_what_is_asked_for_is_read(own: Path) -> None:
    data = NYUDOfficialDataset(own, "train")
    frames = data.file.splits["train"]
    expected = data.load(1, ["semseg"])
    for key in ("images", "labels"):
        wreck(own, key, [frames[2]])  # of whose labels the fingerprint reads nothing
    for key in ("depths", "rawDepths", "instances"):
        wreck(own, key, [frames[1]])
    again = NYUDOfficialDataset(own, "train")
    loaded = again.load(1, ["semseg"])
    np.testing.assert_array_equal(loaded.image, expected.image)
    np.testing.assert_array_equal(loaded.labels["semseg"], expected.labels["semseg"])
    with pytest.raises(DataError, match=rf"{OFFICIAL_FILE}: frame {frames[1]} \('depths'\) cannot be read"):
        again.load(1, ["depth"])
    with pytest.raises(DataError, match=rf"frame {frames[1]} \('instances'\)"):
        again.load(1, ["edges"])
    with pytest.raises(DataError, match=rf"frame {frames[2]} \('images'\)"):
        again.load(2, [])


def test_the_file_is_open_only_where_frames_are_read(replica: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = h5py.File

    def counting(*args: Any, **kwargs: Any) -> Any:
        opened.append(real(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(h5py, "File", counting)
    data = NYUDOfficialDataset(replica, "train")
    assert len(opened) == 1 and not opened[0], "the file stays open after its description was read"
    for index in (0, 1, 2):
        data.load(index, TASKS)
    assert len(opened) == 2 and opened[1]
    copied = pickle.loads(pickle.dumps(data))
    assert len(opened) == 2, "a pickle carries no handle and opens none"
    np.testing.assert_array_equal(copied.load(0, TASKS).labels["depth"], data.load(0, TASKS).labels["depth"])
    assert len(opened) == 3


def loaded_by(data: NYUDOfficialDataset, workers: int, context: str | None) -> list[Any]:
    tasks = build_tasks(data.task_specs())
    mask = full_label_mask(data, list(tasks))
    samples = PartialLabelDataset(data, tasks, mask, JointTransform(tasks, SIZE, train=False), seed=0)
    loader = DataLoader(samples, 2, num_workers=workers, collate_fn=collate, multiprocessing_context=context)
    return list(loader)


@pytest.mark.parametrize(
    ("context", "workers"),
    [("fork", 2), pytest.param("spawn", 2, marks=pytest.mark.slow)],  # spawned ones import torch
)
def test_workers_read_what_we_read(replica: Path, context: str, workers: int) -> None:
    data = NYUDOfficialDataset(replica, "train", derive_normals=True, normals_radius=2)
    alone = loaded_by(data, 0, None)  # leaves our own handle open, which forked workers inherit
    assert data.file._handle is not None
    together = loaded_by(data, workers, context)
    assert [batch["id"] for batch in together] == [batch["id"] for batch in alone] and len(alone) == 3
    for one, other in zip(alone, together, strict=True):
        assert (one["image"] == other["image"]).all()
        for task, target in one["targets"].items():
            assert (target == other["targets"][task]).all()
    np.testing.assert_array_equal(data.load(4, ["depth"]).labels["depth"], alone[2]["targets"]["depth"][0].numpy())
