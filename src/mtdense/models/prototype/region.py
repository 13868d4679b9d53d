"""Which positions of a padded canvas count, and means over them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mtdense.models.layers.precision import full_precision

__all__ = ["grid_weights", "mean_weights", "weighted_mean"]


def grid_weights(shown: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, H, W), 1 where the canvas shows the image, to (B, h, w): the share of each position's area that does."""
    return F.adaptive_avg_pool2d(shown[:, None], size)[:, 0]


def mean_weights(weights: Tensor) -> Tensor:
    """Weights (B, ...) of at least 0 to (B, L) that sum to 1 for each image, or to 0 where all are 0."""
    flat = weights.flatten(1)
    return flat / flat.sum(1, keepdim=True).clamp(min=1e-6)


def weighted_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the L positions of (B, L) or (B, L, D), by `mean_weights` (B, L) or, for None, all alike."""
    if weights is None:
        return values.mean(1)
    if values.dim() == 2:
        return (values * weights).sum(1)
    with full_precision(values.device):
        # A product of matrices: `values * weights` would be a second copy of the features.
        return (weights[:, None] @ values.to(weights.dtype))[:, 0]
