"""Scale attentive feature fusion (SAFF): each scale of the shared encoder enriched by all the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.models.layers import conv_norm_relu, resize
from mtdense.models.tif.options import SAResize, TIFOptions

__all__ = ["ScaleAttentiveFusion"]


class ScaleAttentiveFusion(nn.Module):
    """SAFF at one scale i (equations 2 to 5).

    Y = W [P(X^j), j != i] brings the other scales to this one's size and concatenates them (scale alignment);
    SFX = SFF([XL^i, Y]) + XL^i, with SFF two 1x1 convolutions and a ReLU between them; then a depthwise 3x3
    convolution, ReLU, and a 1x1 convolution.

    Args:
        scale: i, 0 for the finest.
        source_channels: Channels of the maps X^j that alignment reads, of all scales in order.
        options: See `TIFOptions`.
    """

    def __init__(self, scale: int, source_channels: Sequence[int], options: TIFOptions) -> None:
        super().__init__()
        width, aligned, hidden = options.width, options.aligned_width, options.hidden_width
        others = sum(source_channels) - source_channels[scale]
        self.scale = scale
        self.down: SAResize = options.sa_resize
        self.align = (
            conv_norm_relu(others, aligned, activation=False) if options.sa_norm else nn.Conv2d(others, aligned, 1)
        )
        self.fuse = nn.Sequential(nn.Conv2d(width + aligned, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, width, 1))
        self.spatial = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, groups=width), nn.ReLU())
        # A task's projection begins with a convolution and batch norm, which takes a constant away.
        self.mix = nn.Conv2d(width, width, 1, bias=options.task_proj == "none")

    def forward(self, sources: Sequence[Tensor], reduced: Tensor) -> Tensor:
        """Maps X^j of all scales and XL^i (B, width, h_i, w_i) to the enriched map of the latter's size."""
        size = (reduced.shape[-2], reduced.shape[-1])
        others = [self._resize(x, size) for j, x in enumerate(sources) if j != self.scale]
        aligned = self.align(torch.cat(others, dim=1))
        fused = self.fuse(torch.cat([reduced, aligned], dim=1)) + reduced
        enriched: Tensor = self.mix(self.spatial(fused))
        return enriched

    def _resize(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if self.down == "adaptive_average" and x.shape[-2] >= size[0] and x.shape[-1] >= size[1]:
            return F.adaptive_avg_pool2d(x, size)
        return resize(x, size)
