"""Low-to-high scale feature diffusion (LTHD): attention of the low scales carried to a high one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.models.layers import conv_norm_relu, resize
from mtdense.models.tif.layers import FeedForward, to_map, to_tokens
from mtdense.models.tif.options import TIFOptions

__all__ = ["LowToHighDiffusion", "combine_attention", "resize_attention"]

Grid = tuple[int, int]


def resize_attention(scores: Tensor, old: Grid, new: Grid) -> Tensor:
    """Scores between all places of a grid to those of another grid, bilinear over queries, then over keys.

    That is U A U^T with U the bilinear interpolation from the old grid to the new.

    Args:
        scores: (B, heads, h * w, h * w) on `old`.
        old: Rows and columns now.
        new: Rows and columns wanted.

    Returns:
        (B, heads, H * W, H * W) on `new`.
    """
    for _ in range(2):
        # The queries (then, transposed, the keys) lie in space; what is not resized are channels.
        laid = scores.transpose(-2, -1).unflatten(-1, old)
        scores = resize(laid.flatten(0, 1), new).flatten(-2).unflatten(0, scores.shape[:2])
    return scores


def combine_attention(scores: Mapping[int, Tensor], grids: Mapping[int, Grid]) -> Tensor:
    """Equation 11: up(A^3) + A^2 on the grid of scale 2; with one of them, that one.

    Args:
        scores: {2 or 3: scores of that scale}, before the softmax.
        grids: {2 and 3: rows and columns}.
    """
    parts = [resize_attention(a, grids[i], grids[2]) for i, a in sorted(scores.items())]
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


class LowToHighDiffusion(nn.Module):
    """LTHD of one task at one high scale (equations 12 and 13).

    The map is pooled to the grid of the attention, O = softmax(A) (P W), and O after a feed-forward layer is resized
    and fused with the map.

    Args:
        options: See `TIFOptions`.
    """

    def __init__(self, options: TIFOptions) -> None:
        super().__init__()
        width = options.width
        self.num_heads = options.num_heads
        self.pool = options.lthd_pool
        self.columns = options.lthd_mixing == "columns"
        self.concat = options.lthd_fuse == "concat"
        self.detach = options.detach_attention
        self.value = nn.Linear(width, width, bias=options.linear_bias)
        # What follows is a convolution with batch norm.
        self.ffn = FeedForward(width, options.lthd_ffn_ratio, options.ffn_norm, options.lthd_ffn_residual, False)
        self.fuse = conv_norm_relu(2 * width if self.concat else width, width, activation=options.fuse_activation)

    def forward(self, x: Tensor, scores: Tensor, grid: Grid) -> Tensor:
        """Diffuses.

        Args:
            x: Map (B, width, h, w).
            scores: (B, heads, N, N), before the softmax.
            grid: Rows and columns of the N places.

        Returns:
            The refined map, of the size of `x`.
        """
        pooled = F.adaptive_avg_pool2d(x, grid) if self.pool == "average" else F.adaptive_max_pool2d(x, grid)
        value = self.value(to_tokens(pooled)).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        share = (scores.detach() if self.detach else scores).softmax(dim=-1)
        if self.columns:
            share = share.transpose(-2, -1)
        mixed = self.ffn((share @ value).transpose(1, 2).flatten(2))
        spread = resize(to_map(mixed, grid), (x.shape[-2], x.shape[-1]))
        refined: Tensor = self.fuse(torch.cat([spread, x], dim=1) if self.concat else spread + x)
        return refined
