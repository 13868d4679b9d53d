"""Parts that InvPT and BridgeNet share: decoders from one coarse map up to stride 4, all tasks at once.

Maps of tasks lie side by side (see `task_maps`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from mtdense.models.layers.frugal import norm_act_conv
from mtdense.models.layers.resized_conv import conv_of_resized, is_cheaper
from mtdense.models.layers.task_maps import norm_channels, resize

__all__ = ["FinalDecoders", "LevelCollector", "MixProjection", "PreliminaryDecoders", "UnusedParts", "UpEmbed"]


class PreliminaryDecoders(nn.Module):
    """Two 3x3 convolutions without bias, each with batch norm and ReLU, for each task.

    Args:
        tasks: Number of tasks.
        channels: Channels of a map.
        hidden: Channels between the two.
        width: Channels of a task's feature.
        shared: All tasks read one map; otherwise each its own.
    """

    def __init__(self, tasks: int, channels: int, hidden: int, width: int, shared: bool = True) -> None:
        super().__init__()
        maps = 1 if shared else tasks
        self.conv1 = nn.Conv2d(maps * channels, tasks * hidden, 3, padding=1, bias=False, groups=maps)
        self.norm1 = nn.BatchNorm2d(tasks * hidden)
        self.conv2 = nn.Conv2d(tasks * hidden, tasks * width, 3, padding=1, bias=False, groups=tasks)
        self.norm2 = nn.BatchNorm2d(tasks * width)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w), or where each has its own (B, T * channels, h, w), to (B, T * width, h, w)."""
        x = self.act(self.norm1(self.conv1(x)))
        out: Tensor = self.act(self.norm2(self.conv2(x)))
        return out


class MixProjection(nn.Module):
    """A task's feature and its preliminary prediction, concatenated, through a 1x1 convolution.

    Args:
        num_outputs: {task: channels of its prediction}.
        channels: Channels of a task's feature.
        width: Channels that come out for each task.
    """

    def __init__(self, num_outputs: Mapping[str, int], channels: int, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleDict({name: nn.Conv2d(channels + n, width, 1) for name, n in num_outputs.items()})

    def forward(self, features: Tensor, predictions: Mapping[str, Tensor]) -> Tensor:
        """(B, T * channels, h, w) and {task: (B, outputs, h, w)} to (B, T * width, h, w)."""
        parts = features.chunk(len(self.convs), dim=1)
        mixed = [
            conv(torch.cat([part, predictions[name]], dim=1))
            for part, (name, conv) in zip(parts, self.convs.items(), strict=True)
        ]
        return torch.cat(mixed, dim=1)


class UpEmbed(nn.Module):
    """Enlarges the maps of all tasks; two 3x3 convolutions of dilation 2, batch norm and ReLU, for each task.

    Args:
        tasks: Number of tasks.
        in_width: Channels of a task before.
        width: Channels of a task after.
    """

    def __init__(self, tasks: int, in_width: int, width: int) -> None:
        super().__init__()
        self.conv1 = _dilated(tasks, in_width, width)
        self.norm1 = nn.BatchNorm2d(tasks * width)
        self.conv2 = _dilated(tasks, width, width)
        self.norm2 = nn.BatchNorm2d(tasks * width)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, T * in_width, h, w) to (B, T * width, *size)."""
        x = self.act(self.norm1(_conv(self.conv1, [x], size)))
        out: Tensor = self.act(self.norm2(self.conv2(x)))
        return out


def _conv(conv: nn.Conv2d, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """`conv` of the sum of enlarged maps; in training the cheaper way, so that inference counts as published."""
    if conv.training and is_cheaper(maps, conv, size):
        return conv_of_resized(maps, conv, size)
    total = resize(maps[0], size)
    for part in maps[1:]:
        total = total + resize(part, size)
    out: Tensor = conv(total)
    return out


def _dilated(tasks: int, in_width: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(tasks * in_width, tasks * width, 3, padding=2, dilation=2, bias=False, groups=tasks)


class LevelCollector(nn.Module):
    """A level of the decoder on its way to the output: LayerNorm over all tasks' channels at once, 1x1 to `width`.

    Args:
        tasks: Number of tasks.
        widths: Channels of a task at each level, coarsest first. The first level is not projected.
    """

    def __init__(self, tasks: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(tasks * width) for width in widths)
        self.projections = nn.ModuleList(
            nn.Conv2d(tasks * width, tasks * widths[0], 1, groups=tasks) for width in widths[1:]
        )

    def forward(self, level: int, x: Tensor) -> Tensor:
        """(B, T * widths[level], h, w) to (B, T * widths[0], h, w)."""
        normed = norm_channels(cast(nn.LayerNorm, self.norms[level]), x)
        return normed if level == 0 else self.projections[level - 1](normed)


class FinalDecoders(nn.Module):
    """The sum of all levels at the output's size, a 3x3 convolution with batch norm and ReLU, and a head: each task.

    The widest and largest maps of the network; tasks go one after the other, so that inference holds one at a time.

    Args:
        num_outputs: {task: channels of its prediction}.
        width: Channels of a task.
    """

    def __init__(self, num_outputs: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.decoders = nn.ModuleDict({name: _final_decoder(width) for name in num_outputs})
        self.heads = nn.ModuleDict({name: nn.Conv2d(width, n, 1) for name, n in num_outputs.items()})

    def forward(self, levels: Sequence[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        """Levels (B, T * width, h_i, w_i) to {task: logits (B, outputs, *size)}."""
        by_task = zip(*(level.chunk(len(self.heads), dim=1) for level in levels), strict=True)
        logits = {}
        for name, parts in zip(self.heads, by_task, strict=True):
            conv, norm, act = cast("Iterable[Any]", self.decoders[name])
            head = cast(nn.Conv2d, self.heads[name])
            logits[name] = norm_act_conv(norm, act, head, _conv(conv, parts, size)).contiguous()
        return logits


def _final_decoder(width: int) -> nn.Sequential:
    conv = nn.Conv2d(width, width, 3, padding=1)
    nn.init.trunc_normal_(conv.weight, std=0.02)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


class UnusedParts(nn.Module):
    """What the official code holds and does not use, so that its checkpoints and its counts fit.

    Frozen: it is in no prediction's graph.

    Args:
        tasks: Number of tasks.
        widths: Channels of a task at each level, coarsest first.
        embed: A convolution of a backbone map that the official code runs and drops.
        fuse: A layer that it never runs.
    """

    def __init__(self, tasks: int, widths: Sequence[int], embed: nn.Module, fuse: nn.Module | None = None) -> None:
        super().__init__()
        self.embed = embed
        self.fuse = fuse
        self.projection = nn.Conv2d(tasks * widths[0], tasks * widths[0], 1, groups=tasks)
        self.norm = nn.LayerNorm(tasks * widths[-1])
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> None:
        """Runs what the official code runs, for nothing: counts and timings are then the official ones."""
        self.embed(x)
