"""Boxes from files to the detection score and back, and folders of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtdense.core.errors import DataError
from mtdense.data.cityscapes.boxes3d import (
    IgnoreRegion,
    ImageBoxes,
    VehicleBox,
    read_boxes3d,
    read_detections,
    write_boxes3d,
    write_detections,
)
from mtdense.data.cityscapes.detections3d import box_predictions, box_targets, detected_vehicles, index_box_files
from mtdense.geometry import camera_matrix
from mtdense.geometry.boxes import Boxes3D, VehicleCamera, amodal_boxes, convert_boxes
from mtdense.metrics.functional import BoxPredictions

CAMERA = VehicleCamera(
    camera_matrix(2000.0, 2100.0, 1000.0, 500.0), np.column_stack([np.eye(3), [-1.7, -0.1, -1.2]]), (1024, 2048)
)


def vehicle(label: str, score: float = 1.0) -> VehicleBox:
    return VehicleBox(
        label, (20.0, 1.0, 0.8), (4.0, 1.8, 1.5), (1.0, 0.0, 0.0, 0.0), (9, 8, 70, 60), (10, 8, 30, 60), score, 26000
    )


def test_labels_become_targets(tmp_path: Path) -> None:
    image = ImageBoxes(
        CAMERA,
        0.2,
        (vehicle("bicycle"), vehicle("caravan"), vehicle("car"), vehicle("trailer")),
        (IgnoreRegion((5, 6, 7, 8), "car", 26),),
    )
    write_boxes3d(tmp_path / "a_gtBbox3d.json", image)
    targets = box_targets(read_boxes3d(tmp_path / "a_gtBbox3d.json"))
    assert targets.labels.tolist() == [5, 0]
    assert targets.amodal.tolist() == [[9, 8, 79, 68]] * 2
    assert targets.modal.tolist() == [[10, 8, 40, 68]] * 2
    assert targets.ignore.tolist() == [[5, 6, 12, 14]]
    assert targets.boxes.frame == "V"
    assert targets.camera.size == (1024, 2048)


def test_images_without_boxes(tmp_path: Path) -> None:
    write_boxes3d(tmp_path / "a_gtBbox3d.json", ImageBoxes(CAMERA, 0.2))
    write_detections(tmp_path / "a_pred.json", ())
    targets = box_targets(read_boxes3d(tmp_path / "a_gtBbox3d.json"))
    preds = box_predictions(read_detections(tmp_path / "a_pred.json"))
    assert len(targets) == len(preds) == 0
    assert targets.ignore.shape == (0, 4)
    assert detected_vehicles(preds, CAMERA) == ()


def test_predictions_survive_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    space = Boxes3D(rng.uniform([9, -5, 0], [60, 5, 2], (5, 3)), rng.uniform(1, 5, (5, 3)), rng.normal(size=(5, 4)))
    modal = rng.uniform([0, 0, 500, 500], [400, 400, 900, 900], (5, 4))
    preds = BoxPredictions(convert_boxes(space, "S", CAMERA), np.arange(5), rng.random(5), modal)
    write_detections(tmp_path / "a_pred.json", detected_vehicles(preds, CAMERA))
    vehicles = read_detections(tmp_path / "a_pred.json")
    again = box_predictions(vehicles)
    np.testing.assert_allclose(again.boxes.centers, space.centers, atol=1e-9)
    np.testing.assert_allclose(again.boxes.dimensions, space.dimensions, atol=1e-12)
    turned = np.abs((again.boxes.rotations * space.rotations).sum(axis=1))
    np.testing.assert_allclose(turned, 1.0, atol=1e-12)
    assert again.labels.tolist() == [0, 1, 2, 3, 4]
    assert again.scores.tolist() == preds.scores.tolist()
    assert again.modal is not None
    np.testing.assert_allclose(again.modal, modal, atol=1e-9)
    corners = np.array([[x, y, x + w, y + h] for x, y, w, h in (v.amodal for v in vehicles)])
    np.testing.assert_allclose(corners, amodal_boxes(space, CAMERA), atol=1e-6)


def test_without_modal_boxes_the_whole_is_written() -> None:
    space = Boxes3D([[20.0, 0, 1]], [[4.0, 2, 2]], [[1.0, 0, 0, 0]])
    (found,) = detected_vehicles(BoxPredictions(space, [2], [0.5]), CAMERA)
    assert found.modal == found.amodal
    assert found.label == "bus"


def test_a_class_out_of_range() -> None:
    space = Boxes3D([[20.0, 0, 1]], [[4.0, 2, 2]], [[1.0, 0, 0, 0]])
    with pytest.raises(DataError, match="class 6"):
        detected_vehicles(BoxPredictions(space, [6], [0.5]), CAMERA)


def test_classes_of_a_task_keep_their_names(tmp_path: Path) -> None:
    space = Boxes3D([[20.0, 0, 1]], [[4.0, 2, 2]], [[1.0, 0, 0, 0]])
    (found,) = detected_vehicles(BoxPredictions(space, [0], [0.5]), CAMERA, ["bus", "car"])
    assert found.label == "bus"
    # The format knows eight vehicles: another name is an error, and no car.
    others = detected_vehicles(BoxPredictions(space, [0], [0.5]), CAMERA, ["tram"])
    with pytest.raises(DataError, match="'tram'"):
        write_detections(tmp_path / "a_pred.json", others)


def test_files_are_named_by_their_image(tmp_path: Path) -> None:
    for name in ("munster/b_000000_000001_gtBbox3d.json", "aachen/c_000000_000002_x.json", "results.json", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = index_box_files(tmp_path)
    assert list(found) == ["b_000000_000001", "c_000000_000002"]
    assert found["b_000000_000001"] == tmp_path / "munster" / "b_000000_000001_gtBbox3d.json"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no .json file"),
        (("results.json",), "no .json file"),
        (("frankfurt.json",), "last underscore"),
        (("_gtBbox3d.json",), "last underscore"),
        (("a_gtBbox3d.json", "a_predBbox3d.json"), "two files for one image"),
    ],
)
def test_folders_that_cannot_be_read(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=message):
        index_box_files(tmp_path)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        index_box_files(tmp_path / "none")
