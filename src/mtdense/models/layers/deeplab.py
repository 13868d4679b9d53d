"""DeepLab v3's head (Chen et al., 2017) as V-MTL's survey puts it on dilated ResNets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtdense.models.layers.conv_norm import conv_norm_relu

__all__ = ["DeepLabHead"]


class DeepLabHead(nn.Module):
    """Atrous spatial pyramid pooling, 3x3 convolution, 1x1 logits.

    Args:
        in_channels: Channels in.
        num_outputs: Channels out.
        width: Channels between.
        rates: Dilations of the pyramid.
        dropout: Rate of dropout behind the pyramid.
    """

    def __init__(
        self,
        in_channels: int,
        num_outputs: int,
        width: int = 256,
        rates: Sequence[int] = (12, 24, 36),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.point = conv_norm_relu(in_channels, width)
        self.atrous = nn.ModuleList(conv_norm_relu(in_channels, width, 3, dilation=rate) for rate in rates)
        self.pooled = conv_norm_relu(in_channels, width)
        self.project = conv_norm_relu((2 + len(rates)) * width, width)
        self.dropout = nn.Dropout(dropout)
        self.conv = conv_norm_relu(width, width, 3)
        self.logits = nn.Conv2d(width, num_outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to logits (B, num_outputs, H, W)."""
        image = self.pooled(x.mean(dim=(-2, -1), keepdim=True))
        parts = [self.point(x), *(layer(x) for layer in self.atrous), image.expand(-1, -1, *x.shape[-2:])]
        y = self.dropout(self.project(torch.cat(parts, dim=1)))
        logits: Tensor = self.logits(self.conv(y))
        return logits
