"""What was found in an image: boxes on the canvas, and the way back to the image as it was stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtdense.core.errors import ConfigError, DataError
from mtdense.geometry.boxes import (
    Boxes3D,
    VehicleCamera,
    amodal_boxes,
    clip_boxes2d,
    convert_boxes,
    crop_boxes2d,
    mirror_boxes,
    mirror_boxes2d,
    resize_boxes2d,
)
from mtdense.geometry.cameras import crop_camera, flip_camera, resize_camera
from mtdense.metrics.functional.detection_boxes import BoxPredictions, BoxTargets
from mtdense.tasks.detection_3d.label import UNKNOWN, BoxLabel
from mtdense.tasks.detection_3d.target import CanvasBoxes

__all__ = ["DRAWN", "Detections", "View", "check_full_precision", "scored_pair", "view_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DRAWN = 0.3
"""Confidence from which a box is drawn."""

_NO_MOUNT = np.eye(3, 4)


@dataclass(frozen=True, eq=False)
class View:
    """How an image lies on the canvas, and what took it.

    Args:
        canvas: Height and width.
        matrix: (3, 3) intrinsics of the canvas.
        mount: (3, 4) takes points of the vehicle to the camera; None where nobody told.
        stored: Height and width of the stored image.
        content: Top, left, height and width of the image's pixels on the canvas.
        window: Top, left, height and width of the part of the stored image that they show.
        flip: The content is mirrored.
    """

    canvas: tuple[int, int]
    matrix: Floats
    mount: Floats | None
    stored: tuple[int, int]
    content: tuple[float, float, float, float]
    window: tuple[float, float, float, float]
    flip: bool

    @property
    def zoom(self) -> tuple[float, float]:
        """Stored pixels per pixel of the canvas, in x and in y."""
        return self.window[3] / self.content[3], self.window[2] / self.content[2]

    def stored_matrix(self) -> Floats:
        """Intrinsics of the stored image."""
        top, left, _, width = self.content
        matrix = crop_camera(self.matrix, top, left)
        if self.flip:
            matrix = flip_camera(matrix, int(width))
        return crop_camera(resize_camera(matrix, *self.zoom), -self.window[0], -self.window[1])

    def stored_boxes(self, boxes: Floats) -> Floats:
        """2-D boxes (N, 4) of the canvas in pixels of the stored image, cut at its border."""
        top, left, _, width = self.content
        moved = crop_boxes2d(boxes, top, left)
        if self.flip:
            moved = mirror_boxes2d(moved, int(width))
        moved = crop_boxes2d(resize_boxes2d(moved, *self.zoom), -self.window[0], -self.window[1])
        return clip_boxes2d(moved, self.stored)


@dataclass(frozen=True, eq=False)
class Detections:
    """The boxes that were found in an image, best first; there may be none.

    Args:
        boxes: K boxes in frame S.
        classes: (K,) class ids.
        scores: (K,) confidences in 0..1.
        modal: (K, 4) corners of what is seen, in pixels of the canvas.
        view: Camera and canvas.
    """

    boxes: Boxes3D
    classes: Ints
    scores: Floats
    modal: Floats
    view: View

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        return self.view.canvas

    def camera(self) -> VehicleCamera:
        """The camera of the canvas.

        Raises:
            DataError: Nobody told where it is in the vehicle.
        """
        if self.view.mount is None:
            raise DataError(
                "an image whose boxes are not labelled comes without its camera's place in the vehicle",
                "predict on images that have a file of boxes (with its `sensor`), be they empty.",
            )
        return VehicleCamera(self.view.matrix, self.view.mount, self.view.canvas)

    def on_stored(self) -> Detections:
        """The boxes in the stored image: its pixels, and not mirrored."""
        view, mount, boxes = self.view, self.view.mount, self.boxes
        if view.flip:
            boxes = mirror_boxes(boxes)
            mount = None if mount is None else _mirrored(mount)
        size = (0.0, 0.0, float(view.stored[0]), float(view.stored[1]))
        stored = View(view.stored, view.stored_matrix(), mount, view.stored, size, size, flip=False)
        return Detections(boxes, self.classes, self.scores, view.stored_boxes(self.modal), stored)

    def scored(self) -> BoxPredictions:
        """As the detection score compares them."""
        return BoxPredictions(self.boxes, self.classes, self.scores, self.modal)

    def within(self, content: Sequence[int]) -> Floats:
        """The boxes worth a look as a table of `mtdense.tasks.detection_3d.label`, on a part of the canvas.

        Args:
            content: Top, left, height and width.
        """
        keep = self.scores >= DRAWN
        boxes, none = self.boxes[keep], np.full(int(keep.sum()), UNKNOWN)
        mount = _NO_MOUNT if self.view.mount is None else self.view.mount
        camera = VehicleCamera(self.view.matrix, mount, self.view.canvas)
        # Not `BoxLabel.cropped`: that leaves out vehicles, and a prediction is drawn wherever it is.
        top, left, height, width = content
        label = BoxLabel(
            camera.cropped(top, left, height, width),
            convert_boxes(boxes, "V", camera),
            self.classes[keep],
            crop_boxes2d(amodal_boxes(boxes, camera), top, left),
            crop_boxes2d(self.modal[keep], top, left),
            none,
            none,
            none.astype(np.int64),
            np.zeros((0, 4)),
            np.zeros(0, np.int64),
        )
        return label.table()


def view_of(batch: Mapping[str, Any], place: int, task: str) -> View:
    """The view of one image of a batch.

    Intrinsics and the camera's place in the vehicle are those of the batch; what it does not know, the image's label
    may.

    Args:
        batch: A `Batch`.
        place: Place of the image.
        task: Name of the task, whose label knows the camera.

    Raises:
        DataError: No intrinsics, or a focal length that is not above 0.
        ConfigError: Intrinsics in half precision.
    """
    check_full_precision(batch["meta"]["camera"], task)
    canvas = (int(batch["image"].shape[-2]), int(batch["image"].shape[-1]))
    meta = batch["meta"]
    matrix, mount = _array(meta["camera"][place]), None
    if "mount" in meta and bool(meta["mount"][place].any()):
        mount = _array(meta["mount"][place])
    if task in batch.get("targets", {}) and bool(batch["labelled"][task][place]):
        target: CanvasBoxes = batch["targets"][task][place]
        mount = _array(target.camera_from_vehicle)
        if not matrix.any():
            # A protocol may hold labels at another size of the same aspect.
            height, width = target.size
            matrix = resize_camera(_array(target.camera), canvas[1] / width, canvas[0] / height)
    if not (np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise DataError(
            f"the image {batch['id'][place]!r} comes without a camera, or its focal lengths are not above 0: "
            f"{matrix[0, 0]:g} and {matrix[1, 1]:g}",
            f"give it its intrinsics, or leave {task} out of `data.tasks`: there are no boxes in space without them.",
        )
    height, width = (int(v) for v in meta["original_size"][place])
    content, window = _four(meta["content"][place]), _four(meta["window"][place])
    return View(canvas, matrix, mount, (height, width), content, window, bool(meta["flip"][place]))


def check_full_precision(values: Tensor, task: str) -> None:
    """Refuses pixels and metres in half precision: bfloat16 tells 1001 from 1004, and not from 1002.

    Raises:
        ConfigError: They are.
    """
    if values.dtype in (torch.bfloat16, torch.float16):
        raise ConfigError(
            f"{task} in true half precision, which rounds cameras and boxes in pixels and metres",
            "use `--trainer.precision bf16-mixed` (or 16-mixed), which keeps them as they are.",
        )


def scored_pair(found: Detections, target: CanvasBoxes) -> tuple[BoxPredictions, BoxTargets]:
    """What the detection score compares, all in pixels of the stored image.

    Args:
        found: Predictions.
        target: Labels of the same image, on a canvas of any size.
    """
    view, matrix = replace(found.view, mount=_array(target.camera_from_vehicle)), _array(target.camera)
    guess = replace(found, view=view).on_stored()
    camera = guess.camera()
    # Labels may lie on another canvas of the same view: intrinsics say how the one becomes the other.
    zoom = camera.matrix[0, 0] / matrix[0, 0], camera.matrix[1, 1] / matrix[1, 1]
    flipped = flip_camera(matrix, target.size[1]) if view.flip else matrix
    moved = resize_camera(flipped, *zoom)
    left, top = moved[0, 2] - camera.matrix[0, 2], moved[1, 2] - camera.matrix[1, 2]

    def stored(boxes: Tensor) -> Floats:
        corners = mirror_boxes2d(_array(boxes), target.size[1]) if view.flip else _array(boxes)
        return clip_boxes2d(crop_boxes2d(resize_boxes2d(corners, *zoom), top, left), view.stored)

    boxes = Boxes3D(_array(target.centers), _array(target.dimensions), _array(target.rotations), "S")
    truth = BoxTargets(
        mirror_boxes(boxes) if view.flip else boxes,
        _array(target.classes).astype(np.int64),
        stored(target.amodal),
        stored(target.modal),
        stored(target.ignored),
        camera,
    )
    return guess.scored(), truth


def _mirrored(mount: Floats) -> Floats:
    """A camera's place in the mirrored vehicle."""
    return VehicleCamera(np.eye(3), mount, (1, 1)).mirrored().camera_from_vehicle


def _array(values: Tensor) -> Floats:
    return np.asarray(values.detach().to("cpu", torch.float64).numpy())


def _four(values: Tensor) -> tuple[float, float, float, float]:
    a, b, c, d = (float(value) for value in values)
    return a, b, c, d
