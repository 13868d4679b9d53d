"""Cityscapes as published: replicas, hand-made files, and damaged ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtdense.core.errors import ConfigError, DataError
from mtdense.data import DenseDataset
from mtdense.data.cityscapes.facts import LABELS, class_of_label
from mtdense.data.cityscapes.official import PUBLISHED, CityscapesDataset, cityscapes_specs
from mtdense.data.cityscapes.official_files import read_camera
from mtdense.data.cityscapes.official_writer import write_cityscapes_replica
from mtdense.data.cityscapes.outlines import draw_outlines, outlines
from mtdense.data.cityscapes.protocols import DEPTH_PROTOCOLS
from mtdense.data.cityscapes.street import BASELINE, PERSON, STREET_LABELS, STREET_SCALE, as_street
from mtdense.data.procedural import ProceduralScenes
from mtdense.data.published import replica_mark

SIZE = (32, 64)
TASKS = ["semseg", "depth"]
FIRST = "aachen_000000_000019"


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cityscapes_replica(tmp_path_factory.mktemp("cityscapes"), train=3, test=2, seed=5, size=SIZE)


@pytest.fixture
def root(replica: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(replica, tmp_path / "copy"))


def file(root: Path, kind: str, suffix: str, image_id: str = FIRST, split: str = "train") -> Path:
    return root / kind / split / image_id.partition("_")[0] / f"{image_id}_{suffix}"


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_replica_gives_the_scenes_back(replica: Path, split: str) -> None:
    """Classes exactly; disparity within half a step of 1 / 256; metres within what that step means there."""
    pixels, metres = (CityscapesDataset(replica, split, protocol=name) for name in ("disparity", "metres"))
    scenes = ProceduralScenes(SIZE, seed=5)
    assert len(pixels) == {"train": 3, "test": 2}[split]
    people = 0
    for i, image_id in enumerate(pixels.ids):
        index = int(image_id.split("_")[1])
        assert index % 3 == {"train": 0, "test": 2}[split]
        scene, raw = scenes.render(index), pixels.load(i, TASKS)
        np.testing.assert_array_equal(raw.image, scene.image)
        labels = STREET_LABELS[scene.semseg]
        labels[np.isin(scene.instances, scene.people)] = PERSON
        people += int((labels == PERSON).sum())
        np.testing.assert_array_equal(raw.labels["semseg"], class_of_label()[labels])
        distance = STREET_SCALE * scene.depth
        step = 1 / 512 + 1e-5
        disparity = BASELINE * scene.camera[0, 0] / distance
        np.testing.assert_allclose(raw.labels["depth"], disparity, atol=step)
        found = metres.load(i, ["depth"]).labels["depth"]
        assert (np.abs(found - distance) <= step * distance / (disparity - step)).all()
        assert raw.camera is not None
        np.testing.assert_array_equal(raw.camera, scene.camera)
    assert split == "test" or people > 0, "no person in sight: choose another seed"


def test_what_a_data_set_says(replica: Path) -> None:
    train, test = CityscapesDataset(replica, "train"), CityscapesDataset(replica, "test")
    assert isinstance(train, DenseDataset)
    assert train.ids == [FIRST, "aachen_000006_000019", "bochum_000003_000019"]
    assert test.ids == ["frankfurt_000002_000019", "lindau_000005_000019"]
    assert train.version == test.version and train.version.startswith("replica-cityscapes-disparity-")
    assert train.available(0) == frozenset(TASKS) and train.derived == frozenset()
    assert CityscapesDataset(replica, "train", protocol="taskprompter").derived == {"depth"}
    assert train.task_specs() == cityscapes_specs(DEPTH_PROTOCOLS["disparity"])
    assert PUBLISHED.counts == {"train": 2975, "test": 500}


def test_files_have_the_published_form(replica: Path) -> None:
    forms = {
        ("leftImg8bit", "leftImg8bit.png"): (3, "u1"),
        ("gtFine", "gtFine_labelIds.png"): (1, "u1"),
        ("gtFine", "gtFine_instanceIds.png"): (1, "u2"),
        ("gtFine", "gtFine_color.png"): (4, "u1"),
        ("disparity", "disparity.png"): (1, "u2"),
    }
    arrays = {}
    for (kind, suffix), (channels, dtype) in forms.items():
        array = np.array(Image.open(file(replica, kind, suffix)))
        assert array.shape == (SIZE if channels == 1 else (*SIZE, channels)) and array.dtype == np.dtype(dtype)
        arrays[suffix] = array
    labels, numbered = arrays["gtFine_labelIds.png"], arrays["gtFine_instanceIds.png"]
    apart = np.array([label.instances for label in LABELS])[labels]
    np.testing.assert_array_equal(np.where(numbered > 999, numbered // 1000, numbered), labels)
    np.testing.assert_array_equal(numbered > 999, apart)
    np.testing.assert_array_equal(arrays["gtFine_color.png"][..., :3], np.array([x.colour for x in LABELS])[labels])
    polygons = json.loads(file(replica, "gtFine", "gtFine_polygons.json").read_text())
    assert (polygons["imgHeight"], polygons["imgWidth"]) == SIZE
    np.testing.assert_array_equal(draw_outlines(polygons["objects"], *SIZE), labels)
    camera = json.loads(file(replica, "camera", "camera.json").read_text())
    assert set(camera["extrinsic"]) == {"baseline", "pitch", "roll", "x", "y", "yaw", "z"}
    assert set(camera["intrinsic"]) == {"fx", "fy", "u0", "v0"}


def test_outlines_of_interlocked_regions() -> None:
    """Random maps are far worse than any scene: whatever contours get wrong is mended."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        instances = rng.integers(1, 5, (12, 17)).astype(np.int32)
        labels = (instances + 10).astype(np.uint8)
        np.testing.assert_array_equal(draw_outlines(outlines(instances, labels), 12, 17), labels)


