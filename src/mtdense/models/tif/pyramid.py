"""A pyramid of strides 4 to 32 from the maps of a plain vision transformer."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DeconvolutionPyramid"]


class DeconvolutionPyramid(nn.Module):
    """Four maps of stride 16 to strides 4, 8, 16 and 32.

    The first goes through two transposed 4x4 convolutions of stride 2, the second through one, the third stays, the
    fourth is halved by max-pooling. [inferred: of the usual ways the one whose parameters fit Table 10]

    Args:
        width: Channels of each map.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_stride_4 = nn.Sequential(_double(width), _double(width))
        self.to_stride_8 = _double(width)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """[(B, width, h, w)] * 4 to maps of (4h, 4w), (2h, 2w), (h, w) and (ceil(h / 2), ceil(w / 2))."""
        a, b, c, d = maps
        return [self.to_stride_4(a), self.to_stride_8(b), c, F.max_pool2d(d, 2, ceil_mode=True)]


def _double(width: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(width, width, 4, stride=2, padding=1)
