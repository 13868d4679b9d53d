"""Brings maps of logits to the size of what they are compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

__all__ = ["upsample"]


def upsample(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Logits (B, C, h, w) to (B, C, *size), bilinear with half-pixel centres, in float32."""
    logits = logits.float()
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)
