"""Cityscapes 3D on a replica: what is decoded is what was rendered."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.cityscapes.boxes3d import BOXES, ImageBoxes, VehicleBox, read_boxes3d
from mtdense.data.cityscapes.facts import CLASSES, LABELS, SKY, class_of_label
from mtdense.data.cityscapes.official_files import read_camera
from mtdense.data.cityscapes.street import BASELINE
from mtdense.data.cityscapes.vehicles import PUBLISHED, Cityscapes3DDataset, box_label
from mtdense.data.cityscapes.vehicles_writer import write_cityscapes_3d_replica
from mtdense.data.dataset import draw_label_mask, label_table
from mtdense.data.procedural import ProceduralStreets, StreetScene
from mtdense.geometry.boxes import VehicleCamera, amodal_boxes, convert_boxes, modal_box
from mtdense.tasks.detection_3d import VEHICLES, BoxLabel

TASKS = ["semseg", "depth", "detection_3d"]
SIZE = (64, 128)
TRAIN, TEST = 8, 3
SEED = 2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cityscapes_3d_replica(tmp_path_factory.mktemp("vehicles") / "set", TRAIN, TEST, seed=SEED, size=SIZE)


@pytest.fixture
def spoilt(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "set"))


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[StreetScene]]:
    streets = ProceduralStreets(SIZE, SEED)
    return {
        "train": [streets.render(3 * i) for i in range(TRAIN)],
        "test": [streets.render(3 * i + 2) for i in range(TEST)],
    }


def scene_of(scenes: dict[str, list[StreetScene]], split: str, image_id: str) -> StreetScene:
    return scenes[split][int(image_id.split("_")[1]) // 3]


# ---- what is decoded is what was rendered ----------------------------------------------------------------------------
@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_are_the_renderers(root: Path, scenes: dict[str, list[StreetScene]], split: str) -> None:
    data = Cityscapes3DDataset(root, split)
    assert len(data) == {"train": TRAIN, "test": TEST}[split] and data.version.startswith("replica-cityscapes_3d-")
    vehicles = 0
    for i, image_id in enumerate(data.ids):
        scene = scene_of(scenes, split, image_id)
        raw = data.load(i, TASKS)
        np.testing.assert_array_equal(raw.image, scene.image)
        np.testing.assert_array_equal(raw.labels["semseg"], class_of_label()[scene.labels])
        sky = scene.labels == SKY
        disparity = np.where(sky, -1, BASELINE * scene.camera[0, 0] / scene.depth)
        np.testing.assert_allclose(raw.labels["depth"], disparity, atol=1 / 512 + 1e-6)
        np.testing.assert_array_equal(raw.camera, scene.camera)
        label = BoxLabel.from_table(raw.labels["detection_3d"])
        np.testing.assert_array_equal(label.camera.matrix, scene.camera)
        np.testing.assert_array_equal(label.camera.camera_from_vehicle, scene.camera_from_vehicle)
        assert label.camera.size == SIZE
        vehicles += check_boxes(label, scene, np.array(Image.open(instance_map(root, split, image_id))))
    assert vehicles > 5


def instance_map(root: Path, split: str, image_id: str) -> Path:
    folder = {"train": "train", "test": "val"}[split]
    return root / "gtFine" / folder / image_id.partition("_")[0] / f"{image_id}_gtFine_instanceIds.png"


def check_boxes(label: BoxLabel, scene: StreetScene, instance_ids: np.ndarray) -> int:
    """Each box is that of a vehicle of the street, to 1e-6, and on its pixels."""
    middles = np.array([vehicle.center for vehicle in scene.vehicles])
    for i in range(len(label)):
        vehicle = scene.vehicles[int(np.linalg.norm(middles - label.boxes.centers[i], axis=1).argmin())]
        where = scene.instances == vehicle.instance
        np.testing.assert_allclose(label.boxes.centers[i], vehicle.center, atol=1e-6, rtol=0)
        np.testing.assert_allclose(label.boxes.dimensions[i], vehicle.dimensions, atol=1e-6, rtol=0)
        np.testing.assert_allclose(label.boxes.rotations[i], vehicle.rotation, atol=1e-6, rtol=0)
        assert VEHICLES[label.classes[i]] == vehicle.label.name.lower()
        assert set(instance_ids[where]) == {label.instances[i]} and label.instances[i] // 1000 == vehicle.label
        np.testing.assert_array_equal(label.modal[i], modal_box(where))
        x1, y1, x2, y2 = label.amodal[i]
        assert x1 <= label.modal[i, 0] and y1 <= label.modal[i, 1]
        assert x2 >= label.modal[i, 2] and y2 >= label.modal[i, 3]
        assert label.occlusion[i] == pytest.approx(1 - where.sum() / vehicle.alone, abs=0.0501)
        assert 0 <= label.truncation[i] <= 1
    np.testing.assert_allclose(amodal_boxes(label.boxes, label.camera), label.amodal, atol=1e-9)
    # Every vehicle that is seen is a box, a region to ignore, or neither trained nor scored.
    seen = {int(i) for i in np.unique(instance_ids) if i // 1000 in {int(v.label) for v in scene.vehicles}}
    told = {*label.instances.tolist(), *label.ignored_instances.tolist()}
    left = {LABELS[instance // 1000].name for instance in seen - told}
    assert told <= seen and left <= {"caravan", "trailer"}
    return len(label)


def test_boxes_in_all_frames(root: Path) -> None:
    data = Cityscapes3DDataset(root, "train", tasks=["detection_3d"])
    for i in range(len(data)):
        label = BoxLabel.from_table(data.load(i, ["detection_3d"]).labels["detection_3d"])
        for frame in ("C", "S"):
            there = convert_boxes(label.boxes, frame, label.camera)  # type: ignore[arg-type]
            back = convert_boxes(there, "V", label.camera)
            np.testing.assert_allclose(back.centers, label.boxes.centers, atol=1e-9)
            np.testing.assert_allclose(np.abs((back.rotations * label.boxes.rotations).sum(axis=1)), 1, atol=1e-12)


def test_the_camera_file_says_where_the_camera_sits(root: Path, scenes: dict[str, list[StreetScene]]) -> None:
    """Yaw, pitch and roll give the rotation of the boxes' files back: first about z, then y, then x."""
    data = Cityscapes3DDataset(root, "train")
    for image_id in data.ids:
        path = root / "camera" / "train" / image_id.partition("_")[0] / f"{image_id}_camera.json"
        scene, place = scene_of(scenes, "train", image_id), json.loads(path.read_text())["extrinsic"]
        (cy, sy), (cp, sp), (cr, sr) = ((np.cos(place[key]), np.sin(place[key])) for key in ("yaw", "pitch", "roll"))
        about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
        vehicle_from_camera = about_z @ about_y @ about_x
        np.testing.assert_allclose(vehicle_from_camera.T, scene.camera_from_vehicle[:, :3], atol=1e-9)
        middle = -vehicle_from_camera @ scene.camera_from_vehicle[:, 3]
        np.testing.assert_allclose([place[key] for key in "xyz"], middle, atol=1e-9)
        assert read_camera(path).baseline == BASELINE


