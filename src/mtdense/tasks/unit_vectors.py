"""Compiled loops over maps of vectors; NumPy is slow along an axis of length 3."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtdense.core.jit import njit

__all__ = ["Lengths", "scale_to_unit"]


class Lengths(NamedTuple):
    """What `scale_to_unit` saw."""

    infinite: int
    """Vectors with a component that is not finite."""
    counted: int
    """Vectors longer than `shortest`."""
    long_enough: int
    """Of these, those of at least `median_at_least`."""
    longest: np.float32
    """Length of the longest of these; 0 where there is none."""


def scale_to_unit(
    vectors: NDArray[Any], shortest: float, median_at_least: float = 0.0, *, planar: bool = False
) -> tuple[NDArray[np.float32], Lengths]:
    """Brings vectors to unit length, and those that are not longer than `shortest` to zero.

    A length is the root of (x^2 + y^2) + z^2 in single precision, each step rounded: what `np.linalg.norm` gives.

    Args:
        vectors: (H, W, 3), taken as float32.
        shortest: Length up to which a vector counts for nothing.
        median_at_least: Of how many vectors the length is to be compared with this; see `Lengths`.
        planar: Lay the result out in memory channel by channel, as tensors are.

    Returns:
        (H, W, 3) float32, a new array; and what was seen.
    """
    height, width = vectors.shape[:2]
    source = np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1, 3)
    if planar:
        planes = np.empty((3, height, width), dtype=np.float32)
        flat, result = planes.reshape(3, -1).T, planes.transpose(1, 2, 0)
    else:
        result = np.empty((height, width, 3), dtype=np.float32)
        flat = result.reshape(-1, 3)
    seen = _scale(source, flat, np.float32(shortest), np.float32(median_at_least))
    return result, Lengths(*seen)


@njit
def _scale(source: Any, result: Any, shortest: Any, limit: Any) -> Any:
    infinite = counted = long_enough = 0
    longest = np.float32(0)
    for i in range(len(source)):
        x, y, z = source[i, 0], source[i, 1], source[i, 2]
        length = np.sqrt((x * x + y * y) + z * z)
        # A NaN or infinity is found by what it does to the sum; so is a length that overflows, looked at once more.
        if not length < np.inf:
            infinite += not (np.isfinite(x) and np.isfinite(y) and np.isfinite(z))
        some = length > shortest
        counted += some
        long_enough += some and length >= limit
        longest = max(longest, length) if some else longest
        divisor = length if some else np.float32(1)
        result[i, 0] = x / divisor if some else np.float32(0)
        result[i, 1] = y / divisor if some else np.float32(0)
        result[i, 2] = z / divisor if some else np.float32(0)
    return infinite, counted, long_enough, longest