def test_every_room_class_has_a_street_class() -> None:
    assert len(set(STREET_LABELS.tolist()) | {PERSON}) == 14
    assert (class_of_label()[STREET_LABELS] < 19).all()
    street = as_street(ProceduralScenes(SIZE, seed=0).render(0))
    assert street.disparity.min() > 0 and street.label_ids.dtype == np.uint8


def test_a_replica_can_be_written_again(replica: Path, root: Path) -> None:
    assert replica_mark(root) == replica_mark(replica) != None  # noqa: E711 - both, and there is one
    shutil.rmtree(root / "gtFine")
    write_cityscapes_replica(root, train=3, test=2, seed=5, size=SIZE)
    for path in replica.rglob("*.*"):
        assert (root / path.relative_to(replica)).read_bytes() == path.read_bytes(), path
    with pytest.raises(DataError, match="a replica of other scenes"):
        write_cityscapes_replica(root, train=4, test=2, seed=5, size=SIZE)


def test_void_sky_and_missing_values(root: Path) -> None:
    labels = np.full(SIZE, 33, np.uint8)
    labels[0], labels[1], labels[2], labels[3] = 0, 9, 255, 23
    stored = np.full(SIZE, 1 + 5 * 256, np.uint16)
    stored[4], stored[5] = 0, 1
    Image.fromarray(labels).save(file(root, "gtFine", "gtFine_labelIds.png"))
    Image.fromarray(stored).save(file(root, "disparity", "disparity.png"))
    fixed = CityscapesDataset(root, "train", protocol="taskprompter").load(0, TASKS).labels
    assert (fixed["semseg"][:3] == 255).all() and (fixed["semseg"][3] == 10).all() and fixed["semseg"][6, 0] == 18
    assert fixed["depth"][:, 0].tolist()[2:7] == [5, 0, -1, 0, 5]
    legacy = CityscapesDataset(root, "train", protocol="taskprompter_legacy").load(0, ["depth"]).labels["depth"]
    assert legacy[:, 0].tolist()[2:7] == [5, 5, -1, -1, 5]


def test_only_tasks_asked_for_need_files(root: Path) -> None:
    shutil.rmtree(root / "gtFine")
    for protocol in ("disparity", "metres"):
        data = CityscapesDataset(root, "train", tasks=["depth"], protocol=protocol)
        assert data.available(0) == {"depth"} == set(data.task_specs())
    with pytest.raises(DataError, match="no semseg label"):
        data.load(0, ["semseg"])
    with pytest.raises(DataError, match=r"no such folder: .*gtFine(.|\n)*gtFine_trainvaltest\.zip"):
        CityscapesDataset(root, "train", tasks=["depth"], protocol="taskprompter")
    shutil.rmtree(root / "camera")
    assert CityscapesDataset(root, "train", tasks=["depth"]).load(0, ["depth"]).camera is None
    with pytest.raises(DataError, match=r"no such folder: .*camera"):
        CityscapesDataset(root, "train", tasks=["depth"], protocol="metres")


def test_labels_not_asked_for_are_not_read(root: Path) -> None:
    file(root, "gtFine", "gtFine_labelIds.png").write_bytes(b"")
    for protocol in ("disparity", "metres"):
        assert set(CityscapesDataset(root, "train", protocol=protocol).load(0, ["depth"]).labels) == {"depth"}


def test_labels_of_other_tasks_may_be_partly_there(root: Path) -> None:
    file(root, "disparity", "disparity.png").unlink()
    data = CityscapesDataset(root, "train", tasks=["semseg"])
    assert data.available(0) == {"semseg"} and data.available(1) == {"semseg", "depth"}
    with pytest.raises(DataError, match=rf"no such file: .*{FIRST}_disparity\.png \(1 of 3 images lack theirs\)"):
        CityscapesDataset(root, "train")


