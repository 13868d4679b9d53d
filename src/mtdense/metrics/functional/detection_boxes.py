"""What the score of 3-D detection compares: the boxes of one image, labelled and predicted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mtdense.core.errors import DataError
from mtdense.geometry.boxes import Boxes3D, VehicleCamera, amodal_boxes, convert_boxes

__all__ = ["BoxPredictions", "BoxTargets", "amodal_of", "in_vehicle_frame"]

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Values = npt.ArrayLike | Tensor


@dataclass(frozen=True, eq=False)
class BoxTargets:
    """The labelled vehicles of an image; there may be none.

    2-D boxes are corners x1, y1, x2, y2 in pixels of the camera's image, as in `mtdense.geometry.boxes`; arrays or
    tensors.

    Args:
        boxes: N boxes in space, in any frame.
        labels: (N,) class ids.
        amodal: (N, 4) boxes of the whole vehicles.
        modal: (N, 4) boxes of what is seen of them.
        ignore: (M, 4) regions in which predictions that fit no target count for nothing.
        camera: What the image was taken with.

    Raises:
        DataError: Shapes that do not fit, or values that are no box.
    """

    boxes: Boxes3D
    labels: Integers
    amodal: Array
    modal: Array
    ignore: Array
    camera: VehicleCamera

    def __post_init__(self) -> None:
        count = len(self.boxes)
        object.__setattr__(self, "labels", _labels(self.labels, count, "targets"))
        object.__setattr__(self, "amodal", _boxes2d(self.amodal, count, "amodal boxes of targets"))
        object.__setattr__(self, "modal", _boxes2d(self.modal, count, "modal boxes of targets"))
        object.__setattr__(self, "ignore", _boxes2d(self.ignore, None, "regions to ignore"))

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, eq=False)
class BoxPredictions:
    """The vehicles that were found in an image; there may be none.

    Args:
        boxes: N boxes in space, in any frame.
        labels: (N,) class ids.
        scores: (N,) confidences in 0..1.
        modal: (N, 4) corners of what is seen of them, in pixels; None: that of the whole box in space.

    Raises:
        DataError: Shapes that do not fit, or values that are no box or no confidence.
    """

    boxes: Boxes3D
    labels: Integers
    scores: Array
    modal: Array | None = None
    _amodal: list[tuple[VehicleCamera, Array]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        count = len(self.boxes)
        object.__setattr__(self, "labels", _labels(self.labels, count, "predictions"))
        scores = _array(self.scores)
        if scores.shape != (count,) or not ((scores >= 0) & (scores <= 1)).all():
            raise DataError(
                f"scores of predictions, of shape {scores.shape}, are not {count} numbers in 0..1",
                "Give one confidence per box: sigmoid or softmax first.",
            )
        object.__setattr__(self, "scores", scores)
        if self.modal is not None:
            object.__setattr__(self, "modal", _boxes2d(self.modal, count, "modal boxes of predictions"))

    def __len__(self) -> int:
        return len(self.boxes)

    def amodal(self, camera: VehicleCamera) -> Array:
        """`amodal_of` these boxes; projected once, however many metrics ask with the same camera."""
        if not self._amodal or self._amodal[0][0] is not camera:
            self._amodal[:] = [(camera, amodal_of(self.boxes, camera))]
        return self._amodal[0][1]


def in_vehicle_frame(boxes: Boxes3D, camera: VehicleCamera) -> Boxes3D:
    """Boxes in V."""
    return boxes if boxes.frame == "V" else convert_boxes(boxes, "V", camera)


def amodal_of(boxes: Boxes3D, camera: VehicleCamera) -> Array:
    """Corners (N, 4) of the whole boxes in the image, to the last bit as if they had been stored as x, y, w, h.

    The last bit decides where overlaps tie.
    """
    corners = amodal_boxes(boxes, camera)
    return np.concatenate([corners[:, :2], corners[:, :2] + (corners[:, 2:] - corners[:, :2])], axis=1)


def _array(values: Values) -> Array:
    plain = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    return np.asarray(plain, dtype=np.float64)


def _labels(values: Values, count: int, what: str) -> Integers:
    labels = _array(values)
    labels = labels.reshape(0) if labels.size == 0 else labels
    if labels.shape != (count,) or not (np.isfinite(labels) & (labels == np.floor(labels)) & (labels >= 0)).all():
        raise DataError(
            f"labels of {what}, of shape {labels.shape}, are not {count} class ids", "Give one id of 0 or more per box."
        )
    return labels.astype(np.int64)


def _boxes2d(values: Values, count: int | None, what: str) -> Array:
    boxes = _array(values)
    boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or (count is not None and len(boxes) != count):
        raise DataError(f"{what} have shape {boxes.shape}, not ({'M' if count is None else count}, 4)", "Give corners.")
    if not (np.isfinite(boxes).all() and (boxes[:, :2] <= boxes[:, 2:]).all()):
        raise DataError(
            f"{what} are not all finite corners x1, y1, x2, y2 with x1 <= x2 and y1 <= y2",
            "Convert boxes x, y, w, h by `xyxy_from_xywh`, and remove boxes of networks that are turned inside out.",
        )
    return boxes
