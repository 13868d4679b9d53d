"""Boxes of vehicles between files of Cityscapes 3D and the detection score, and folders of such files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtdense.core.errors import DataError
from mtdense.data.cityscapes.boxes3d import EVALUATED_LABELS, ImageBoxes, Quad, VehicleBox, boxes_of
from mtdense.geometry.boxes import VehicleCamera, amodal_boxes, xywh_from_xyxy, xyxy_from_xywh
from mtdense.metrics.functional.detection_boxes import BoxPredictions, BoxTargets, in_vehicle_frame

__all__ = ["box_predictions", "box_targets", "detected_vehicles", "index_box_files"]

_RESULTS = "results.json"  # what the official evaluation leaves beside the predictions


def box_targets(image: ImageBoxes) -> BoxTargets:
    """Labels of an image, for the detection score; caravans and trailers are left out."""
    vehicles = image.evaluated
    return BoxTargets(
        boxes=boxes_of(vehicles),
        labels=_class_ids(vehicles),
        amodal=xyxy_from_xywh(_rows([vehicle.amodal for vehicle in vehicles])),
        modal=xyxy_from_xywh(_rows([vehicle.modal for vehicle in vehicles])),
        ignore=xyxy_from_xywh(_rows([region.box for region in image.ignore])),
        camera=image.camera,
    )


def box_predictions(vehicles: Sequence[VehicleBox]) -> BoxPredictions:
    """Detections in an image, for the detection score; caravans and trailers are left out."""
    evaluated = [vehicle for vehicle in vehicles if vehicle.class_id is not None]
    return BoxPredictions(
        boxes=boxes_of(evaluated),
        labels=_class_ids(evaluated),
        scores=np.array([vehicle.score for vehicle in evaluated]),
        modal=xyxy_from_xywh(_rows([vehicle.modal for vehicle in evaluated])),
    )


def detected_vehicles(
    preds: BoxPredictions, camera: VehicleCamera, names: Sequence[str] = EVALUATED_LABELS
) -> tuple[VehicleBox, ...]:
    """Detections as `write_detections` takes them: in V, with the 2-D box of what is in space.

    Args:
        preds: Boxes in any frame.
        camera: What the image was taken with, in pixels of the stored image.
        names: Labels by class id.

    Raises:
        DataError: A class id out of range.
    """
    if len(preds) and preds.labels.max() >= len(names):
        raise DataError(
            f"a prediction has class {preds.labels.max()}, but there are {len(names)} classes",
            f"Use the places in {', '.join(names)}.",
        )
    boxes = in_vehicle_frame(preds.boxes, camera)
    amodal = amodal_boxes(boxes, camera)
    modal = amodal if preds.modal is None else preds.modal
    return tuple(
        VehicleBox(
            label=names[label],
            center=_triple(boxes.centers[i]),
            dimensions=_triple(boxes.dimensions[i]),
            rotation=_quad(boxes.rotations[i]),
            amodal=_quad(xywh_from_xyxy(amodal[i])),
            modal=_quad(xywh_from_xyxy(modal[i])),
            score=float(preds.scores[i]),
        )
        for i, label in enumerate(preds.labels.tolist())
    )


def index_box_files(folder: Path) -> dict[str, Path]:
    """{image: file} of all .json files of a folder and those in it, sorted by image.

    The image is the file's name up to its last underscore, such as "frankfurt_000000_000294", as the official
    evaluation has it.

    Raises:
        DataError: No such folder, nothing in it, a name without an underscore, or two files of one image.
    """
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}", "Correct the path.")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.json")):
        if path.name == _RESULTS or path.name.startswith(".") or not path.is_file():
            continue
        image, underscore, _ = path.stem.rpartition("_")
        if not underscore or not image:
            raise DataError(
                f"{path}: what is before the last underscore names the image", "Name it IMAGE_ANYTHING.json."
            )
        if image in found:
            raise DataError(f"two files for one image: {found[image]} and {path}", "Keep one of them.")
        found[image] = path
    if not found:
        raise DataError(f"no .json file of boxes in {folder}", "Correct the path.")
    return dict(sorted(found.items()))


def _class_ids(vehicles: Sequence[VehicleBox]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([EVALUATED_LABELS.index(vehicle.label) for vehicle in vehicles], dtype=np.int64)


def _rows(quads: Sequence[Quad]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array(quads, dtype=np.float64).reshape(len(quads), 4)


def _triple(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z


def _quad(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Quad:
    a, b, c, d = values.tolist()
    return a, b, c, d
