"""The canvas of a batch: resizing logits to it, and which of its pixels show the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtdense.tasks.resize import upsample

__all__ = ["inside", "upsample", "zero_of"]


def zero_of(logits: Tensor | Sequence[Tensor]) -> Tensor:
    """A zero that depends on logits, of one level or of several, so that their gradient is zero and not missing."""
    maps = [logits] if isinstance(logits, Tensor) else list(logits)
    return torch.stack([level.float().sum() for level in maps]).sum() * 0.0


def inside(content: Tensor, height: int, width: int) -> Tensor:
    """(B, height, width) float: 1 where the canvas shows the image; content is (B, 4), see `SampleMeta`."""
    rows = torch.arange(height, device=content.device)[None]
    columns = torch.arange(width, device=content.device)[None]
    top, left, content_height, content_width = (content[:, i, None] for i in range(4))
    in_rows = (rows >= top) & (rows < top + content_height)
    in_columns = (columns >= left) & (columns < left + content_width)
    return (in_rows[:, :, None] & in_columns[:, None, :]).float()
