"""Mean absolute error over valid pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from mtdense.metrics.functional.checks import check_same_shape, check_valid, to_double

__all__ = ["absolute_error_compute", "absolute_error_update"]


def absolute_error_update(preds: Tensor, target: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sums of a batch.

    Args:
        preds: (B, ...) values.
        target: (B, ...) values, same shape and unit.
        valid: (B, ...) bool, pixels that count; None for all.

    Returns:
        Sum of absolute errors (scalar float64) and number of pixels (scalar int64).

    Raises:
        DataError: Shapes do not fit.
    """
    check_same_shape(preds, target)
    valid = check_valid(valid, target.shape, target.device)
    errors = (to_double(preds) - to_double(target)).abs()
    valid = valid.to(errors.device)
    return torch.where(valid, errors, 0.0).sum(), valid.sum()


def absolute_error_compute(total: Tensor, count: Tensor) -> Tensor:
    """Mean absolute error from summed totals and counts (scalar float64, unit of the values; NaN for count 0)."""
    return to_double(total) / to_double(count).to(total.device)
