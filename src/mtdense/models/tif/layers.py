"""Layers that several modules of TIF share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.models.tif.options import FFNNorm

__all__ = ["FeedForward", "conv_norm", "resize", "to_map", "to_tokens"]


def conv_norm(in_channels: int, out_channels: int, kernel: int = 1, activation: bool = False) -> nn.Sequential:
    """Convolution without bias, batch norm and, if asked for, ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    return nn.Sequential(*layers, nn.ReLU()) if activation else nn.Sequential(*layers)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) to (B, C, *size), bilinear with half-pixel centres."""
    if (x.shape[-2], x.shape[-1]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, h, w) to (B, h * w, C)."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, h * w, C) to (B, C, h, w)."""
    laid: Tensor = tokens.transpose(1, 2).unflatten(2, size)
    return laid


class FeedForward(nn.Module):
    """Linear, GELU, Linear on tokens, with a LayerNorm before (`pre`) or behind (`post`).

    Args:
        width: Channels in and out.
        ratio: Channels between the layers over `width`.
        norm: Place of the LayerNorm. `post` normalises the sum with the residual.
        residual: Add the input.
        output_bias: Whether a constant may be added to the result: not where a convolution with batch norm follows,
            which takes it away again.
    """

    def __init__(
        self, width: int, ratio: float = 1.0, norm: FFNNorm = "pre", residual: bool = True, output_bias: bool = True
    ) -> None:
        super().__init__()
        hidden = int(width * ratio)
        post = norm == "post"
        self.before = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width, bias=output_bias or post)
        )
        self.behind = nn.LayerNorm(width, bias=output_bias) if post else nn.Identity()
        self.residual = residual

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, width) to the same."""
        y: Tensor = self.layers(self.before(tokens))
        y = self.behind(y + tokens if self.residual else y)
        return y
