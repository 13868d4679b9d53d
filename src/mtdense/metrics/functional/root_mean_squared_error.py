"""Squared errors of valid pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from mtdense.metrics.functional.checks import check_same_shape, check_valid, count_per_image, to_double
from mtdense.metrics.functional.exact_sum import sum_per_image

__all__ = ["rmse_update"]


def rmse_update(
    preds: Tensor, target: Tensor, valid: Tensor | None = None, per_image: bool = False
) -> tuple[Tensor, Tensor]:
    """Sums of the images of a batch.

    The quotient of their sums over the data set is the mean squared error or, with `per_image`, the mean of roots.

    Args:
        preds: (B, ...) values.
        target: (B, ...) values, same shape and unit.
        valid: (B, ...) bool, pixels that count; None for all.
        per_image: Give roots and images rather than squares and pixels.

    Returns:
        Totals (B,) float64 and counts (B,) int64: squared errors and pixels; or the root over the image, and 1 where it
        has a valid pixel and 0 where not.

    Raises:
        DataError: Shapes do not fit.
    """
    check_same_shape(preds, target)
    valid = check_valid(valid, target.shape, target.device)
    squares = (to_double(preds) - to_double(target)).square()
    valid = valid.to(squares.device)
    totals = sum_per_image(torch.where(valid, squares, 0.0))
    pixels = count_per_image(valid)
    if not per_image:
        return totals, pixels
    return (totals / pixels.clamp(min=1)).sqrt(), (pixels > 0).long()
