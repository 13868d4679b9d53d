"""Puts a prediction on the canvas back on the grid of the image as it was stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import DataError
from mtdense.data.sample import BatchMeta
from mtdense.tasks.base import ArrayAny, Task

__all__ = ["CanvasGeometry", "restore_prediction"]

Positions = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CanvasGeometry:
    """Where an image lies on the canvas; see `SampleMeta`.

    Args:
        original_size: Height and width of the stored image.
        content: Top, left, height and width of the image's pixels on the canvas.
        window: Top, left, height and width of the original image's region that the content shows.
        flip: Whether the canvas is mirrored left to right.
    """

    original_size: tuple[int, int]
    content: tuple[int, int, int, int]
    window: tuple[float, float, float, float]
    flip: bool

    @classmethod
    def of(cls, meta: BatchMeta, index: int) -> CanvasGeometry:
        """Geometry of one image of a batch."""
        height, width = (int(v) for v in meta["original_size"][index])
        top, left, rows, columns = (int(v) for v in meta["content"][index])
        window = [float(v) for v in meta["window"][index]]
        return cls(
            original_size=(height, width),
            content=(top, left, rows, columns),
            window=(window[0], window[1], window[2], window[3]),
            flip=bool(meta["flip"][index]),
        )


def restore_prediction(task: Task, prediction: ArrayAny, geometry: CanvasGeometry) -> ArrayAny:
    """Undoes padding, mirroring and resizing.

    Class ids are resampled by nearest neighbour, everything else bilinearly (with pixel centres at halves). What a
    mirror does to values is undone by `Task.flip_label`, and `Task.finish_label` makes unit vectors of blended ones.
    Values are not rescaled: in evaluation no zoom is told to the tasks, so metres on the canvas are metres.

    Args:
        task: Task of the prediction.
        prediction: On the canvas, (H, W) or (H, W, 3).
        geometry: Where the image lies on the canvas.

    Returns:
        (height, width) or (height, width, 3) on the original grid: integers stay integers, others are float32. Pixels
        that the canvas does not show are `task.invalid`.

    Raises:
        DataError: The content does not lie on the canvas, or it or its window is empty.
    """
    content = _cut(prediction, geometry)
    if geometry.flip:
        content = task.flip_label(content)
    rows, row_inside = _source(geometry.original_size[0], geometry.window[0], geometry.window[2], content.shape[0])
    columns, column_inside = _source(
        geometry.original_size[1], geometry.window[1], geometry.window[3], content.shape[1]
    )
    if np.issubdtype(content.dtype, np.integer):
        values = _nearest(content, rows, columns)
    else:
        values = _bilinear(_bilinear(content.astype(np.float32), rows, 0), columns, 1)
        if task.label_channels > 1:
            values = _finish_vectors(task, values, content, rows, columns)
    values = np.ascontiguousarray(values)
    values[~(row_inside[:, None] & column_inside[None, :])] = task.invalid
    return values


def _cut(prediction: ArrayAny, geometry: CanvasGeometry) -> ArrayAny:
    top, left, height, width = geometry.content
    canvas = prediction.shape[:2]
    fits = top >= 0 and left >= 0 and top + height <= canvas[0] and left + width <= canvas[1]
    if not fits or min(height, width) < 1 or min(geometry.window[2:]) <= 0:
        raise DataError(
            f"content {geometry.content} and window {geometry.window} make no sense on a canvas of "
            f"{canvas[0]}x{canvas[1]}",
            "predict with the data module that made the batch.",
        )
    return prediction[top : top + height, left : left + width]


def _source(size: int, start: float, length: float, content: int) -> tuple[Positions, npt.NDArray[np.bool_]]:
    """Content coordinate (pixel centres at integers) of each original pixel, and whether the content shows it."""
    centres: Positions = np.arange(size, dtype=np.float64) + 0.5
    # `window` is float32: a border that misses a pixel's centre by rounding still holds it.
    inside = (centres > start - 1e-3) & (centres < start + length + 1e-3)
    return (centres - start) / length * content - 0.5, inside


def _finish_vectors(task: Task, blended: ArrayAny, content: ArrayAny, rows: Positions, columns: Positions) -> ArrayAny:
    """Finished vectors; where two almost cancelled, so that the task would drop the blend, the nearest one."""
    finished = task.finish_label(blended)
    dropped = (finished == task.invalid).all(-1)
    return np.where(dropped[..., None], _nearest(content.astype(np.float32), rows, columns), finished)


def _nearest(values: ArrayAny, rows: Positions, columns: Positions) -> ArrayAny:
    # Halves go up, as floor(x + 0.5) and unlike np.round, so that a pixel never depends on whether it is even.
    nearest_row = np.clip(np.floor(rows + 0.5), 0, values.shape[0] - 1).astype(np.intp)
    nearest_column = np.clip(np.floor(columns + 0.5), 0, values.shape[1] - 1).astype(np.intp)
    return values[nearest_row[:, None], nearest_column[None, :]]


def _bilinear(values: npt.NDArray[np.float32], positions: Positions, axis: int) -> npt.NDArray[np.float32]:
    """Linear interpolation along one axis; beyond the outermost centres the outermost value holds."""
    size = values.shape[axis]
    positions = np.clip(positions, 0, size - 1)
    low = np.floor(positions).astype(np.intp)
    high = np.minimum(low + 1, size - 1)
    shape = [1] * values.ndim
    shape[axis] = -1
    weight = (positions - low).astype(np.float32).reshape(shape)
    below, above = values.take(low, axis), values.take(high, axis)
    blended: npt.NDArray[np.float32] = below + weight * (above - below)
    return blended
