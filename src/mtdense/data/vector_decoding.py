"""The compiled loop that decodes stored normals."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mtdense.core.jit import njit

__all__ = ["Decoded", "decode_vectors"]

SHORTEST = 0.5
"""Length up to which a vector counts for nothing: mid-grey, the usual code for "none" in pictures, is almost zero."""

TOLERANCE = 0.2
"""Difference from length 1 above which a vector is no unit vector."""

_LEVELS = 2 * np.arange(256, dtype=np.float64) / 255 - 1


class Decoded(NamedTuple):
    """What became of stored vectors."""

    vectors: npt.NDArray[np.float32]
    """(H, W, 3) of length 1, or zero."""
    there: int
    """Vectors longer than `SHORTEST`."""
    off: int
    """Of these, those that are no unit vectors; they are zero in `vectors`."""
    away: int
    """Of the others, those that point away from the camera."""


def decode_vectors(
    stored: npt.NDArray[Any], ignored: npt.NDArray[np.bool_] | None, axes: list[tuple[int, float]]
) -> Decoded:
    """Decodes vectors, in double precision as NumPy would, and brings them to unit length.

    Whole numbers are read as pictures: 2 * value / 255 - 1, or 65535 where they have more than 8 bits. Zero in all
    channels, and values that are not finite, are no vectors.

    Args:
        stored: (H, W, 3).
        ignored: (H, W), pixels that count for nothing; None: none.
        axes: (camera axis, sign) by stored channel.
    """
    height, width = stored.shape[:2]
    values = np.ascontiguousarray(stored).reshape(-1, 3)
    absent: npt.NDArray[np.bool_] = np.zeros(0, np.bool_) if ignored is None else np.ascontiguousarray(ignored).ravel()
    levels: npt.NDArray[np.float64] = _LEVELS
    if values.dtype != np.uint8:
        zero = np.asarray(~values.any(axis=1))
        absent, levels = (zero if ignored is None else np.logical_or(absent, zero)), np.empty(0)
        whole = values.dtype.kind in "iu"
        values = values.astype(np.float64)
        if whole:
            values = 2 * values / (65535 if stored.dtype.itemsize > 1 else 255) - 1
    result = np.empty((height, width, 3), dtype=np.float32)
    order = np.array([axis for axis, _ in axes])
    signs = np.array([sign for _, sign in axes], dtype=np.float64)
    seen = _decode(values, levels, absent, order, signs, result.reshape(-1, 3))
    return Decoded(result, *seen)


@njit
def _decode(stored: Any, levels: Any, absent: Any, order: Any, signs: Any, result: Any) -> Any:
    there = off = away = 0
    coded, some_absent = len(levels) > 0, len(absent) > 0
    x_axis, y_axis, z_axis = order[0], order[1], order[2]
    forward = int(np.argmax(order))  # the stored channel of camera z, which is axis 2
    for i in range(len(stored)):
        if coded:
            a, b, c = int(stored[i, 0]), int(stored[i, 1]), int(stored[i, 2])
            x, y, z = levels[a], levels[b], levels[c]
            known = a != 0 or b != 0 or c != 0
        else:
            x, y, z = float(stored[i, 0]), float(stored[i, 1]), float(stored[i, 2])
            known = np.isfinite(x) and np.isfinite(y) and np.isfinite(z)
        if some_absent and absent[i]:
            known = False
        length = np.sqrt((x * x + y * y) + z * z) if known else 0.0
        result[i, 0] = result[i, 1] = result[i, 2] = 0.0
        if length > SHORTEST:
            there += 1
            if abs(length - 1) > TOLERANCE:
                off += 1
            else:
                result[i, x_axis] = signs[0] * x / length
                result[i, y_axis] = signs[1] * y / length
                result[i, z_axis] = signs[2] * z / length
                toward = (x, y, z)[forward] * signs[forward]
                away += toward > 0
    return there, off, away
