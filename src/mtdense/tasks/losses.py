"""Building blocks of losses that are blind to invalid pixels."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["at_least_float32", "count", "mask_logits", "masked_sum", "mean_over_counts", "unit_vectors"]

TINY = 1e-6
"""Vectors shorter than this have no direction."""


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision to float32, so that sums over maps keep their digits under autocast."""
    return values if values.dtype == torch.float64 else values.float()


def mask_logits(logits: Tensor, valid: Tensor) -> Tensor:
    """Zeros where not valid, before any nonlinearity can make NaN of what stands there.

    Args:
        logits: (B, C, H, W).
        valid: (B, H, W) bool.
    """
    return torch.where(valid.unsqueeze(1), at_least_float32(logits), 0.0)


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """(B,) sums over the pixels of each image where `mask` holds; both (B, H, W)."""
    return torch.where(mask, values, 0.0).flatten(1).sum(1)


def count(*masks: Tensor) -> Tensor:
    """(B, M) int64 numbers of pixels in each of M masks (B, H, W)."""
    return torch.stack([mask.flatten(1).sum(1) for mask in masks], dim=1)


def mean_over_counts(sums: Tensor, counts: Tensor) -> Tensor:
    """(B,) first sum / first count, 0 where that count is 0."""
    return sums[:, 0] / counts[:, 0].clamp(min=1).to(sums.dtype)


def unit_vectors(vectors: Tensor) -> Tensor:
    """Vectors (B, 3, H, W) over their length; those shorter than `TINY` are left as they are.

    Left alone they count as no direction and pass the plain gradient on: finite, and a head that starts at zero learns.
    """
    squares = vectors.square().sum(dim=1, keepdim=True)
    some = squares > TINY**2
    # The inner `where` keeps the root's infinite slope at 0 out of the gradient.
    norm = torch.where(some, squares, 1.0).sqrt()
    return vectors / norm
