"""The standard residual block of ResNet-18 and -34, for decoders."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BasicBlock"]


class BasicBlock(nn.Module):
    """3x3 conv, BN, ReLU, 3x3 conv, BN, identity, ReLU (He et al., 2016), with PyTorch's default initialisation.

    Args:
        channels: Channels in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(cast(Tensor, self.bn2(self.conv2(y))) + x)
