"""Residual blocks that change the number of channels, for decoders."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.models.layers.conv_norm import conv_norm_relu

__all__ = ["Bottleneck", "ResidualBlock"]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, as `BasicBlock`, with a 1x1 convolution and norm on the shortcut where channels differ.

    Args:
        in_channels: Channels in.
        channels: Channels out.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv_norm_relu(in_channels, channels, 3), conv_norm_relu(channels, channels, 3, activation=False)
        )
        self.shortcut = _shortcut(in_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, channels, H, W)."""
        return F.relu(cast(Tensor, self.layers(x)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution (He et al., 2016), a quarter as wide inside; shortcut as in `ResidualBlock`.

    Args:
        in_channels: Channels in.
        channels: Channels out.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        hidden = channels // 4
        self.layers = nn.Sequential(
            conv_norm_relu(in_channels, hidden),
            conv_norm_relu(hidden, hidden, 3),
            conv_norm_relu(hidden, channels, activation=False),
        )
        self.shortcut = _shortcut(in_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, channels, H, W)."""
        return F.relu(cast(Tensor, self.layers(x)) + self.shortcut(x))


def _shortcut(in_channels: int, channels: int) -> nn.Module:
    return nn.Identity() if in_channels == channels else conv_norm_relu(in_channels, channels, activation=False)
