"""The pyramid and the head of 3-D detection, after FCOS3D and TaskPrompter.

* Wang et al. FCOS3D: Fully Convolutional One-Stage Monocular 3D Object Detection. ICCV Workshops 2021.
* Ye and Xu. TaskPrompter: Spatial-Channel Multi-Task Prompting for Dense Scene Understanding. ICLR 2023.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.core.errors import ConfigError
from mtdense.models.layers.deformable_conv import ModulatedDeformableConv2d

__all__ = ["DetectionBranch", "DetectionHead", "DetectionPyramid", "HeadKind"]

HeadKind = Literal["plain", "task_prompter"]

# Outputs that a learnt factor per level multiplies, and outputs that begin as unlikely.
_SCALED = ("offset", "depth", "size", "box")
_UNLIKELY = ("classes", "direction")
_PRIOR = 0.01


class DetectionPyramid(nn.Module):
    """A feature pyramid: coarse maps are added to finer ones, and coarser levels are made of the coarsest.

    No norms, no activations. Maps of one size may follow each other.

    Args:
        in_channels: Channels of the maps, finest first.
        channels: Channels of all levels.
        extra_levels: Levels made by a 3x3 convolution of step 2 of the level before.
        kind: Initial weights are Xavier's, as the published configuration says, or with `task_prompter` Kaiming's,
            which is what its code has: the call that would draw the others is never made.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int = 256, extra_levels: int = 1, kind: HeadKind = "plain"
    ) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(count, channels, 1) for count in in_channels)
        self.outputs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        self.extra = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, 1) for _ in range(extra_levels))
        for conv in (*self.laterals, *self.outputs, *self.extra):
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None
            if kind == "plain":
                nn.init.xavier_uniform_(conv.weight)
            else:
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(conv.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps, finest first, to levels."""
        merged = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for finer in range(len(merged) - 2, -1, -1):
            coarse = F.interpolate(merged[finer + 1], size=merged[finer].shape[-2:], mode="nearest")
            merged[finer] = merged[finer] + coarse
        levels = [output(x) for output, x in zip(self.outputs, merged, strict=True)]
        for conv in self.extra:
            levels.append(conv(levels[-1]))
        return levels


class DetectionHead(nn.Module):
    """Two towers of convolutions, shared by all levels, with a branch for each group of outputs.

    Groups are those of `mtdense.tasks.detection_3d.parts.Channels`. Classes are read off the one tower, all else off
    the other. Offsets, depth, size and box are multiplied by a learnt factor of the level.

    Args:
        groups: {what: channels}, in the order of the output.
        num_levels: Number of levels.
        in_channels: Channels of the levels.
        channels: Channels of towers and branches.
        tower_convs: Convolutions of each tower.
        kind: `plain`; `task_prompter` has a modulated deformable convolution as last one of each tower, which begins
            as mmcv's does, not normal with a deviation of 0.01 as all other weights.
        norm_groups: Groups of the norms; None: as many as give 8 channels each.

    Raises:
        ConfigError: No convolution, channels that do not fall into the groups, or an unknown kind.
    """

    def __init__(
        self,
        groups: Mapping[str, int],
        num_levels: int,
        in_channels: int = 256,
        channels: int = 256,
        tower_convs: int = 3,
        kind: HeadKind = "plain",
        norm_groups: int | None = None,
    ) -> None:
        super().__init__()
        self.groups = dict(groups)
        norms = max(1, channels // 8) if norm_groups is None else norm_groups
        if tower_convs < 1 or channels < 2 or norms < 1 or channels % norms:
            raise ConfigError(
                f"a detection head of {tower_convs} convolutions of {channels} channels in {norms} groups",
                "give at least one convolution, and channels that are a multiple of the groups.",
            )
        if kind not in ("plain", "task_prompter"):
            raise ConfigError(f"unknown detection head '{kind}'", "use plain or task_prompter.")
        deformable = kind == "task_prompter"
        self.class_tower = _tower(in_channels, channels, tower_convs, norms, deformable)
        self.box_tower = _tower(in_channels, channels, tower_convs, norms, deformable)
        half = channels // 2
        self.branches = nn.ModuleDict()
        for name, count in groups.items():
            hidden = [_unit(channels, channels, norms)]
            if name == "classes":
                hidden.append(_unit(channels, half, math.gcd(half, norms)))
            last = nn.Conv2d(half if name == "classes" else channels, count, 1)
            self.branches[name] = nn.Sequential(*hidden, last)
        self.factors = nn.ParameterDict({name: nn.Parameter(torch.ones(num_levels)) for name in _SCALED})
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and not _is_offset(module, self):
                nn.init.normal_(module.weight, std=0.01)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        for name in _UNLIKELY:
            branch = self.branches[name]
            assert isinstance(branch, nn.Sequential)
            last = branch[-1]
            assert isinstance(last, nn.Conv2d) and last.bias is not None
            nn.init.constant_(last.bias, -math.log((1 - _PRIOR) / _PRIOR))

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Levels (B, in_channels, h, w) to raw outputs (B, sum of groups, h, w) each."""
        outputs = []
        for place, level in enumerate(levels):
            towers = {True: self.class_tower(level), False: self.box_tower(level)}
            parts = []
            for name, branch in self.branches.items():
                part = branch(towers[name == "classes"])
                parts.append(part * self.factors[name][place] if name in _SCALED else part)
            outputs.append(torch.cat(parts, dim=1))
        return tuple(outputs)


class DetectionBranch(nn.Module):
    """Pyramid and head: a backbone's maps to outputs of several levels.

    Args:
        in_channels: Channels of the maps, finest first.
        groups: See `DetectionHead`.
        channels: Channels of the pyramid and the head.
        extra_levels: See `DetectionPyramid`.
        tower_convs: See `DetectionHead`.
        kind: See `DetectionHead` and `DetectionPyramid`.
        norm_groups: See `DetectionHead`.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        groups: Mapping[str, int],
        channels: int = 256,
        extra_levels: int = 1,
        tower_convs: int = 3,
        kind: HeadKind = "plain",
        norm_groups: int | None = None,
    ) -> None:
        super().__init__()
        self.pyramid = DetectionPyramid(in_channels, channels, extra_levels, kind)
        levels = len(in_channels) + extra_levels
        self.head = DetectionHead(groups, levels, channels, channels, tower_convs, kind, norm_groups)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps (B, C, h, w), finest first, to raw outputs of each level."""
        outputs: tuple[Tensor, ...] = self.head(self.pyramid(maps))
        return outputs


def _unit(in_channels: int, channels: int, norms: int, deformable: bool = False) -> nn.Sequential:
    conv: nn.Module = (
        ModulatedDeformableConv2d(in_channels, channels)
        if deformable
        else nn.Conv2d(in_channels, channels, 3, padding=1)
    )
    return nn.Sequential(conv, nn.GroupNorm(norms, channels), nn.ReLU(inplace=True))


def _tower(in_channels: int, channels: int, convs: int, norms: int, deformable: bool) -> nn.Sequential:
    return nn.Sequential(
        *(
            _unit(in_channels if place == 0 else channels, channels, norms, deformable and place == convs - 1)
            for place in range(convs)
        )
    )


def _is_offset(conv: nn.Module, root: nn.Module) -> bool:
    """Whether a convolution tells a deformable one where to read: it begins at zero."""
    return any(isinstance(module, ModulatedDeformableConv2d) and module.offset is conv for module in root.modules())
