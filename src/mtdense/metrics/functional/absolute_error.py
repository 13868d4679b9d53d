"""Absolute errors of valid pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from mtdense.metrics.functional.checks import check_same_shape, check_valid, count_per_image, to_double
from mtdense.metrics.functional.exact_sum import sum_per_image

__all__ = ["absolute_error_update"]


def absolute_error_update(preds: Tensor, target: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sums of the images of a batch; the mean absolute error is the quotient of their sums over the data set.

    Args:
        preds: (B, ...) values.
        target: (B, ...) values, same shape and unit.
        valid: (B, ...) bool, pixels that count; None for all.

    Returns:
        Sums of absolute errors (B,) float64 and numbers of pixels (B,) int64.

    Raises:
        DataError: Shapes do not fit.
    """
    check_same_shape(preds, target)
    valid = check_valid(valid, target.shape, target.device)
    errors = (to_double(preds) - to_double(target)).abs()
    valid = valid.to(errors.device)
    return sum_per_image(torch.where(valid, errors, 0.0)), count_per_image(valid)
