"""The replica of the official file: what the renderer drew comes back, and the layout is the published one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.nyud import facts
from mtdense.data.nyud.official import NYUDOfficialDataset
from mtdense.data.nyud.official_file import OFFICIAL_FILE
from mtdense.data.nyud.official_writer import REPRESENTATIVES, SPLIT_FILE, write_official_replica
from mtdense.data.procedural import ProceduralScenes, Scene
from mtdense.data.procedural_dataset import ProceduralDataset

SIZE = (48, 64)
COUNTS = {"train": 6, "test": 4}
SEED = 7


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_official_replica(tmp_path_factory.mktemp("replica") / "a", **COUNTS, seed=SEED, size=SIZE).parent


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    """Scenes of each split, in its order."""
    world = ProceduralScenes(size=SIZE, seed=SEED)
    return {
        split: [world.render(ProceduralDataset(SIZE, split, n).scene_index(k)) for k in range(n)]
        for split, n in COUNTS.items()
    }


def texts(file: h5py.File, key: str) -> Iterator[str]:
    for reference in file[key][0]:
        yield "".join(chr(character) for character in file[reference][:, 0])


@pytest.mark.parametrize("split", COUNTS)
def test_reading_gives_exactly_what_was_rendered(root: Path, scenes: dict[str, list[Scene]], split: str) -> None:
    data = NYUDOfficialDataset(root, split)  # type: ignore[arg-type]
    assert len(data) == COUNTS[split]
    for k, scene in enumerate(scenes[split]):
        raw = data.load(k, ["semseg", "edges", "depth"])
        np.testing.assert_array_equal(raw.image, scene.image)
        np.testing.assert_array_equal(raw.camera, scene.camera)
        for task, label in raw.labels.items():
            np.testing.assert_array_equal(label, getattr(scene, task))
            assert label.dtype == getattr(scene, task).dtype


def test_40_classes_join_to_the_13(root: Path, scenes: dict[str, list[Scene]]) -> None:
    data = NYUDOfficialDataset(root, "test", classes=40)
    seen = set()
    for k, scene in enumerate(scenes["test"]):
        label = data.load(k, ["semseg"]).labels["semseg"]
        np.testing.assert_array_equal(facts.to_13_classes(label), scene.semseg)
        seen |= {facts.CLASSES_40[i] for i in np.unique(label)}
    assert {"wall", "floor"} < seen


def test_derived_normals_are_near_the_true_ones(tmp_path: Path) -> None:
    size = (120, 160)
    write_official_replica(tmp_path, train=3, test=0, size=size)
    data = NYUDOfficialDataset(tmp_path, "train", derive_normals=True, normals_radius=1)
    for k in range(3):
        truth = ProceduralScenes(size=size, seed=0).render(3 * k).normals
        normals = data.load(k, ["normals"]).labels["normals"]
        valid = normals.any(axis=-1)
        angles = np.degrees(np.arccos(np.clip((normals * truth).sum(axis=-1)[valid], -1, 1)))
        assert valid.mean() > 0.8 and np.median(angles) < 0.5 and (angles < 5).mean() > 0.85


def test_raw_depth_has_holes_and_is_otherwise_the_same(root: Path, scenes: dict[str, list[Scene]]) -> None:
    data = NYUDOfficialDataset(root, "train", depth_source="raw")
    patterns = set()
    for k, scene in enumerate(scenes["train"]):
        depth = data.load(k, ["depth"]).labels["depth"]
        holes = depth == -1
        assert 0.02 < holes.mean() < 0.4
        np.testing.assert_array_equal(depth[~holes], scene.depth[~holes])
        patterns.add(holes.tobytes())
    assert len(patterns) == COUNTS["train"]


def test_layout_is_the_published_one(root: Path) -> None:
    frames = sum(COUNTS.values())
    height, width = SIZE
    expected = {
        "images": ((frames, 3, width, height), "uint8", b"uint8"),
        "depths": ((frames, width, height), "float32", b"single"),
        "rawDepths": ((frames, width, height), "float32", b"single"),
        "labels": ((frames, width, height), "uint16", b"uint16"),
        "instances": ((frames, width, height), "uint8", b"uint8"),
        "accelData": ((4, frames), "float32", b"single"),
        "names": ((1, 894), "object", b"cell"),
        "scenes": ((1, frames), "object", b"cell"),
        "sceneTypes": ((1, frames), "object", b"cell"),
        "rawRgbFilenames": ((1, frames), "object", b"cell"),
        "rawDepthFilenames": ((1, frames), "object", b"cell"),
    }
    with h5py.File(root / OFFICIAL_FILE, "r") as file:
        assert file.userblock_size == 512
        for key, (shape, dtype, matlab) in expected.items():
            assert (file[key].shape, file[key].dtype, file[key].attrs["MATLAB_class"]) == (shape, dtype, matlab), key
        names = list(texts(file, "names"))
        assert len(set(names)) == 894 and all(text.isascii() for text in names)
        for label, name in zip(REPRESENTATIVES, facts.CLASSES_13, strict=True):
            assert names[label - 1] == name
        assert set(texts(file, "sceneTypes")) <= {"bedroom", "living_room", "study"}
        assert next(texts(file, "rawDepthFilenames")).endswith("/d-0.pgm")
        labels, instances = file["labels"][()], file["instances"][()]
        assert set(np.unique(labels)) <= set(REPRESENTATIVES.tolist()) and 1 <= instances.min() <= instances.max() <= 63
    header = (root / OFFICIAL_FILE).read_bytes()[:128]
    assert header.startswith(b"MATLAB 7.3 MAT-file") and header[124:] == b"\x00\x02IM"


def test_unique_ids_of_the_literature_tell_all_instances_apart(root: Path, scenes: dict[str, list[Scene]]) -> None:
    data = NYUDOfficialDataset(root, "train")
    for k, scene in enumerate(scenes["train"]):
        frame = data.file.splits["train"][k]
        ids = (data.file.read("labels", frame).T.astype(int) << 6) + data.file.read("instances", frame).T
        pairs = {(int(a), int(b)) for a, b in zip(ids.ravel(), scene.instances.ravel(), strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_split_file(root: Path) -> None:
    split = scipy.io.loadmat(str(root / SPLIT_FILE))
    data = NYUDOfficialDataset(root, "train")
    for name, number in COUNTS.items():
        frames = split[f"{name}Ndxs"]
        assert frames.shape == (number, 1) and frames.dtype == np.uint16
        assert tuple(frames[:, 0]) == data.file.splits[name]
    # Mixed, so that a reader which takes the first frames for training is found out.
    assert data.file.splits["train"] != tuple(range(1, COUNTS["train"] + 1))


def test_writing_is_deterministic_and_repeatable(root: Path, tmp_path: Path) -> None:
    again = write_official_replica(tmp_path / "b", **COUNTS, seed=SEED, size=SIZE).parent
    names = sorted(path.name for path in root.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    (again / "nyu_depth_v2_labeled.part").write_bytes(b"left by an interruption")
    (again / OFFICIAL_FILE).unlink()
    write_official_replica(again, **COUNTS, seed=SEED, size=SIZE)
    for name in names:
        assert (root / name).read_bytes() == (again / name).read_bytes(), name
    assert names == sorted(path.name for path in again.iterdir())


@pytest.mark.slow
def test_the_full_counts_have_the_official_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = ProceduralScenes(size=(8, 8), seed=0).render(0)
    rendered = []
    monkeypatch.setattr(ProceduralScenes, "render", lambda self, index: rendered.append(index) or scene)
    write_official_replica(tmp_path, train=795, test=654, size=(8, 8))
    file = NYUDOfficialDataset(tmp_path, "test").file
    assert file.splits == {"train": facts.TRAIN_FRAMES, "test": facts.TEST_FRAMES}
    assert rendered[:5] == [2, 5, 0, 3, 6]  # frames 1 and 2 are of the test, 3 to 5 of the training
    assert len(set(rendered)) == 1449 and {index % 3 for index in rendered} == {0, 2}


def test_other_peoples_folders_stay_untouched(tmp_path: Path) -> None:
    (tmp_path / OFFICIAL_FILE).write_bytes(b"years of work")
    with pytest.raises(DataError, match="not empty"):
        write_official_replica(tmp_path, train=1, test=1, size=SIZE)
    assert [path.name for path in tmp_path.iterdir()] == [OFFICIAL_FILE]
    assert (tmp_path / OFFICIAL_FILE).read_bytes() == b"years of work"


def test_numbers_that_make_no_sense(tmp_path: Path) -> None:
    for train, test in ((0, 0), (-1, 3), (9000, 1000)):
        with pytest.raises(ConfigError, match="replica of"):
            write_official_replica(tmp_path / "r", train=train, test=test, size=SIZE)
    with pytest.raises(ConfigError, match="size"):
        write_official_replica(tmp_path / "r", train=1, test=1, size=(0, 4))
    assert not (tmp_path / "r").exists()