def test_layouts_that_do_not_fit(root: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder: .*nowhere(.|\n)*cityscapes-dataset\.com"):
        CityscapesDataset(root / "nowhere", "train")
    with pytest.raises(DataError, match=r"Set `data.root` to .*copy\."):
        CityscapesDataset(root.parent, "train")
    lost = file(root, "leftImg8bit", "leftImg8bit.png").rename(
        root / "leftImg8bit" / "train" / "bochum" / f"{FIRST}_leftImg8bit.png"
    )
    with pytest.raises(DataError, match=rf"{FIRST}_leftImg8bit\.png is not called bochum_"):
        CityscapesDataset(root, "train")
    lost.rename(lost.with_name("bochum_7_leftImg8bit.png"))
    with pytest.raises(DataError, match="six digits"):
        CityscapesDataset(root, "train")
    shutil.rmtree(root / "leftImg8bit" / "train" / "bochum")
    shutil.rmtree(root / "leftImg8bit" / "train" / "aachen")
    with pytest.raises(DataError, match="holds no image"):
        CityscapesDataset(root, "train")


def test_an_image_in_both_splits(root: Path) -> None:
    shutil.copytree(root / "leftImg8bit" / "train" / "aachen", root / "leftImg8bit" / "val" / "aachen")
    with pytest.raises(DataError, match=rf"{FIRST}' is in both splits(.|\n)*2 in all"):
        CityscapesDataset(root, "train")


def test_files_of_the_system_are_passed_over(root: Path) -> None:
    version = CityscapesDataset(root, "train").version
    city = root / "leftImg8bit" / "train" / "aachen"
    for path in (city / f"._{FIRST}_leftImg8bit.png", city / "readme.txt", city.parent / ".DS_Store"):
        path.touch()
    (root / "license.txt").touch()
    assert CityscapesDataset(root, "train").version == version


def test_the_version_is_of_both_splits_and_of_the_protocol(root: Path) -> None:
    version = CityscapesDataset(root, "train").version
    assert CityscapesDataset(root, "train", protocol="metres").version != version
    path = file(root, "disparity", "disparity.png", "lindau_000005_000019", "val")
    path.write_bytes(path.read_bytes() + b" ")
    assert CityscapesDataset(root, "train").version != version


@pytest.mark.parametrize(
    ("kind", "suffix", "content", "message"),
    [
        ("gtFine", "gtFine_labelIds.png", np.full(SIZE, 34, np.uint8), "label id 34"),
        ("gtFine", "gtFine_labelIds.png", np.full(SIZE, 7, np.uint16), "uint16"),
        ("gtFine", "gtFine_labelIds.png", np.zeros((*SIZE, 3), np.uint8), r"\(32, 64, 3\)"),
        ("gtFine", "gtFine_labelIds.png", np.zeros((16, 32), np.uint8), "has 32x64 pixels, its label .* 16x32"),
        ("disparity", "disparity.png", np.zeros(SIZE, np.uint8), "not 16 bits a pixel"),
        ("disparity", "disparity.png", np.zeros((16, 32), np.uint16), "16x32"),
        ("disparity", "disparity.png", b"\x89PNG", "cannot be decoded"),
        ("leftImg8bit", "leftImg8bit.png", b"", "cannot be decoded"),
        ("camera", "camera.json", b"{", "cannot be read"),
        ("camera", "camera.json", b"[]", r"intrinsic\.fx is None"),
        ("camera", "camera.json", b" " * 1_000_001, "more than 1000000 bytes"),
        ("camera", "camera.json", b'{"intrinsic": {"fx": NaN}}', r"intrinsic\.fx is nan"),
        ("camera", "camera.json", b'{"intrinsic": {"fx": 1, "fy": 1, "u0": 0, "v0": 0}}', r"extrinsic\.baseline"),
        ("camera", "camera.json", b"[" * 100_000, "camera.json"),
    ],
)
def test_damaged_contents_are_named(
    root: Path, kind: str, suffix: str, content: np.ndarray | bytes, message: str
) -> None:
    path = file(root, kind, suffix)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        Image.fromarray(content).save(path)
    with pytest.raises(DataError, match=message) as caught:
        CityscapesDataset(root, "train").load(0, TASKS)
    assert path.name in str(caught.value) and "Mend:" in str(caught.value)


def test_cut_files_are_named(root: Path) -> None:
    for kind, suffix in (("disparity", "disparity.png"), ("gtFine", "gtFine_labelIds.png")):
        path = file(root, kind, suffix)
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(DataError, match=suffix):
            CityscapesDataset(root, "train").load(0, TASKS)
    with pytest.raises(DataError, match="no such file"):
        read_camera(root / "camera.json")


def test_options_are_checked(replica: Path) -> None:
    with pytest.raises(ConfigError, match="unknown split 'val'"):
        CityscapesDataset(replica, "val")
    with pytest.raises(ConfigError, match="unknown task 'edges'"):
        CityscapesDataset(replica, "train", tasks=["edges"])
    with pytest.raises(ConfigError, match="unknown depth_protocol 'feet'"):
        CityscapesDataset(replica, "train", protocol="feet")
