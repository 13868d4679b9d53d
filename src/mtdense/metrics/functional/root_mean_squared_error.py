"""Root mean squared error over valid pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from mtdense.metrics.functional.checks import check_same_shape, check_valid, to_double

__all__ = ["rmse_compute", "rmse_update"]


def rmse_update(
    preds: Tensor, target: Tensor, valid: Tensor | None = None, per_image: bool = False
) -> tuple[Tensor, Tensor]:
    """Sums of a batch.

    Args:
        preds: (B, ...) values.
        target: (B, ...) values, same shape and unit.
        valid: (B, ...) bool, pixels that count; None for all.
        per_image: Sum one root per image rather than squares.

    Returns:
        Total (scalar float64) and count (scalar int64): squared errors and pixels, or roots and images with at least
        one valid pixel.

    Raises:
        DataError: Shapes do not fit.
    """
    check_same_shape(preds, target)
    valid = check_valid(valid, target.shape, target.device)
    squares = (to_double(preds) - to_double(target)).square()
    valid = valid.to(squares.device)
    squares = torch.where(valid, squares, 0.0)
    if not per_image:
        return squares.sum(), valid.sum()
    pixels = valid.flatten(1).sum(1)
    roots = (squares.flatten(1).sum(1) / pixels.clamp(min=1)).sqrt()
    return roots.sum(), (pixels > 0).sum()


def rmse_compute(total: Tensor, count: Tensor, per_image: bool = False) -> Tensor:
    """Root mean squared error from summed totals and counts (scalar float64, unit of the values; NaN for count 0)."""
    mean = to_double(total) / to_double(count).to(total.device)
    return mean if per_image else mean.sqrt()
