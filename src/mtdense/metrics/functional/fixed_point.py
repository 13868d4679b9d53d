"""Sums of shares (numbers in 0..1) as whole numbers: the same in any order, at two integers each.

`exact_sum` holds sums of any numbers; where there are thousands of sums, its 70 integers each are too many.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["PARTS", "from_fixed_point", "to_fixed_point"]

PARTS = 2
"""Integers of a number: units of 2^-31, and of 2^-62 the rest. Each takes 2^31 additions before it overflows."""

_BITS = 31

Integers = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]


def to_fixed_point(shares: npt.ArrayLike) -> Integers:
    """Numbers as multiples of 2^-62, the nearest: without loss for float64 of 2^-9 and more.

    Args:
        shares: (...) in 0..1.

    Returns:
        (..., PARTS) int64; sums of these are sums of the numbers.

    Raises:
        ValueError: A number is not in 0..1.
    """
    values = np.asarray(shares, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("a share is not in 0..1")
    scaled = values * 2.0**_BITS
    whole = np.floor(scaled)
    return np.stack([whole, np.rint((scaled - whole) * 2.0**_BITS)], axis=-1).astype(np.int64)


def from_fixed_point(sums: npt.ArrayLike) -> Array:
    """The float64 numbers (...) nearest to sums (..., PARTS)."""
    integers = np.asarray(sums, dtype=np.int64)
    # Python rounds the quotient of whole numbers once, to the nearest float.
    values = [((high << _BITS) + low) / (1 << 2 * _BITS) for high, low in integers.reshape(-1, PARTS).tolist()]
    return np.array(values, dtype=np.float64).reshape(integers.shape[:-1])
