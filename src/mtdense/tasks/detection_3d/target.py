"""What a network is trained on: the boxes of an image as the camera sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtdense.geometry.boxes import Boxes3D, VehicleCamera, convert_boxes
from mtdense.tasks.detection_3d.label import IGNORED_ROW, VEHICLE_ROW, BoxLabel

__all__ = ["CanvasBoxes", "target_of"]


class CanvasBoxes(NamedTuple):
    """Boxes on the canvas; one tensor, so that loaders pin, share and move it as any other.

    Rows and columns are those of the label's table (see `label`), save that centres and rotations are in frame S: x
    right, y down, z forward. An image without a label has no row but the camera's, whose intrinsics are zeros; so
    have those of images without boxes, with a camera, and only `labelled` says that these have none.

    Args:
        table: (1 + N + M, 24) float32.
    """

    table: Tensor

    @property
    def camera(self) -> Tensor:
        """(3, 3) intrinsics of the canvas; zeros without a label."""
        return self.table[0, 3:12].view(3, 3)

    @property
    def camera_from_vehicle(self) -> Tensor:
        """(3, 4) takes points of frame V to frame C; zeros without a label."""
        return self.table[0, 12:24].view(3, 4)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        return int(self.table[0, 1]), int(self.table[0, 2])

    @property
    def classes(self) -> Tensor:
        """(N,) int64 class ids."""
        return self._vehicles[:, 1].long()

    @property
    def centers(self) -> Tensor:
        """(N, 3) middles in S, in metres."""
        return self._vehicles[:, 2:5]

    @property
    def dimensions(self) -> Tensor:
        """(N, 3) length, width and height in metres."""
        return self._vehicles[:, 5:8]

    @property
    def rotations(self) -> Tensor:
        """(N, 4) quaternions w, x, y, z in S."""
        return self._vehicles[:, 8:12]

    @property
    def amodal(self) -> Tensor:
        """(N, 4) corners of the whole vehicles' 2-D boxes."""
        return self._vehicles[:, 12:16]

    @property
    def modal(self) -> Tensor:
        """(N, 4) corners of the 2-D boxes of what is seen."""
        return self._vehicles[:, 16:20]

    @property
    def occlusion(self) -> Tensor:
        """(N,) hidden share; -1 where unknown."""
        return self._vehicles[:, 20]

    @property
    def truncation(self) -> Tensor:
        """(N,) share out of the stored picture; -1 where unknown."""
        return self._vehicles[:, 21]

    @property
    def instances(self) -> Tensor:
        """(N,) int64 ids in the data set's instance maps."""
        return self._vehicles[:, 22].long()

    @property
    def ignored(self) -> Tensor:
        """(M, 4) corners of regions in which detections do not count."""
        return self.table[self.table[:, 0] == IGNORED_ROW][:, 2:6]

    def within(self, content: Sequence[int]) -> npt.NDArray[np.float64]:
        """The label's table again, cut to a part of the canvas: top, left, height and width.

        It has the digits of float32. The image must be labelled.
        """
        table = self.table.detach().cpu().double().numpy().copy()
        camera = VehicleCamera(table[0, 3:12].reshape(3, 3), table[0, 12:24].reshape(3, 4), self.size)
        rows = table[:, 0] == VEHICLE_ROW
        boxes = convert_boxes(Boxes3D(table[rows, 2:5], table[rows, 5:8], table[rows, 8:12], "S"), "V", camera)
        table[rows, 2:5], table[rows, 8:12] = boxes.centers, boxes.rotations
        top, left, height, width = content
        return BoxLabel.from_table(table).cropped(top, left, height, width).table()

    @property
    def _vehicles(self) -> Tensor:
        return self.table[self.table[:, 0] == VEHICLE_ROW]


def target_of(label: BoxLabel) -> CanvasBoxes:
    """The target of a label that is on its canvas already."""
    seen = convert_boxes(label.boxes, "S", label.camera)
    table = label.table()
    vehicles = slice(1, 1 + len(label))
    table[vehicles, 2:5], table[vehicles, 8:12] = seen.centers, seen.rotations
    return CanvasBoxes(torch.from_numpy(table.astype(np.float32)))