def test_a_replica_is_written_the_same_again(root: Path, tmp_path: Path) -> None:
    again = write_cityscapes_3d_replica(tmp_path / "set", TRAIN, TEST, seed=SEED, size=SIZE)
    files = {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert files == {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match="replica of other scenes"):
        write_cityscapes_3d_replica(again, TRAIN, TEST, seed=SEED + 1, size=SIZE)


# ---- labels of images without vehicles -------------------------------------------------------------------------------
def rewrite(root: Path, image_id: str, change: Callable[[dict[str, Any]], None], split: str = "train") -> Path:
    path = root / BOXES.place(split, image_id)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_an_image_without_vehicles_has_a_label_that_says_so(spoilt: Path) -> None:
    data = Cityscapes3DDataset(spoilt, "train")
    empty, full = data.ids[0], next(i for i in data.ids[1:] if data.vehicles(i))
    rewrite(spoilt, empty, lambda content: content["objects"].clear())
    data = Cityscapes3DDataset(spoilt, "train")
    assert "detection_3d" in data.available(0) and not data.eligible(0, "detection_3d") and data.eligible(0, "semseg")
    assert len(BoxLabel.from_table(data.load(0, ["detection_3d"]).labels["detection_3d"])) == 0
    assert data.eligible(data.ids.index(full), "detection_3d")


def test_masks_give_boxes_to_images_that_have_some(spoilt: Path) -> None:
    ids = Cityscapes3DDataset(spoilt, "train").ids
    for image_id in ids[: TRAIN // 2]:
        rewrite(spoilt, image_id, lambda content: content["objects"].clear())
    data = Cityscapes3DDataset(spoilt, "train")
    vehicles = np.array([data.vehicles(image_id) > 0 for image_id in ids])
    assert not vehicles[: TRAIN // 2].any() and vehicles.any()
    np.testing.assert_array_equal(label_table(data, TASKS).sum(axis=0), [TRAIN] * 3)
    np.testing.assert_array_equal(label_table(data, TASKS, eligible=True)[:, 2], vehicles)
    for setting in ("one-label", "random-label"):
        mask = draw_label_mask(data, TASKS, setting, seed=0)
        assert not mask.labelled[~vehicles, 2].any() and mask.counts()["detection_3d"] > 0


def test_caravans_and_trailers_are_neither(root: Path) -> None:
    camera = VehicleCamera(np.eye(3), np.eye(3, 4), (50, 60))
    turn, box = (1.0, 0.0, 0.0, 0.0), (1.0, 2.0, 3.0, 4.0)
    objects = [VehicleBox(name, (5.0, 0.0, 1.0), (4.0, 2.0, 1.5), turn, box, box) for name in ("trailer", "bus")]
    label = box_label(ImageBoxes(camera, 0.2, tuple(objects)))
    assert label.classes.tolist() == [2] and not len(label.ignored)
    assert label.instances.tolist() == [-1] and label.occlusion.tolist() == [-1] and label.truncation.tolist() == [-1]
    np.testing.assert_array_equal(label.amodal, [[1, 2, 4, 6]])


# ---- errors ----------------------------------------------------------------------------------------------------------
def test_facts() -> None:
    assert PUBLISHED.counts == {"train": 2975, "test": 500} and "gtBbox3d_trainvaltest.zip" in PUBLISHED.where
    assert list(PUBLISHED.labels["train"]) == TASKS and set(VEHICLES) <= set(CLASSES)


def test_unknown_task(root: Path) -> None:
    with pytest.raises(ConfigError, match="unknown task 'normals'") as caught:
        Cityscapes3DDataset(root, "train", tasks=["normals"])
    assert "detection_3d" in (caught.value.mend or "")


def test_missing_boxes(spoilt: Path) -> None:
    image_id = Cityscapes3DDataset(spoilt, "test").ids[1]
    path = spoilt / BOXES.place("test", image_id)
    path.unlink()
    with pytest.raises(DataError) as caught:
        Cityscapes3DDataset(spoilt, "test")
    assert str(path) in caught.value.problem and "gtBbox3d_trainvaltest.zip" in (caught.value.mend or "")
    data = Cityscapes3DDataset(spoilt, "test", tasks=["semseg", "depth"])
    assert data.available(1) == {"semseg", "depth"} and not data.eligible(1, "detection_3d")
    shutil.rmtree(spoilt / "gtBbox3d")
    with pytest.raises(DataError, match="gtBbox3d"):
        Cityscapes3DDataset(spoilt, "test")


def zero(group: str, key: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content[group][key] = 0.0

    return change


def other_size(content: dict[str, Any]) -> None:
    content["imgWidth"] = 2048


BROKEN: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda content: content.pop("sensor"), "sensor"),
    (zero("sensor", "fx"), "sensor.fx"),
    (lambda content: content["objects"][0]["3d"].update(dimensions=[4.0, 0.0, 1.5]), "objects[0].3d.dimensions"),
    (lambda content: content["objects"][0]["3d"].update(rotation=[float("nan"), 0, 0, 1]), "objects[0].3d.rotation"),
    (lambda content: content["objects"][0].update(label="boat"), "objects[0].label"),
    (other_size, "its label"),
]


@pytest.mark.parametrize(("change", "told"), BROKEN)
def test_damaged_boxes(spoilt: Path, change: Callable[[dict[str, Any]], Any], told: str) -> None:
    data = Cityscapes3DDataset(spoilt, "train")
    index = next(i for i, image_id in enumerate(data.ids) if data.vehicles(image_id))
    path = rewrite(spoilt, data.ids[index], change)
    with pytest.raises(DataError) as caught:
        Cityscapes3DDataset(spoilt, "train").load(index, ["detection_3d"])
    assert str(path) in caught.value.problem and told in caught.value.problem
    assert Cityscapes3DDataset(spoilt, "train").load(index, ["semseg"]).labels.keys() == {"semseg"}


def test_numbers_are_kept_as_written(root: Path) -> None:
    data = Cityscapes3DDataset(root, "train")
    for i, image_id in enumerate(data.ids):
        stored = read_boxes3d(root / BOXES.place("train", image_id))
        label = BoxLabel.from_table(data.load(i, ["detection_3d"]).labels["detection_3d"])
        assert [list(vehicle.center) for vehicle in stored.evaluated] == label.boxes.centers.tolist()
        assert [region.instance_id for region in stored.ignore] == label.ignored_instances.tolist()
