"""The mapping network: brings a task's map into the space that an ordered pair of tasks shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.backbones.base import pad_to_multiple
from mtdense.core.errors import ConfigError
from mtdense.models.layers.segnet import SEGNET_UNITS, init_xavier

__all__ = ["MapperNorm", "MappingNetwork", "pair_index"]

MapperNorm = Literal["sample", "batch"]


def pair_index(source: int, target: int, num_tasks: int) -> int:
    """Number of the ordered pair (source, target) among the T(T - 1) pairs of different tasks."""
    return source * (num_tasks - 1) + (target if target < source else target - 1)


class _Unit(nn.Module):
    """3x3 convolution, normalisation by the statistics at hand, an affine map per pair if `pairs`, ReLU.

    Args:
        channels: Channels in.
        width: Channels out.
        norm: See `MappingNetwork`.
        pairs: Number of ordered pairs that have an affine map (FiLM) each; 0 for none.
    """

    def __init__(self, channels: int, width: int, norm: MapperNorm, pairs: int = 0) -> None:
        super().__init__()
        self.norm = norm
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        # Not nn.BatchNorm2d: there is nothing to keep for inference, and SyncBatchNorm would wait for ranks without
        # a pair.
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.gamma: nn.Parameter | None = nn.Parameter(torch.ones(pairs, width)) if pairs else None
        self.beta: nn.Parameter | None = nn.Parameter(torch.zeros(pairs, width)) if pairs else None

    def forward(self, x: Tensor, pairs: Tensor | None = None) -> Tensor:
        """(N, channels, h, w) to (N, width, h, w); pairs is (N,) int64, the pair of each row."""
        x = self.conv(x)
        if self.norm == "batch":
            x = F.batch_norm(x, None, None, self.weight, self.bias, training=True)
            if self.gamma is not None and self.beta is not None:
                x = torch.addcmul(_spread(self.beta[pairs]), x, _spread(self.gamma[pairs]))
            return F.relu(x, inplace=True)
        rows, width = x.shape[:2]
        weight, bias = self.weight.expand(rows, width), self.bias.expand(rows, width)
        if self.gamma is not None and self.beta is not None:
            weight, bias = weight * self.gamma[pairs], bias * self.gamma[pairs] + self.beta[pairs]
        # Rows as channels of one image: each map has its own statistics and its own affine map, in one kernel.
        flat = x.reshape(1, rows * width, *x.shape[2:])
        flat = F.batch_norm(flat, None, None, weight.reshape(-1), bias.reshape(-1), training=True)
        return F.relu(flat, inplace=True).view_as(x)


class MappingNetwork(nn.Module):
    """MTPSL's mapping network m(. | s -> t): a stem per task, then a SegNet encoder that all ordered pairs share.

    Every convolution of the encoder has an affine map (FiLM: gamma, beta) for each ordered pair. The output has the
    resolution of a backbone's stride-32 map and its channels, so that the two can be compared.

    It is used in training only, always normalises with the statistics at hand, and keeps none.

    Args:
        channels: {task: channels of its map}, in the order that numbers the pairs.
        filters: Channels of the five stages.
        out_channels: Channels of the last convolution (those of the backbone's deepest map).
        norm: Statistics of the normalisations: of each map alone (`sample`: what the public training has, as it sends
            maps one by one through BatchNorm), or of all maps that this rank sends at once (`batch`). With the latter
            a loss depends on the other images, and N ranks of B images do not what one of N * B does. Either way the
            padding of the canvas, where maps are zero, is in the statistics.
        downsample: 1, 2 or 4: maps come at this fraction of the image's resolution; the last one or two poolings are
            left out to make up for it.

    Raises:
        ConfigError: Unknown `norm` or `downsample`, or fewer than two tasks.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        filters: Sequence[int],
        out_channels: int,
        norm: MapperNorm = "sample",
        downsample: int = 1,
    ) -> None:
        super().__init__()
        if norm not in ("sample", "batch"):
            raise ConfigError(f"unknown mapper_norm '{norm}'", "use sample or batch.")
        if downsample not in (1, 2, 4):
            raise ConfigError(f"mapper_downsample is {downsample}", "use 1, 2 or 4.")
        if len(channels) < 2:
            raise ConfigError("cross-task consistency with one task", "name two tasks or more in `data.tasks`.")
        self.downsample = downsample
        self.num_pools = len(SEGNET_UNITS) - {1: 0, 2: 1, 4: 2}[downsample]
        pairs = len(channels) * (len(channels) - 1)
        self.stems = nn.ModuleDict({name: _Unit(count, filters[0], norm) for name, count in channels.items()})
        self.stages = nn.ModuleList()
        inputs = filters[0]
        for i, units in enumerate(SEGNET_UNITS):
            last = i == len(SEGNET_UNITS) - 1
            widths = [filters[i]] * units if not last else [filters[i]] * (units - 1) + [out_channels]
            self.stages.append(
                nn.ModuleList(
                    _Unit(before, after, norm, pairs)
                    for before, after in zip([inputs, *widths[:-1]], widths, strict=True)
                )
            )
            inputs = widths[-1]
        init_xavier(self)

    def embed(self, task: str, maps: Tensor) -> Tensor:
        """A task's maps (N, C_t, h, w) through its stem, padded to whole cells of the output: (N, C_1, h', w')."""
        cell = 2**self.num_pools
        maps = pad_to_multiple(maps, (cell, cell))
        # The smallest grid that is normalised: after all poolings but one that ends the last stage.
        shrink = 2 ** min(self.num_pools, len(SEGNET_UNITS) - 1)
        if (maps.shape[-2] // shrink) * (maps.shape[-1] // shrink) < 2:
            raise ConfigError(
                f"maps of {maps.shape[-2]}x{maps.shape[-1]} leave the mapping network nothing to normalise",
                "train on larger images or lower `mapper_downsample`.",
            )
        embedded: Tensor = self.stems[task](maps)
        return embedded

    def forward(self, embedded: Tensor, pairs: Tensor) -> Tensor:
        """Embedded maps (N, C_1, h', w') and their pairs (N,) int64 to (N, out_channels, ~H / 32, ~W / 32)."""
        x = embedded
        for i, stage in enumerate(self.stages):
            assert isinstance(stage, nn.ModuleList)
            for unit in stage:
                x = unit(x, pairs)
            if i < self.num_pools:
                x = F.max_pool2d(x, 2)
        return x

    def film_parameters(self) -> list[nn.Parameter]:
        """The affine maps of the pairs."""
        return [p for name, p in self.named_parameters() if name.rsplit(".", 1)[-1] in ("gamma", "beta")]


def _spread(values: Tensor) -> Tensor:
    return values[:, :, None, None]
