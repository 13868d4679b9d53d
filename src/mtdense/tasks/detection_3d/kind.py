"""3-D boxes as a kind of label: checks, geometry, targets, pictures."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from mtdense.core.errors import DataError
from mtdense.tasks.checks import check_strings
from mtdense.tasks.detection_3d.draw import draw_boxes
from mtdense.tasks.detection_3d.label import CAMERA_ROW, COLUMNS, IGNORED_ROW, UNKNOWN, VEHICLE_ROW, VEHICLES, BoxLabel
from mtdense.tasks.detection_3d.target import CanvasBoxes, target_of
from mtdense.tasks.label_kind import ArrayAny, LabelKind, Placement

__all__ = ["BoxLabels"]

_MEND = "Mend the file, or take it from the archive again."


class BoxLabels(LabelKind):
    """3-D boxes of vehicles: centre, size, orientation, amodal and modal 2-D box, and regions to ignore.

    A label is a table, see `mtdense.tasks.detection_3d.label`; a table without vehicles is the label of an image that
    shows none. Scaling, cutting and padding move the intrinsics and 2-D boxes, never metres: a zoomed image is that of
    a camera with a longer lens. A mirror shows the mirrored world: centres, orientations and the camera follow.

    Args:
        class_names: One name per class id; None: those of Cityscapes 3D.

    Raises:
        ConfigError: An argument makes no sense.
    """

    name: ClassVar[str] = "detection_3d"
    label_dtype: ClassVar[type[np.generic]] = np.float64
    needs_camera = True
    stored_as = "boxes"
    meaning_keys: ClassVar[tuple[str, ...]] = ("class_names",)

    def __init__(self, class_names: list[str] | None = None) -> None:
        names = list(VEHICLES) if class_names is None else class_names
        length = len(names) if isinstance(names, list) and names else 1
        self.class_names = check_strings(names, f"{self.name}.class_names", length)

    @property
    def spec(self) -> dict[str, Any]:
        """Keyword arguments that rebuild this task."""
        return {"class_names": list(self.class_names)}

    def invalid_label(self, height: int, width: int) -> ArrayAny:
        """A camera row with nothing but the size."""
        table = np.zeros((1, COLUMNS))
        table[0, 1:3] = height, width
        return table

    def check_label(self, label: ArrayAny, source: str) -> ArrayAny:
        """A table whose every row makes sense, as float64.

        Raises:
            DataError: It is no such table, or a number is out of range; names `source`, the row and the number.
        """
        if label.ndim != 2 or label.shape[1] != COLUMNS or not len(label) or label.dtype.kind != "f":
            raise DataError(
                f"{source}: 3-D boxes must be a table of {COLUMNS} columns, not {label.shape} of {label.dtype}", _MEND
            )
        table = label.astype(np.float64)
        if not np.isfinite(table).all():
            row, column = np.argwhere(~np.isfinite(table))[0]
            raise DataError(f"{source}: row {row} of its 3-D boxes holds {table[row, column]}", _MEND)
        self._check_camera(table, source)
        vehicles, ignored = table[:, 0] == VEHICLE_ROW, table[:, 0] == IGNORED_ROW
        dimensions, norms = table[:, 5:8].min(axis=1), np.linalg.norm(table[:, 8:12], axis=1)
        shares = table[:, 20:22]
        known = (shares == UNKNOWN) | ((shares >= 0) & (shares <= 1))
        whole = (table[:, 1] == np.rint(table[:, 1])) & (table[:, 1] >= 0)
        faults = {
            "is neither a vehicle nor a region to ignore": ~vehicles & ~ignored & (np.arange(len(table)) > 0),
            f"has a class that is none of 0..{len(self.class_names) - 1}": vehicles
            & ~(whole & (table[:, 1] < len(self.class_names))),
            "has a length, width or height that is not above 0": vehicles & (dimensions <= 0),
            "has a rotation of a length other than 1": vehicles & (np.abs(norms - 1) > 1e-3),
            "has an amodal box of negative size": vehicles & _negative(table[:, 12:16]),
            "has a modal box of negative size": vehicles & _negative(table[:, 16:20]),
            "has an occlusion or truncation that is no share": vehicles & ~known.all(axis=1),
            "is a region of negative size": ignored & _negative(table[:, 2:6]),
        }
        for fault, rows in faults.items():
            if rows.any():
                row = int(np.flatnonzero(rows)[0])
                raise DataError(f"{source}: row {row} of its 3-D boxes {fault}: {table[row].tolist()}", _MEND)
        return table

    @staticmethod
    def _check_camera(table: ArrayAny, source: str) -> None:
        height, width, fx, fy = table[0, 1], table[0, 2], table[0, 3], table[0, 7]
        if table[0, 0] != CAMERA_ROW or min(height, width) < 1 or height != int(height) or width != int(width):
            raise DataError(f"{source}: its 3-D boxes do not begin with a camera: {table[0].tolist()}", _MEND)
        if fx <= 0 or fy <= 0:
            raise DataError(f"{source}: its camera has the focal lengths {fx} and {fy}", _MEND)
        try:
            BoxLabel.from_table(table[:1])
        except ValueError as error:
            raise DataError(f"{source}: its camera makes no sense ({error})", _MEND) from error

    def label_size(self, label: ArrayAny) -> tuple[int, int]:
        """Height and width of the camera's image."""
        return int(label[0, 1]), int(label[0, 2])

    def place_label(self, label: ArrayAny, placement: Placement, zoom: float) -> ArrayAny:
        """Boxes in the picture as it was scaled, cut, mirrored and padded; vehicles that were cut away are gone."""
        return BoxLabel.from_table(label).placed(placement).table()

    def to_target(self, label: ArrayAny) -> CanvasBoxes:
        """The boxes in frame S."""
        if not label[0, 3:].any():  # the label of an image that has none
            return CanvasBoxes(torch.from_numpy(label.astype(np.float32)))
        return target_of(BoxLabel.from_table(label))

    def draw_over(
        self, image: npt.NDArray[np.uint8], values: ArrayAny, like: ArrayAny | None = None
    ) -> npt.NDArray[np.uint8]:
        """Boxes in their classes' colours in the image, which is darkened."""
        return draw_boxes(image, BoxLabel.from_table(values), len(self.class_names))


def _negative(boxes: ArrayAny) -> npt.NDArray[np.bool_]:
    return np.asarray((boxes[:, 2:] < boxes[:, :2]).any(axis=1))
