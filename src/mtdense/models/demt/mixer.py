"""The deformable mixer: channels first, then places."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtdense.models.layers.deformable_conv import deformable_conv2d
from mtdense.models.layers.precision import full_precision

__all__ = ["ChannelOffsets", "DeformableMixer"]

SIDE = 3
"""Side of the square of taps whose places the offsets are made of."""


class ChannelOffsets(nn.Module):
    """By how much each channel is moved at each place.

    A 3x3 convolution gives the displacements of nine taps, as in a deformable convolution of that size; added to where
    the taps stand, they are no sampling places but the input of a second 3x3 convolution. Its first group sees rows
    and serves the first half of the channels, its second group sees columns and serves the others.

    Args:
        width: Channels.
        absolute: Tap places count from the map's upper left corner, as in the public code, or from their centre.
    """

    def __init__(self, width: int, absolute: bool = True) -> None:
        super().__init__()
        self.absolute = absolute
        self.taps = nn.Conv2d(width, 2 * SIDE**2, 3, padding=1)
        nn.init.zeros_(self.taps.weight)
        self.spread = nn.Conv2d(2 * SIDE**2, 2 * width, 3, padding=1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to (B, 2 width, H, W): down and to the right, in turns."""
        # Half precision cannot tell neighbouring places of a large map apart.
        with full_precision(x.device):
            moved = self.taps(x.to(self.taps.weight.dtype))
            offsets: Tensor = self.spread(moved + self._places(moved))
        return offsets

    def _places(self, like: Tensor) -> Tensor:
        """(1, 18, H, W) rows, then columns, of the taps around each place; the first row and column are 1."""
        height, width = like.shape[-2:]
        step = torch.arange(SIDE, device=like.device) - SIDE // 2
        rows, columns = (t.reshape(-1, 1, 1) for t in torch.meshgrid(step, step, indexing="ij"))
        start = torch.arange(max(height, width), device=like.device) + 1 if self.absolute else like.new_zeros(1)
        rows = (rows + start[:height, None]).expand(-1, height, width)
        columns = (columns + start[None, :width]).expand(-1, height, width)
        return torch.cat([rows, columns])[None].to(like.dtype)


class DeformableMixer(nn.Module):
    """A 1x1 convolution that mixes channels, and around it a deformable one whose channels move each on their own.

    Args:
        width: Channels.
        absolute: See `ChannelOffsets`.
    """

    def __init__(self, width: int, absolute: bool = True) -> None:
        super().__init__()
        self.channels = nn.Sequential(nn.Conv2d(width, width, 1), nn.GELU(), nn.BatchNorm2d(width))
        self.offsets = ChannelOffsets(width, absolute)
        self.weight = nn.Parameter(torch.empty(width, width, 1, 1))
        self.bias = nn.Parameter(torch.empty(width))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        nn.init.uniform_(self.bias, -(width**-0.5), width**-0.5)
        self.places = nn.Sequential(nn.GELU(), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same."""
        x = self.channels(x)
        moved: Tensor = self.places(deformable_conv2d(x, self.offsets(x), self.weight, self.bias))
        return moved + x
