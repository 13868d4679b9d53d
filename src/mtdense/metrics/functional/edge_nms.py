"""Non-maximum suppression of edge maps as SEISM's reader of HED predictions does it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mtdense.core.errors import DataError
from mtdense.core.jit import njit

__all__ = ["edge_orientation", "suppress_non_maxima", "suppress_non_maxima_reference"]

Array = Any

_TRIANGLE = (np.array([1, 2, 3, 4, 5, 4, 3, 2, 1], dtype=np.float32) / np.float32(25)).astype(np.float32)
# An edge must be this much weaker than a neighbour across it to go.
_SLACK = np.float32(1.01)
# Strength fades linearly to 0 over as many pixels towards the border of the image, but over no more than half its
# shorter side.
_BORDER = 5


def suppress_non_maxima(edges: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sets to 0 what is weaker than its neighbour across the edge, and fades the border of the image.

    The values of `edgesNms` of the Structured Edge toolbox (Dollár and Zitnick, 2015) with radius 1, border 5 and
    multiplier 1.01 and the orientation of `edgesDetect`, without the smoothing that toolbox's own detector applies
    before: so SEISM's `read_one_cont_png` calls it.

    Args:
        edges: (H, W) float32 strength in [0, 1], H and W at least 2.

    Returns:
        (H, W) float32.

    Raises:
        DataError: `edges` has another shape or type, or a value is not a number or outside [0, 1].
    """
    edges = _checked(edges)
    thinned = edges.copy()
    _suppress(edges, edge_orientation(edges), _SLACK, thinned)
    return _fade(thinned)


def suppress_non_maxima_reference(edges: NDArray[np.float32]) -> NDArray[np.float32]:
    """`suppress_non_maxima` in plain NumPy: its oracle."""
    edges = _checked(edges)
    height, width = edges.shape
    angle = edge_orientation(edges)
    # Angles are float32; sine and cosine are taken in double precision and rounded, as one processor's float32 sine is
    # not another's.
    cosine, sine = (f(angle.astype(np.float64)).astype(np.float32) for f in (np.cos, np.sin))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    weaker = np.zeros(edges.shape, dtype=np.bool_)
    for side in (np.float32(-1), np.float32(1)):
        x = np.clip(columns + side * cosine, np.float32(0), np.float32(width - 1.001))
        y = np.clip(rows + side * sine, np.float32(0), np.float32(height - 1.001))
        left, top = x.astype(np.int64), y.astype(np.int64)
        a, b = x - left.astype(np.float32), y - top.astype(np.float32)
        one = np.float32(1)
        across = (
            edges[top, left] * (one - a) * (one - b)
            + edges[top, left + 1] * a * (one - b)
            + edges[top + 1, left] * (one - a) * b
            + edges[top + 1, left + 1] * a * b
        )
        weaker |= edges * _SLACK < across
    return _fade(np.where(weaker, np.float32(0), edges))


def edge_orientation(edges: NDArray[np.float32]) -> NDArray[np.float32]:
    """Direction across the edge at every pixel, from second derivatives of the smoothed map.

    The toolbox's formula as it is: its ratio of derivatives is the square of the tangent, so that directions are drawn
    towards the axes, and it gives 0 where the mixed derivative vanishes, as on a perfectly level line.

    Args:
        edges: (H, W) float32.

    Returns:
        (H, W) float32 radians in [0, pi], 0 along the columns of a row, growing downwards.
    """
    smooth = ndimage.correlate1d(edges, _TRIANGLE, axis=0, mode="reflect")
    smooth = ndimage.correlate1d(smooth, _TRIANGLE, axis=1, mode="reflect")
    dy, dx = np.gradient(smooth)
    dxx = np.gradient(dx, axis=1)
    dyy, dxy = np.gradient(dy)
    # np.sign(-0.0) is 0, as in MATLAB.
    slope = dyy * np.sign(-dxy) / (dxx + np.float32(1e-5))
    orientation: NDArray[np.float32] = np.mod(np.arctan(slope), np.float32(np.pi)).astype(np.float32)
    return orientation


def _checked(edges: NDArray[np.float32]) -> NDArray[np.float32]:
    edges = np.asarray(edges)
    if edges.ndim != 2 or min(edges.shape) < 2:
        raise DataError(f"an edge map has shape {edges.shape}", "Give one (H, W) map of at least 2 × 2 pixels.")
    if edges.dtype != np.float32:
        raise DataError(f"an edge map holds {edges.dtype} values", "Give float32 values in [0, 1].")
    # A comparison with NaN is False.
    if not (edges.min() >= 0 and edges.max() <= 1):
        wrong = edges[~((edges >= 0) & (edges <= 1))][0]
        raise DataError(f"an edge map holds {wrong}", "Give probabilities in [0, 1], such as the sigmoid of logits.")
    return np.ascontiguousarray(edges)


def _fade(edges: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiplies columns, then rows, near the border by their distance to it over `_BORDER`; in place."""
    reach = min(_BORDER, min(edges.shape) // 2)
    for axis in (1, 0):
        size = edges.shape[axis]
        lines = np.moveaxis(edges, axis, 0)
        for distance in range(reach):
            factor = np.float32(distance / reach)
            lines[distance] *= factor
            lines[size - 1 - distance] *= factor
    return edges


@njit
def _suppress(edges: Array, orientation: Array, slack: Any, out: Array) -> None:
    height, width = edges.shape
    right, bottom, zero, one = np.float32(width - 1.001), np.float32(height - 1.001), np.float32(0), np.float32(1)
    for row in range(height):
        for column in range(width):
            strength = np.float32(edges[row, column] * slack)
            if strength == zero:
                continue
            angle = np.float64(orientation[row, column])
            cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
            for side in (np.float32(-1), np.float32(1)):
                x = min(max(np.float32(np.float32(column) + side * cosine), zero), right)
                y = min(max(np.float32(np.float32(row) + side * sine), zero), bottom)
                left, top = int(x), int(y)
                a, b = np.float32(x - np.float32(left)), np.float32(y - np.float32(top))
                across = (
                    edges[top, left] * (one - a) * (one - b)
                    + edges[top, left + 1] * a * (one - b)
                    + edges[top + 1, left] * (one - a) * b
                    + edges[top + 1, left + 1] * a * b
                )
                if strength < np.float32(across):
                    out[row, column] = zero
                    break
