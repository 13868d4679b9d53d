"""Modulated deformable convolution in plain PyTorch, on any device.

* Zhu et al. Deformable ConvNets v2: More Deformable, Better Results. CVPR 2019.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ModulatedDeformableConv2d", "deformable_conv2d"]


def deformable_conv2d(
    image: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    mask: Tensor | None = None,
) -> Tensor:
    """A convolution whose taps are moved, and weighted, at every place of its own.

    Taps between pixels are read bilinearly; outside the image there are zeros. Channels of `offset` and `mask` are as
    in torchvision's `deform_conv2d`, of which this is the case of one group of weights.

    Args:
        image: (B, C, H, W).
        offset: (B, G 2 k k, h, w) by how much each of the k x k taps is moved, down and to the right, in turns, for
            each of G groups of C / G channels.
        weight: (O, C, k, k).
        bias: (O,).
        stride: Step between outputs.
        padding: Rows and columns of zeros around the image.
        dilation: Step between taps.
        mask: (B, G k k, h, w) weights of the taps; None: ones.

    Returns:
        (B, O, h, w).

    Raises:
        ValueError: Shapes that do not fit.
    """
    batch, channels, height, width = image.shape
    rows, columns = int(weight.shape[2]), int(weight.shape[3])
    taps = rows * columns
    size = tuple(
        (extent + 2 * padding - dilation * (count - 1) - 1) // stride + 1
        for extent, count in ((height, rows), (width, columns))
    )
    groups = max(1, offset.shape[1] // (2 * taps))
    fits = weight.shape[1] == channels and channels % groups == 0
    if not fits or tuple(offset.shape) != (batch, groups * 2 * taps, *size):
        raise ValueError(
            f"weights {tuple(weight.shape)} and offsets {tuple(offset.shape)} do not fit an image {tuple(image.shape)}"
        )
    if mask is not None and tuple(mask.shape) != (batch, groups * taps, *size):
        raise ValueError(f"a mask {tuple(mask.shape)} does not fit offsets {tuple(offset.shape)}")
    # Half precision cannot tell neighbouring pixels of a large map apart.
    exact = torch.promote_types(image.dtype, torch.float32)
    moved = offset.to(exact).reshape(batch * groups, taps, 2, *size)
    tap = torch.arange(taps, device=image.device)
    y = _starts(size[0], stride, padding, image.device)[None, :, None] + (tap // columns * dilation)[:, None, None]
    x = _starts(size[1], stride, padding, image.device)[None, None, :] + (tap % columns * dilation)[:, None, None]
    # grid_sample wants the image's borders at -1 and 1.
    places = torch.stack(
        [(2 * (x + moved[:, :, 1]) + 1) / width - 1, (2 * (y + moved[:, :, 0]) + 1) / height - 1], dim=-1
    )
    flat = places.view(batch * groups, taps * size[0], size[1], 2)
    grouped = image.to(exact).reshape(batch * groups, channels // groups, height, width)
    read = F.grid_sample(grouped, flat, mode="bilinear", padding_mode="zeros", align_corners=False)
    read = read.to(image.dtype).view(batch, groups, channels // groups, taps, *size)
    if mask is not None:
        read = read * mask.view(batch, groups, 1, taps, *size).to(read.dtype)
    read = read.view(batch, channels, taps, *size)
    summed = torch.einsum("bckhw,ock->bohw", read, weight.flatten(2).to(read.dtype))
    return summed if bias is None else summed + bias.to(summed.dtype)[:, None, None]


class ModulatedDeformableConv2d(nn.Module):
    """A convolution that learns where its taps read and how much each of them counts.

    It begins as half a plain convolution: no tap is moved, each counts 0.5.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the square of taps.
        stride: Step between outputs.
        padding: Rows and columns of zeros around the input.
        bias: Whether there is one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.taps = stride, padding, kernel_size**2
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.offset = nn.Conv2d(in_channels, 3 * self.taps, kernel_size, stride, padding)
        nn.init.zeros_(self.offset.weight)
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, h, w)."""
        offset, mask = self.offset(image).split([2 * self.taps, self.taps], dim=1)
        return deformable_conv2d(image, offset, self.weight, self.bias, self.stride, self.padding, mask=mask.sigmoid())


def _starts(count: int, stride: int, padding: int, device: torch.device) -> Tensor:
    """(count,) row or column of the first tap of each output."""
    return torch.arange(count, device=device) * stride - padding
