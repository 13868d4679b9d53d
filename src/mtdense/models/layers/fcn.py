"""ATRC's plain decoder: one 3x3 convolution per task on the concatenated pyramid, and 1x1 heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from mtdense.models.layers.conv_norm import conv_norm_relu

__all__ = ["logit_heads", "task_convolutions"]


def task_convolutions(tasks: Iterable[str], in_channels: int, width: int) -> nn.ModuleDict:
    """{task: 3x3 convolution from `in_channels` to `width` without bias, norm and ReLU}."""
    return nn.ModuleDict({name: conv_norm_relu(in_channels, width, 3) for name in tasks})


def logit_heads(num_outputs: Mapping[str, int], width: int) -> nn.ModuleDict:
    """{task: 1x1 convolution with bias}; weights normal with deviation 0.01, biases 0, as in ATRC."""
    heads = nn.ModuleDict()
    for name, channels in num_outputs.items():
        head = nn.Conv2d(width, channels, 1)
        nn.init.normal_(head.weight, std=0.01)
        assert head.bias is not None
        nn.init.zeros_(head.bias)
        heads[name] = head
    return heads
