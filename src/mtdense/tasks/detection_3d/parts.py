"""What the channels of a detection network's maps mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mtdense.tasks.detection_3d.grid import CODE, Goals

__all__ = ["Channels", "flatten", "level_sizes"]

# Beyond these powers of e there are no metres, and no float32.
_HIGHEST = 20.0
_SMALLEST = 1e-6
_SURE = 12.0


def level_sizes(levels: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Height and width of each level."""
    return [(int(level.shape[-2]), int(level.shape[-1])) for level in levels]


def flatten(levels: Sequence[Tensor]) -> Tensor:
    """Levels (B, C, h, w) to (B, N, C): their cells in the order of `Grid`."""
    return torch.cat([level.flatten(2) for level in levels], dim=2).transpose(1, 2)


@dataclass(frozen=True)
class Channels:
    """Channels of a map, in their order: classes, those of `CODE`, bins of direction, centerness.

    Depth and size come as logarithms (of `base_depth` and `base_size`), classes and centerness as logits.

    Args:
        classes: Number of classes.
        directions: Number of angles with bins.
        base_depth: Metres that a 0 means.
        base_size: Length, width and height in metres that zeros mean.
        relu: Distances to the sides of the modal box cannot be negative.
    """

    classes: int
    directions: int
    base_depth: float
    base_size: tuple[float, float, float]
    relu: bool

    @property
    def groups(self) -> dict[str, int]:
        """{what: number of channels}, in order."""
        return {"classes": self.classes, **CODE, "direction": 2 * self.directions, "centerness": 1}

    def split(self, cells: Tensor) -> dict[str, Tensor]:
        """{what: (..., channels)} of raw values (..., C)."""
        return dict(zip(self.groups, cells.split(list(self.groups.values()), dim=-1), strict=True))

    def code(self, raw: Mapping[str, Tensor]) -> Tensor:
        """(..., 13) the code in its units, see `Goals`, from parts of `split`."""
        size = raw["size"].clamp(max=_HIGHEST).exp() * raw["size"].new_tensor(self.base_size) + _SMALLEST
        depth = raw["depth"].clamp(max=_HIGHEST).exp() * self.base_depth
        box = raw["box"].relu() if self.relu else raw["box"]
        return torch.cat([raw["offset"], depth, size, raw["rotation"], box], dim=-1)

    def ideal(self, goals: Goals) -> Tensor:
        """(N, C) raw values from which exactly these goals are read."""
        code = dict(zip(CODE, goals.code.split(list(CODE.values()), dim=-1), strict=True))
        # Cells that are to find nothing say so; what else they say has no influence.
        safe = goals.found[:, None]
        code["depth"] = torch.where(safe, code["depth"] / self.base_depth, 1.0).log()
        sizes = code["size"].new_tensor(self.base_size)
        code["size"] = torch.where(safe, (code["size"] - _SMALLEST) / sizes, 1.0).log()
        one_hot = torch.nn.functional.one_hot(goals.classes, self.classes + 1)[:, : self.classes]
        bins = torch.nn.functional.one_hot(goals.bins, 2).flatten(1)
        center = torch.logit(goals.centerness, eps=1e-6)[:, None]
        ends = [(2.0 * one_hot - 1) * _SURE, *code.values(), (2.0 * bins - 1) * _SURE, center]
        return torch.cat([part.to(goals.code.dtype) for part in ends], dim=-1)
