"""Where the tiles of a large picture lie, and how their predictions are blended."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.transform import Geometry
from mtdense.tasks import Task

__all__ = ["Blend", "TilePlan", "plan_tiles"]

MAX_VALUES = 1 << 29
"""Most numbers that the blended map of a task may have: 2 GiB."""
_STRIP_VALUES = 1 << 22


@dataclass(frozen=True)
class TilePlan:
    """Tiles of the network's size over a picture that was scaled.

    Args:
        tiles: Where each comes from; a tile that the picture does not fill is padded.
        scaled: Height and width of the whole picture after scaling.
        zoom: By how much it is larger than the picture that would fill the images of training.
        overlap: Pixels in which neighbours fade into each other, vertically and horizontally.
    """

    tiles: tuple[Geometry, ...]
    scaled: tuple[int, int]
    zoom: float
    overlap: tuple[int, int]


def plan_tiles(
    source: tuple[int, int],
    canvas: tuple[int, int],
    zoom: float | None,
    overlap: float,
    trained: tuple[int, int] | None = None,
    filled: tuple[int, int] | None = None,
) -> TilePlan:
    """Lays out the tiles; without zoom it is one, the whole picture fitted into the canvas, or what is filled of it.

    Args:
        source: Height and width of the picture.
        canvas: Height and width of what the network sees.
        zoom: Scale, 1 being that at which the whole picture fits the canvas. The stored resolution is never exceeded
            by it, and of pictures of another aspect at least the canvas is filled.
        overlap: Share of a tile, from 0 to 0.5, that a neighbour sees too.
        trained: Height and width that pictures filled in training, where they are not those of the canvas.
        filled: Height and width of the canvas that a whole picture may fill, where that is not all of it.

    Raises:
        ConfigError: Zoom or overlap out of range.
    """
    if zoom is not None and not 1 <= zoom <= 64:
        raise ConfigError(f"tiles at {zoom:g} times the size that fits", "give a number from 1 to 64.")
    if not 0 <= overlap <= 0.5:
        raise ConfigError(f"tiles that overlap by {overlap:g}", "give a share from 0 to 0.5.")
    ratios = canvas[0] / source[0], canvas[1] / source[1]
    fit = min(ratios)
    room = filled or canvas
    if zoom is None:
        factor = min(room[0] / source[0], room[1] / source[1])
    else:
        factor = max(fit, min(max(ratios[0], ratios[1], zoom * fit), max(1.0, fit)))
    scaled = _scaled(source[0], factor), _scaled(source[1], factor)
    if zoom is None:
        scaled = min(scaled[0], room[0]), min(scaled[1], room[1])
    shared = round(overlap * canvas[0]), round(overlap * canvas[1])
    rows, columns = (_starts(scaled[i], canvas[i], shared[i]) for i in (0, 1))
    height, width = min(scaled[0], canvas[0]), min(scaled[1], canvas[1])
    tiles = tuple(Geometry(source, scaled, (top, left, height, width), canvas) for top in rows for left in columns)
    usual = trained or canvas
    return TilePlan(tiles, scaled, factor / min(usual[0] / source[0], usual[1] / source[1]), shared)


def _scaled(length: int, factor: float) -> int:
    return max(1, round(length * factor))


def _starts(length: int, tile: int, shared: int) -> list[int]:
    """Where tiles begin along one side: evenly spread, overlapping by `shared` or more."""
    if length <= tile:
        return [0]
    count = math.ceil((length - shared) / (tile - shared))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


class Blend:
    """The weighted mean of a task's soft predictions over the scaled picture, and the prediction it stands for.

    Args:
        task: The task.
        plan: The tiles.

    Raises:
        DataError: The map would be too large.
    """

    def __init__(self, task: Task, plan: TilePlan) -> None:
        self.task = task
        self.plan = plan
        self._sum: Tensor | None = None
        self._weight = torch.zeros(plan.scaled)

    def add(self, tile: int, soft: Tensor) -> None:
        """Takes the soft prediction (K, H, W) of a tile, on its canvas."""
        geometry = self.plan.tiles[tile]
        top, left, height, width = geometry.crop
        above, beside = geometry.padding
        values = soft[:, above : above + height, beside : beside + width].float().cpu()
        if self._sum is None:
            if values.shape[0] * math.prod(self.plan.scaled) > MAX_VALUES:
                raise DataError(
                    f"{self.task.name} at {self.plan.scaled[0]}x{self.plan.scaled[1]} pixels is too large to blend",
                    "give `--tile` a smaller number, or scale the picture down.",
                )
            self._sum = torch.zeros(values.shape[0], *self.plan.scaled)
        weight = self._window(geometry)
        rows, columns = slice(top, top + height), slice(left, left + width)
        self._sum[:, rows, columns] += values * weight
        self._weight[rows, columns] += weight

    def _window(self, geometry: Geometry) -> Tensor:
        """Weights of a tile: 1, falling towards those of its borders that the picture goes on beyond."""
        sides = []
        for axis in (0, 1):
            start, length, ramp = geometry.crop[axis], geometry.crop[axis + 2], self.plan.overlap[axis] + 1
            weight = torch.ones(length)
            steps = (torch.arange(length) + 1) / ramp
            if start > 0:
                weight = torch.minimum(weight, steps)
            if start + length < self.plan.scaled[axis]:
                weight = torch.minimum(weight, steps.flip(0))
            sides.append(weight)
        return sides[0][:, None] * sides[1][None, :]

    def prediction(self) -> npt.NDArray[np.generic]:
        """(H, W) or (H, W, 3) on the grid of the stored picture, strip by strip so that memory stays bounded."""
        assert self._sum is not None
        mean = self._sum / self._weight
        height, width = self.plan.tiles[0].source
        rows = max(1, _STRIP_VALUES // (mean.shape[0] * max(width, self.plan.scaled[1])))
        strips = []
        for start in range(0, height, rows):
            stop = min(start + rows, height)
            part = _lerp(_lerp(mean, 1, (start, stop), height), 2, (0, width), width)
            strips.append(self._harden(part))
        return np.concatenate(strips)

    def _harden(self, soft: Tensor) -> npt.NDArray[np.generic]:
        found = self.task.harden(soft[None])[0]
        if self.plan.zoom != 1:
            # What the network saw was larger than pictures it was trained on: metres shrink by as much.
            found = self.task.zoom_target(found, 1 / self.plan.zoom)
        array = found.numpy()
        return np.moveaxis(array, 0, -1) if array.ndim == 3 else array


def _lerp(values: Tensor, axis: int, wanted: tuple[int, int], size: int) -> Tensor:
    """Linear interpolation along an axis at pixel centres `wanted` of `size` that span it; the ends hold beyond."""
    length = values.shape[axis]
    centres = (torch.arange(*wanted, dtype=torch.float64) + 0.5) * length / size - 0.5
    centres = centres.clamp(0, length - 1)
    low = centres.floor().long()
    high = (low + 1).clamp(max=length - 1)
    weight = (centres - low).float().view([-1 if i == axis else 1 for i in range(values.dim())])
    below = values.index_select(axis, low)
    return below + weight * (values.index_select(axis, high) - below)
