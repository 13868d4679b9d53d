"""A 3x3 convolution of enlarged maps, at the price of the small ones.

Enlarging and convolving are both linear, and a kernel's nine taps are nine 1x1 convolutions, which commute with
enlarging: conv(sum of up(x)) = sum over taps of shift(sum of up(tap(x))). The matrix products then run on the maps as
they are before they are enlarged: a quarter of the multiply-accumulates where a map is doubled. Enlarging and shifting
are one small matrix along each axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["conv_of_resized", "is_cheaper"]


def conv_of_resized(maps: Sequence[Tensor], conv: nn.Conv2d, size: tuple[int, int]) -> Tensor:
    """`conv` of the sum of `maps`, each enlarged bilinearly (corners not aligned); equal but for rounding.

    Args:
        maps: (B, C, h, w), each of its own height and width.
        conv: A 3x3 convolution that keeps the size (zeros around the map, dilation like padding), of any groups.
        size: Height and width of the sum.

    Returns:
        (B, channels of `conv`, *size), in channels-last memory order.
    """
    groups, step = conv.groups, int(conv.dilation[0])
    outs = conv.out_channels // groups
    # (groups, row of the kernel, in, column of the kernel x out)
    taps = conv.weight.unflatten(0, (groups, outs)).permute(0, 3, 2, 4, 1).flatten(3)
    bias = None if conv.bias is None else F.pad(conv.bias.view(groups, 1, 1, outs), (outs, outs, 0, 0, 1, 1))
    parts = []
    for group in range(groups):
        laid, across = [], []
        for number, part in enumerate(chunked[group] for chunked in (x.chunk(groups, dim=1) for x in maps)):
            batch, channels, height, width = part.shape
            pixels = part.permute(0, 2, 3, 1).reshape(batch, 1, height * width, channels)
            tapped = torch.matmul(pixels, taps[group])
            if bias is not None and number == 0:
                # The middle tap sees every pixel with weights that sum to 1; the coarsest map is the cheapest place.
                tapped = tapped + bias[group]
            down = _placed(height, size[0], step, part).expand(batch, -1, -1)
            rows = torch.bmm(down, tapped.view(batch, 3 * height, width * 3 * outs))
            laid.append(rows.view(batch * size[0], width * 3, outs))
            # Columns of the rows' pixels: pixel first, tap second.
            across.append(_placed(width, size[1], step, part).unflatten(1, (3, width)).transpose(1, 2).flatten(1))
        joined = laid[0] if len(laid) == 1 else torch.cat(laid, dim=1)
        matrix = torch.cat(across, dim=1).expand(joined.shape[0], -1, -1)
        parts.append(torch.bmm(matrix, joined).view(-1, *size, outs))
    whole = parts[0] if groups == 1 else torch.cat(parts, dim=-1)
    return whole.permute(0, 3, 1, 2)


def is_cheaper(maps: Sequence[Tensor], conv: nn.Conv2d, size: tuple[int, int]) -> bool:
    """Whether `conv_of_resized` takes at most two thirds of the multiply-accumulates of the plain way."""
    ins, outs = conv.in_channels // conv.groups, conv.out_channels
    plain = 9 * ins * outs * size[0] * size[1]
    ours = 0
    for x in maps:
        height, width = x.shape[-2:]
        enlarging = outs * size[0] * (9 * height * width + 3 * width * size[1])
        ours += 9 * ins * outs * height * width + enlarging
    return 3 * ours <= 2 * plain


def _placed(length: int, wanted: int, step: int, like: Tensor) -> Tensor:
    """(wanted, 3 * length): enlarges a line and shifts it by each tap of the kernel; what comes from outside is 0."""
    exact = torch.float64 if like.dtype == torch.float64 else torch.float32
    unit = torch.eye(length, device=like.device, dtype=exact)[None]
    grown = unit if length == wanted else F.interpolate(unit, size=wanted, mode="linear", align_corners=False)
    around = F.pad(grown[0], (step, step))
    return torch.cat([around[:, tap * step : tap * step + wanted] for tap in range(3)]).T.to(like.dtype)
