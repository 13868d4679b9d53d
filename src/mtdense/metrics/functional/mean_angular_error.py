"""Angle between predicted and true surface normals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtdense.core.errors import DataError
from mtdense.metrics.functional.checks import check_same_shape, check_valid, to_double

__all__ = ["ANGLE_LIMITS", "AngularSums", "angular_error", "mean_angular_error_compute", "mean_angular_error_update"]

ANGLE_LIMITS: tuple[float, ...] = (11.25, 22.5, 30.0)
"""Degrees below which the normal-estimation literature reports shares of pixels."""


@dataclass(frozen=True)
class AngularSums:
    """Sufficient statistics of angular errors; add them over batches and ranks.

    Args:
        total: Scalar float64, sum of angles in degrees.
        squares: Scalar float64, sum of squared angles.
        within: (3,) int64, pixels with an angle below each of `ANGLE_LIMITS`.
        count: Scalar int64, pixels scored.
    """

    total: Tensor
    squares: Tensor
    within: Tensor
    count: Tensor


def angular_error(preds: Tensor, target: Tensor, dim: int = 1) -> Tensor:
    """Angle in degrees between vectors along `dim`, as 2 atan2(|p - g|, |p + g|) of the unit vectors.

    This form (ATRC, InvPT) keeps its precision at 0 and 180 degrees, where the arc cosine of the dot product loses it.
    Lengths do not matter. A zero vector stays zero: 90 degrees against any direction, 0 against another zero vector.

    Args:
        preds: (B, 3, ...) vectors of any length.
        target: (B, 3, ...) vectors of any length.
        dim: Axis of the vector components.

    Returns:
        Angles, float64 in 0..180, without the axis `dim`.
    """
    unit_preds, unit_target = _unit(to_double(preds), dim), _unit(to_double(target), dim)
    apart, along = _length(unit_preds - unit_target, dim), _length(unit_preds + unit_target, dim)
    return torch.rad2deg(2 * torch.atan2(apart, along))


def mean_angular_error_update(preds: Tensor, target: Tensor, valid: Tensor | None = None) -> AngularSums:
    """Sums of a batch.

    Args:
        preds: (B, 3, H, W) vectors of any length.
        target: (B, 3, H, W) vectors of any length.
        valid: (B, H, W) bool, pixels that count; None for all. Zero targets must be masked here: as vectors they would
            score 90 degrees.

    Raises:
        DataError: Shapes do not fit.
    """
    check_same_shape(preds, target)
    if target.ndim < 2 or target.shape[1] != 3:
        raise DataError(
            f"normals must have shape (B, 3, H, W), not {tuple(target.shape)}", "Move the vector axis behind the batch."
        )
    valid = check_valid(valid, target[:, 0].shape, target.device)
    angles = angular_error(preds, target)
    valid = valid.to(angles.device)
    within = torch.stack([(valid & (angles < limit)).sum() for limit in ANGLE_LIMITS])
    angles = torch.where(valid, angles, 0.0)
    return AngularSums(angles.sum(), angles.square().sum(), within, valid.sum())


def mean_angular_error_compute(total: Tensor, count: Tensor) -> Tensor:
    """Mean angle in degrees from summed totals and counts (scalar float64; NaN for count 0)."""
    return to_double(total) / to_double(count).to(total.device)


def _unit(vectors: Tensor, dim: int) -> Tensor:
    norm = _length(vectors, dim).unsqueeze(dim)
    return vectors / torch.where(norm > 0, norm, 1.0)


def _length(vectors: Tensor, dim: int) -> Tensor:
    # Several times as fast on CPUs as `torch.linalg.vector_norm` along an axis of three.
    return vectors.square().sum(dim).sqrt()
