"""Bringing the maps of a pyramid to one resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["concat_pyramid"]


def concat_pyramid(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Resizes maps (B, C_i, h_i, w_i) bilinearly to `size` and concatenates them: (B, sum C_i, *size)."""
    return torch.cat([F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in maps], dim=1)
