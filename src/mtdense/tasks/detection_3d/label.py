"""The 3-D boxes of an image: as named arrays, and as the one table in which a label travels.

A table has a row of `COLUMNS` float64 numbers for the camera, one for each vehicle, and one for each region to ignore,
in this order; a column that a row does not need is 0:

| row | 0 | 1 | then |
|---|---|---|---|
| camera | 0 | height | width, intrinsics (9, by rows), vehicle to camera (12, by rows) |
| vehicle | 1 | class id | centre, size (3 each), rotation, amodal, modal (4 each), occlusion, truncation, instance |
| ignored | 2 | instance | box (4) |

Centres and rotations are in frame V of `mtdense.geometry.boxes`, 2-D boxes are corners x1, y1, x2, y2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from mtdense.geometry.boxes import (
    Boxes3D,
    VehicleCamera,
    clip_boxes2d,
    crop_boxes2d,
    mirror_boxes,
    mirror_boxes2d,
    resize_boxes2d,
)
from mtdense.tasks.label_kind import Placement

__all__ = ["CAMERA_ROW", "COLUMNS", "IGNORED_ROW", "UNKNOWN", "VEHICLES", "VEHICLE_ROW", "BoxLabel"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

VEHICLES = ("car", "truck", "bus", "train", "motorcycle", "bicycle")
"""Classes that are trained and scored, by class id."""

COLUMNS = 24
"""Numbers in a row of a table."""
CAMERA_ROW, VEHICLE_ROW, IGNORED_ROW = 0.0, 1.0, 2.0
"""First number of a row."""
UNKNOWN = -1.0
"""Occlusion and truncation where nobody told them."""


@dataclass(frozen=True, eq=False)
class BoxLabel:
    """Vehicles of an image, and regions in which detections count neither as right nor as wrong; N and M may be 0.

    Args:
        camera: Intrinsics, place in the vehicle, and size of the image.
        boxes: N boxes in frame V.
        classes: (N,) class ids.
        amodal: (N, 4) 2-D boxes of the whole vehicles, hidden parts included, within the image.
        modal: (N, 4) 2-D boxes of what is seen.
        occlusion: (N,) hidden share; -1 where unknown.
        truncation: (N,) share out of the picture; -1 where unknown.
        instances: (N,) ids in the data set's instance maps; -1 where unknown.
        ignored: (M, 4) 2-D boxes of the regions.
        ignored_instances: (M,) their ids.

    Raises:
        ValueError: Lengths that differ.
    """

    camera: VehicleCamera
    boxes: Boxes3D
    classes: Ints
    amodal: Floats
    modal: Floats
    occlusion: Floats
    truncation: Floats
    instances: Ints
    ignored: Floats
    ignored_instances: Ints

    def __post_init__(self) -> None:
        of_vehicles = (self.classes, self.amodal, self.modal, self.occlusion, self.truncation, self.instances)
        if any(len(values) != len(self.boxes) for values in of_vehicles) or self.boxes.frame != "V":
            raise ValueError("boxes in V, and one value for each, are needed")
        if len(self.ignored) != len(self.ignored_instances):
            raise ValueError("one instance id for each region is needed")

    def __len__(self) -> int:
        return len(self.boxes)

    # ---- tables ---------------------------------------------------------------------------------------------------
    @classmethod
    def from_table(cls, table: Floats) -> Self:
        """Reads a table that `BoxLabels.check_label` has passed."""
        head, kinds = table[0], table[:, 0]
        size = (int(head[1]), int(head[2]))
        camera = VehicleCamera(head[3:12].reshape(3, 3), head[12:24].reshape(3, 4), size)
        vehicles, ignored = table[kinds == VEHICLE_ROW], table[kinds == IGNORED_ROW]
        return cls(
            camera,
            Boxes3D(vehicles[:, 2:5], vehicles[:, 5:8], vehicles[:, 8:12]),
            vehicles[:, 1].astype(np.int64),
            vehicles[:, 12:16],
            vehicles[:, 16:20],
            vehicles[:, 20],
            vehicles[:, 21],
            vehicles[:, 22].astype(np.int64),
            ignored[:, 2:6],
            ignored[:, 1].astype(np.int64),
        )

    def table(self) -> Floats:
        """The label as a table (1 + N + M, `COLUMNS`)."""
        number = len(self.boxes)
        table = np.zeros((1 + number + len(self.ignored), COLUMNS))
        matrix, mount = self.camera.matrix, self.camera.camera_from_vehicle
        table[0] = [CAMERA_ROW, *self.camera.size, *matrix.ravel(), *mount.ravel()]
        vehicles, ignored = table[1 : 1 + number], table[1 + number :]
        vehicles[:, 0], ignored[:, 0] = VEHICLE_ROW, IGNORED_ROW
        vehicles[:, 1] = self.classes
        vehicles[:, 2:5], vehicles[:, 5:8] = self.boxes.centers, self.boxes.dimensions
        vehicles[:, 8:12] = self.boxes.rotations
        vehicles[:, 12:16], vehicles[:, 16:20] = self.amodal, self.modal
        vehicles[:, 20], vehicles[:, 21], vehicles[:, 22] = self.occlusion, self.truncation, self.instances
        ignored[:, 1], ignored[:, 2:6] = self.ignored_instances, self.ignored
        return table

    # ---- geometry -------------------------------------------------------------------------------------------------
    def select(self, vehicles: npt.NDArray[np.bool_], ignored: npt.NDArray[np.bool_]) -> Self:
        """Some of the vehicles and of the regions."""
        return replace(
            self,
            boxes=self.boxes[vehicles],
            classes=self.classes[vehicles],
            amodal=self.amodal[vehicles],
            modal=self.modal[vehicles],
            occlusion=self.occlusion[vehicles],
            truncation=self.truncation[vehicles],
            instances=self.instances[vehicles],
            ignored=self.ignored[ignored],
            ignored_instances=self.ignored_instances[ignored],
        )

    def resized(self, height: int, width: int) -> Self:
        """After the image was scaled: intrinsics and 2-D boxes move, metres do not."""
        zoom = (width / self.camera.size[1], height / self.camera.size[0])
        amodal, modal, ignored = (resize_boxes2d(boxes, *zoom) for boxes in (self.amodal, self.modal, self.ignored))
        return replace(self, camera=self.camera.resized(height, width), amodal=amodal, modal=modal, ignored=ignored)

    def cropped(self, top: int, left: int, height: int, width: int) -> Self:
        """After the image was cut: what is no longer seen is gone, other 2-D boxes end at the new border."""
        size = (height, width)
        amodal, modal, ignored = (crop_boxes2d(b, top, left) for b in (self.amodal, self.modal, self.ignored))
        kept = self.select(_touches(modal, size), _touches(ignored, size))
        return replace(
            kept,
            camera=self.camera.cropped(top, left, height, width),
            amodal=clip_boxes2d(amodal[_touches(modal, size)], size),
            modal=clip_boxes2d(modal[_touches(modal, size)], size),
            ignored=clip_boxes2d(ignored[_touches(ignored, size)], size),
        )

    def padded(self, top: int, left: int, height: int, width: int) -> Self:
        """On a canvas of a size, below so many rows and right of so many columns."""
        amodal, modal, ignored = (crop_boxes2d(b, -top, -left) for b in (self.amodal, self.modal, self.ignored))
        camera = self.camera.cropped(-top, -left, height, width)
        return replace(self, camera=camera, amodal=amodal, modal=modal, ignored=ignored)

    def mirrored(self) -> Self:
        """After the image, and with it the world, was mirrored left to right."""
        width = self.camera.size[1]
        amodal, modal, ignored = (mirror_boxes2d(boxes, width) for boxes in (self.amodal, self.modal, self.ignored))
        camera, boxes = self.camera.mirrored(), mirror_boxes(self.boxes)
        return replace(self, camera=camera, boxes=boxes, amodal=amodal, modal=modal, ignored=ignored)

    def placed(self, placement: Placement) -> Self:
        """On the canvas to which the image was brought."""
        moved = self if placement.scaled == self.camera.size else self.resized(*placement.scaled)
        moved = moved.cropped(*placement.crop)
        if placement.flip:
            moved = moved.mirrored()
        return moved.padded(*placement.padding, *placement.canvas)


def _touches(boxes: Floats, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which 2-D boxes reach into an image: pixels end half a pixel from their centres."""
    height, width = size
    inside = (boxes[:, 0] < width - 0.5) & (boxes[:, 1] < height - 0.5) & (boxes[:, 2:] > -0.5).all(axis=1)
    return np.asarray(inside)
