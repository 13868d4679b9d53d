"""Sums of float64 values without rounding, so that they do not depend on the order of images, batches or ranks."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["LIMBS", "exact_sum", "exact_value", "sum_per_image"]

# A sum is a whole number of units of 2^-1074, the smallest float64, in digits of 32 bits. 67 digits hold 2^46 times the
# largest float64; as int64, each digit takes 2^31 additions before it overflows.
_UNIT = 1074
_DIGITS = 67

LIMBS: int = _DIGITS + 3
"""Length of a sum: its digits, then how often NaN, +infinity and -infinity were added."""


def sum_per_image(values: Tensor) -> Tensor:
    """(B,) sums of (B, ...), each of which depends on its own image only.

    A sum over the whole batch at once adds in an order that follows from the batch size and the number of threads.
    """
    if len(values) == 0:
        return values.new_zeros(0)
    images = values.contiguous().reshape(len(values), -1, *values.shape[-1:]) if values.ndim > 1 else values[:, None]
    return torch.stack([image.sum(-1).sum() for image in images])


def exact_sum(values: Tensor) -> Tensor:
    """Sum over the first axis without rounding.

    Args:
        values: (N, ...) floating point.

    Returns:
        (..., LIMBS) int64; sums of these, in any order, are sums of the values. `exact_value` turns them into numbers.
    """
    columns = values.detach().double().cpu().reshape(len(values), -1) if len(values) else values.new_zeros(0, 0)
    shape = values.shape[1:]
    if columns.numel() == 0:
        return torch.zeros((*shape, LIMBS), dtype=torch.int64)
    limbs = np.stack([_to_limbs(column) for column in columns.T.tolist()])
    return torch.from_numpy(limbs).reshape(*shape, LIMBS)


def exact_value(limbs: Tensor) -> Tensor:
    """The float64 numbers (...) nearest to the sums (..., LIMBS), on the CPU.

    As in IEEE arithmetic, a NaN or infinities of both signs give NaN, and what is too large is infinite.
    """
    rows = limbs.detach().cpu().reshape(-1, LIMBS).tolist()
    return torch.tensor([_to_float(row) for row in rows], dtype=torch.float64).reshape(limbs.shape[:-1])


def _to_limbs(values: list[float]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    total = 0
    special = [0, 0, 0]
    for value in values:
        if math.isfinite(value):
            numerator, denominator = value.as_integer_ratio()
            total += numerator << (_UNIT + 1 - denominator.bit_length())
        else:
            special[0 if math.isnan(value) else 1 if value > 0 else 2] += 1
    limbs = np.zeros(LIMBS, dtype=np.int64)
    limbs[:_DIGITS] = np.frombuffer(abs(total).to_bytes(4 * _DIGITS, "little"), dtype="<u4")
    limbs[:_DIGITS] *= -1 if total < 0 else 1
    limbs[_DIGITS:] = special
    return limbs


def _to_float(limbs: list[int]) -> float:
    nans, above, below = limbs[_DIGITS:]
    if nans or (above and below):
        return math.nan
    if above or below:
        return math.inf if above else -math.inf
    total = sum(digit << (32 * place) for place, digit in enumerate(limbs[:_DIGITS]))
    try:
        return total / (1 << _UNIT)  # Python rounds the quotient of whole numbers once, to the nearest float
    except OverflowError:
        return math.inf if total > 0 else -math.inf
