"""What HRNet's segmentation network does with its branches: all to the finest, one 1x1 convolution."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mtdense.models.layers.conv_norm import conv_norm_relu
from mtdense.models.layers.fusion import concat_pyramid

__all__ = ["BranchFusion"]


class BranchFusion(nn.Module):
    """Maps resized to the finest and concatenated; 1x1 convolution of the same width, with bias, norm and ReLU.

    Args:
        channels: Channels of each map.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = sum(channels)
        self.layers = conv_norm_relu(self.channels, self.channels, bias=True)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (B, C_i, h_i, w_i), finest first, to (B, sum C_i, h_0, w_0)."""
        fused: Tensor = self.layers(concat_pyramid(maps, (maps[0].shape[-2], maps[0].shape[-1])))
        return fused
