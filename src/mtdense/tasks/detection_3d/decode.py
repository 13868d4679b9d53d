"""From a network's cells to boxes in space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtdense.geometry.boxes import Boxes3D, clip_boxes2d
from mtdense.geometry.rotated_iou import rotated_nms
from mtdense.tasks.detection_3d.angles import AngleCoding
from mtdense.tasks.detection_3d.detections import Detections, View
from mtdense.tasks.detection_3d.grid import CODE, Grid
from mtdense.tasks.detection_3d.parts import Channels

__all__ = ["Suppression", "decode_image"]

# Of each class; an untrained network may call every cell a car.
_MOST = 1000
# Metres; a box of such a size or distance is none, and no file of boxes takes it.
_FAR = 1e6


@dataclass(frozen=True)
class Suppression:
    """Which guesses are kept.

    Args:
        candidates: Cells of each level that are looked at, best first.
        min_score: Least confidence.
        max_overlap: Intersection over union from above at which the less confident of two boxes of a class goes.
        max_boxes: Most boxes of an image.
    """

    candidates: int
    min_score: float
    max_overlap: float
    max_boxes: int


def decode_image(
    cells: Tensor,
    grid: Grid,
    view: View,
    channels: Channels,
    coding: AngleCoding,
    offset: float,
    suppression: Suppression,
) -> Detections:
    """The boxes of an image.

    The confidence of a class is its chance times the centerness. A cell may find boxes of several classes.

    Args:
        cells: (N, C) raw values.
        grid: Their places.
        view: Camera and canvas.
        channels: What the values mean.
        coding: Code of the angles.
        offset: Where bins of direction begin.
        suppression: What is kept.
    """
    parts = channels.split(cells.float())
    scores = parts["classes"].sigmoid() * parts["centerness"].sigmoid()
    code = channels.code(parts)
    part = _code(code)
    centers = _centers(grid.points - part["offset"] * grid.strides, part["depth"][:, 0], view)
    # A network gone astray may say infinity; that is no box.
    metres = torch.cat([centers, part["size"]], dim=1)
    sane = code.isfinite().all(-1) & (metres.abs() < _FAR).all(-1)
    scores = torch.where(sane[:, None] & scores.isfinite(), scores, -1.0)
    best = _best_of_levels(scores.amax(-1), grid.counts, suppression.candidates)
    scores, centers, points, strides = scores[best], centers[best], grid.points[best], grid.strides[best]
    part = _code(code[best])
    bins = parts["direction"][best].unflatten(-1, (-1, 2)).argmax(-1)
    angles = coding.resolve(part["rotation"], bins, offset)
    box, label = _sure(scores, suppression.min_score)
    above = torch.stack(
        [centers[:, 0], centers[:, 2], part["size"][:, 1], part["size"][:, 0], angles[:, coding.above]], dim=1
    )
    confidence = scores[box, label]
    kept = rotated_nms(above[box], confidence, suppression.max_overlap, label, suppression.max_boxes)
    box, label, confidence = box[kept], label[kept], confidence[kept]
    sides = part["box"][box] * torch.cat([strides, strides], dim=1)[box]
    near, far = points[box] - sides[:, :2], points[box] + sides[:, 2:]
    modal = torch.cat([near, torch.maximum(near, far)], dim=1)
    return Detections(
        Boxes3D(_plain(centers[box]), _plain(part["size"][box]), _plain(coding.decode(angles[box])), "S"),
        label.cpu().numpy(),
        _plain(confidence),
        clip_boxes2d(_plain(modal), view.canvas),
        view,
    )


def _code(code: Tensor) -> dict[str, Tensor]:
    """{what: (N, numbers)} of the code (N, 13)."""
    return dict(zip(CODE, code.split(list(CODE.values()), dim=-1), strict=True))


def _best_of_levels(scores: Tensor, counts: tuple[int, ...], most: int) -> Tensor:
    """Places of the best cells of each level."""
    places, start = [], 0
    for count, level in zip(counts, scores.split(list(counts)), strict=True):
        places.append(start + level.topk(min(most, count)).indices)
        start += count
    return torch.cat(places)


def _sure(scores: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Cells and classes (K,) of enough confidence (K cells, classes), at most so many of each class."""
    box, label = (scores > least).nonzero(as_tuple=True)
    if len(box) > _MOST:
        # By rank within the class.
        order = scores[box, label].argsort(descending=True, stable=True)
        box, label = box[order], label[order]
        rank = torch.nn.functional.one_hot(label, scores.shape[1]).cumsum(0).gather(1, label[:, None])[:, 0]
        box, label = box[rank <= _MOST], label[rank <= _MOST]
    return box, label


def _centers(pixels: Tensor, depth: Tensor, view: View) -> Tensor:
    """(K, 3) points in S at depths in metres that are seen at pixels."""
    back = torch.as_tensor(np.linalg.inv(view.matrix), dtype=pixels.dtype, device=pixels.device)
    # No matrix product: where the network computes in half precision, that would round metres as well.
    rays = (torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1)[:, None] * back).sum(-1)
    return rays / rays[:, 2:] * depth[:, None]


def _plain(values: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return values.detach().cpu().double().numpy()
