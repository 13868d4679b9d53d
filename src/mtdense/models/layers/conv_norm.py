"""Convolution, batch norm and ReLU."""

from __future__ import annotations

from torch import nn

__all__ = ["conv_norm_relu"]


def conv_norm_relu(
    in_channels: int, out_channels: int, kernel: int = 1, activation: bool = True, dilation: int = 1, bias: bool = False
) -> nn.Sequential:
    """Convolution that keeps the size, batch norm and, unless `activation` is false, ReLU.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        kernel: Side of the kernel, odd.
        activation: End with a ReLU.
        dilation: Dilation of the kernel.
        bias: Give the convolution a bias, which the norm takes away again: some public networks have one.
    """
    padding = dilation * (kernel // 2)
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=bias),
        nn.BatchNorm2d(out_channels),
    ]
    return nn.Sequential(*layers, nn.ReLU()) if activation else nn.Sequential(*layers)
