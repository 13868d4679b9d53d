"""The canvas of a batch: resizing logits to it, and which of its pixels show the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["inside", "upsample", "zero_of"]


def upsample(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Logits (B, C, h, w) to (B, C, *size), bilinear with half-pixel centres, in float32."""
    logits = logits.float()
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)


def zero_of(logits: Tensor) -> Tensor:
    """A zero that depends on logits, so that their gradient is zero and not missing."""
    return logits.float().sum() * 0.0


def inside(content: Tensor, height: int, width: int) -> Tensor:
    """(B, height, width) float: 1 where the canvas shows the image; content is (B, 4), see `SampleMeta`."""
    rows = torch.arange(height, device=content.device)[None]
    columns = torch.arange(width, device=content.device)[None]
    top, left, content_height, content_width = (content[:, i, None] for i in range(4))
    in_rows = (rows >= top) & (rows < top + content_height)
    in_columns = (columns >= left) & (columns < left + content_width)
    return (in_rows[:, :, None] & in_columns[:, None, :]).float()
