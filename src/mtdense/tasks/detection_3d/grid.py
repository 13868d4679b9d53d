"""The cells of a network's levels, and which box each of them is to find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mtdense.tasks.detection_3d.angles import AngleCoding
from mtdense.tasks.detection_3d.target import CanvasBoxes

__all__ = ["CODE", "RADIUS", "Goals", "Grid"]

RADIUS = 1.5
"""Cells whose middle is nearer than this many cells to a box's projected centre, in x and in y, are to find it."""

CODE = {"offset": 2, "depth": 1, "size": 3, "rotation": 3, "box": 4}
"""Numbers of a box that are regressed, in their order."""

_SHARPNESS = 2.5
_DIAGONAL = 1.414  # of a square, as FCOS3D rounds it
_PUBLISHED_ROWS = 1024


class Goals(NamedTuple):
    """What each of N cells is to predict; only `classes` means something where `found` is False.

    Args:
        found: (N,) bool: the cell is to find a box.
        classes: (N,) int64 class ids; the number of classes where there is no box.
        code: (N, 13) in the order of `CODE`: cell's middle minus projected centre, in cells; depth in metres; length,
            width, height in metres; angles; distances from the middle to left, top, right and bottom of the modal box,
            in cells.
        bins: (N, D) int64 bins of direction.
        centerness: (N,) in 0..1: 1 where the centre is met.
    """

    found: Tensor
    classes: Tensor
    code: Tensor
    bins: Tensor
    centerness: Tensor


@dataclass(frozen=True, eq=False)
class Grid:
    """All cells of all levels, finest level first, by rows.

    Args:
        points: (N, 2) x and y of the cells' middles, in pixels of the canvas.
        strides: (N, 2) width and height of the cells in pixels.
        levels: (N,) int64 place of the level.
        counts: Cells of each level.
        canvas: Height and width.
    """

    points: Tensor
    strides: Tensor
    levels: Tensor
    counts: tuple[int, ...]
    canvas: tuple[int, int]

    @classmethod
    def of(
        cls, sizes: Sequence[Sequence[int]], canvas: tuple[int, int], device: torch.device, floored: bool = False
    ) -> Grid:
        """The cells of levels of some heights and widths on a canvas, which each level covers evenly.

        Args:
            sizes: Heights and widths.
            canvas: Height and width of the canvas.
            device: Of the cells.
            floored: A cell's point is half a cell, rounded down to whole pixels of an image of 1024 rows, behind the
                middle of its first pixel, as in TaskPrompter's code; False: it is the cell's middle.
        """
        points, strides, levels = [], [], []
        for place, (rows, columns) in enumerate(sizes):
            tall, wide = canvas[0] / rows, canvas[1] / columns
            # Pixel centres lie at whole numbers: the canvas begins at -0.5.
            down, right = (
                _floored(side, canvas[0] / _PUBLISHED_ROWS) if floored else side / 2 for side in (tall, wide)
            )
            y = torch.arange(rows, device=device) * tall + down - 0.5
            x = torch.arange(columns, device=device) * wide + right - 0.5
            points.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2))
            strides.append(points[-1].new_tensor([wide, tall]).expand(rows * columns, 2))
            levels.append(torch.full((rows * columns,), place, device=device))
        counts = tuple(int(rows) * int(columns) for rows, columns in sizes)
        return cls(torch.cat(points), torch.cat(strides), torch.cat(levels), counts, canvas)

    def reach(self, ranges: Sequence[float]) -> tuple[Tensor, Tensor]:
        """(N,) least and largest extent in pixels of what each cell is to find.

        Args:
            ranges: Shares of the canvas's height at which one level hands over to the next.
        """
        limits = [-1.0, *(share * self.canvas[0] for share in ranges), math.inf]
        bounds = self.points.new_tensor(limits)
        return bounds[self.levels], bounds[self.levels + 1]

    def goals(
        self, target: CanvasBoxes, ranges: Sequence[float], coding: AngleCoding, offset: float, num_classes: int
    ) -> Goals:
        """Which box each cell is to find.

        A cell is to find a box if its middle is near the projected centre (see `RADIUS`) and the farthest side of the
        modal box, seen from there, is in the level's range; of several boxes the one whose centre is nearest. Boxes
        whose centre is not in front of the camera have no place in the image.

        Args:
            target: Boxes on this grid's canvas, on the same device.
            ranges: See `reach`.
            coding: Code of the angles.
            offset: Where bins of direction begin.
            num_classes: Number of classes.
        """
        cells = len(self.points)
        if not len(target.classes):
            return self.nothing(num_classes, len(coding.binned))
        depth = target.centers[:, 2]
        ahead = depth > 0
        ray = torch.where(ahead[:, None], target.centers, target.centers.new_tensor([0.0, 0.0, 1.0]))
        # No matrix product: where the network computes in half precision, that would round pixels as well.
        center = (ray[:, None] * target.camera).sum(-1)[:, :2] / ray[:, 2:]
        apart = self.points[:, None] - center
        in_cells = apart / self.strides[:, None]
        modal = target.modal
        sides = torch.cat(
            [self.points[:, None] - modal[None, :, :2], modal[None, :, 2:] - self.points[:, None]], dim=-1
        )
        low, high = self.reach(ranges)
        farthest = sides.amax(-1)
        fits = (in_cells.abs().amax(-1) < RADIUS) & (farthest >= low[:, None]) & (farthest <= high[:, None]) & ahead
        distance = torch.where(fits, apart.norm(dim=-1), math.inf)
        nearest, box = distance.min(dim=1)
        found = nearest < math.inf
        rows = torch.arange(cells, device=box.device)
        angles = coding.encode(target.rotations)
        strides = torch.cat([self.strides, self.strides], dim=1)
        code = [in_cells[rows, box], depth[box, None], target.dimensions[box], angles[box], sides[rows, box] / strides]
        off = in_cells[rows, box].norm(dim=-1)
        return Goals(
            found,
            torch.where(found, target.classes[box], num_classes),
            torch.cat(code, dim=1),
            coding.bins(angles, offset)[box],
            torch.exp(-_SHARPNESS * off / (_DIAGONAL * RADIUS)),
        )

    def nothing(self, num_classes: int, num_bins: int) -> Goals:
        """Goals of an image without boxes."""
        cells = len(self.points)
        zeros = self.points.new_zeros(cells, sum(CODE.values()))
        background = torch.full((cells,), num_classes, device=zeros.device)
        none = torch.zeros(cells, dtype=torch.bool, device=zeros.device)
        return Goals(none, background, zeros, background.new_zeros(cells, num_bins), zeros[:, 0])


def _floored(side: float, pixel: float) -> float:
    """From a cell's border to its point: `pixel` is a pixel of the published images on the canvas."""
    return (side / pixel // 2 + 0.5) * pixel
