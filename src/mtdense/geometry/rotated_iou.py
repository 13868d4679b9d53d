"""Overlap of turned rectangles and suppression of double detections, in plain PyTorch on any device.

A rectangle is (x, z, width, length, angle): its middle, its extent along x and along z before it is turned, and its
turn in radians, which takes (x, z) to (x cos + z sin, z cos - x sin). Seen from above in frame S of
`mtdense.geometry.boxes` that is a turn about the axis y, which points down; for vehicles, width lies along x.

The shared area is an integral, not a polygon: that of one rectangle's outline, as a height over the other's axis,
cut off at its sides. No corners are found, put in order or told apart, so nothing is lost where rectangles are equal or
touch.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rotated_corners", "rotated_iou", "rotated_iou_matrix", "rotated_nms"]

# Pairs of which distances are taken at a time.
_CHUNK = 1 << 22
# Rectangles of which the best are found at a time.
_BLOCK = 128


def rotated_corners(boxes: Tensor) -> Tensor:
    """Corners (..., 4, 2) of rectangles (..., 5), in the order in which one walks round them."""
    halves = boxes[..., 2:4] / 2
    signs = boxes.new_tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    return boxes[..., None, :2] + _turn(signs * halves[..., None, :], boxes[..., 4, None])


def rotated_iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of rectangles, one by one, in 0..1.

    Args:
        one: (..., 5) floating point.
        other: (..., 5), broadcast against `one`.

    Returns:
        (...) of the data type of `one`.

    Raises:
        ValueError: Other shapes, or rectangles that are not finite or have a side that is not above 0.
    """
    return _iou(_checked(one), _checked(other)).to(one.dtype)


def rotated_iou_matrix(one: Tensor, other: Tensor) -> Tensor:
    """(N, M) intersection over union of all rectangles (N, 5) with all of (M, 5).

    Raises:
        ValueError: As of `rotated_iou`.
    """
    first, second = _checked(one), _checked(other)
    rows, columns = _near_pairs(first, second)
    overlaps = first.new_zeros(len(first), len(second))
    overlaps[rows, columns] = _iou(first[rows], second[columns])
    return overlaps.to(one.dtype)


def rotated_nms(
    boxes: Tensor,
    scores: Tensor,
    max_overlap: float,
    labels: Tensor | None = None,
    max_boxes: int | None = None,
) -> Tensor:
    """Rectangles that are left when, from the best down, each removes those that overlap it.

    Args:
        boxes: (N, 5) rectangles.
        scores: (N,); of equal ones the first comes first.
        max_overlap: Intersection over union above which the one of the lower score is removed.
        labels: (N,) classes; rectangles of different ones leave each other alone. None: all are of one class.
        max_boxes: Keep at most so many, of all classes together; None: all.

    Returns:
        (K,) int64 places of those that are left, the best first, on the device of `boxes`.

    Raises:
        ValueError: As of `rotated_iou`, or scores or labels that do not fit.
    """
    rectangles = _checked(boxes)
    if scores.shape != boxes.shape[:1] or bool(scores.isnan().any()):
        raise ValueError(f"scores of shape {tuple(scores.shape)} are not {len(boxes)} numbers")
    if labels is not None and labels.shape != scores.shape:
        raise ValueError(f"labels of shape {tuple(labels.shape)} are not {len(boxes)} classes")

    def overlapping(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = _near_pairs(rectangles[one], rectangles[other])
        if labels is not None:
            same = labels[one[rows]] == labels[other[columns]]
            rows, columns = rows[same], columns[same]
        above = _iou(rectangles[one[rows]], rectangles[other[columns]]) > max_overlap
        return rows[above], columns[above]

    rest = torch.sort(scores, descending=True, stable=True).indices
    kept, count = [rest[:0]], 0
    # A block settles its own affairs, then clears what comes after it: where many overlap, far fewer pairs than all.
    while len(rest) and (max_boxes is None or count < max_boxes):
        block, rest = rest[:_BLOCK], rest[_BLOCK:]
        block = block[_settled(*overlapping(block, block), len(block)).to(block.device)]
        left = torch.ones(len(rest), dtype=torch.bool, device=rest.device)
        left[overlapping(block, rest)[1]] = False
        rest = rest[left]
        kept.append(block)
        count += len(block)
    return torch.cat(kept)[:max_boxes]


def _settled(better: Tensor, worse: Tensor, count: int) -> Tensor:
    """(count,) bool: what is left after pairs, sorted by the better one, have been gone through."""
    # One after another by nature: little work, and slow on a GPU.
    removed = [False] * count
    for i, j in zip(better.tolist(), worse.tolist(), strict=True):
        if i < j and not removed[i]:
            removed[j] = True
    return ~torch.tensor(removed, dtype=torch.bool)


def _checked(boxes: Tensor) -> Tensor:
    """The rectangles in float64 where the device has it."""
    if boxes.shape[-1:] != (5,) or not boxes.is_floating_point():
        raise ValueError(f"rectangles are floating point of shape (..., 5), not {boxes.dtype} {tuple(boxes.shape)}")
    if not bool(boxes.isfinite().all() & (boxes[..., 2:4] > 0).all()):
        raise ValueError("rectangles are finite and their sides above 0")
    return boxes.float() if boxes.device.type == "mps" else boxes.double()


def _turn(points: Tensor, angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    x, z = points.unbind(-1)
    return torch.stack([x * cos + z * sin, z * cos - x * sin], dim=-1)


def _near_pairs(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns (P,) of pairs of (N, 5) and (M, 5) whose outer circles meet, sorted by row."""
    radius, others = one[:, 2:4].norm(dim=1) / 2, other[:, 2:4].norm(dim=1) / 2
    step = max(1, _CHUNK // max(1, len(other)))
    found = [torch.zeros(0, 2, dtype=torch.int64, device=one.device)]
    for start in range(0, len(one), step):
        part = slice(start, start + step)
        apart = (one[part, None, :2] - other[None, :, :2]).norm(dim=-1)
        near = (apart < radius[part, None] + others).nonzero()
        near[:, 0] += start
        found.append(near)
    rows, columns = torch.cat(found).unbind(1)
    return rows, columns


def _iou(one: Tensor, other: Tensor) -> Tensor:
    shared = _shared_area(one, other)
    areas = one[..., 2] * one[..., 3], other[..., 2] * other[..., 3]
    return (shared / (areas[0] + areas[1] - shared)).clamp(0, 1)


def _shared_area(one: Tensor, other: Tensor) -> Tensor:
    """(...) area that rectangles (..., 5) share."""
    one, other = torch.broadcast_tensors(one, other)
    # The one rectangle in axes along the sides of the other: middle at 0, half sides `right` and `top`.
    middle = torch.zeros_like(one)
    middle[..., :2] = _turn(one[..., :2] - other[..., :2], -other[..., 4])
    middle[..., 2:4] = one[..., 2:4]
    middle[..., 4] = one[..., 4] - other[..., 4]
    x, z = rotated_corners(middle).unbind(-1)
    right, top = other[..., 2, None] / 2, other[..., 3, None] / 2
    run, rise = x.roll(-1, dims=-1) - x, z.roll(-1, dims=-1) - z
    # Where each side of the outline enters and leaves the strip between -right and right.
    start, end = _reach(-right, x, run), _reach(right, x, run)
    start, end = torch.minimum(start, end), torch.maximum(start, end)
    z, rise = z + start * rise, (end - start) * rise
    # The side, cut off at -top and top, is straight in three parts; their heights are averaged over the strip.
    low, high = _reach(-top, z, rise), _reach(top, z, rise)
    low, high = torch.minimum(low, high), torch.maximum(low, high)
    heights = [torch.clamp(z + t * rise, -top, top) for t in (torch.zeros_like(z), low, high, torch.ones_like(z))]
    mean = low * (heights[0] + heights[1]) + (high - low) * (heights[1] + heights[2])
    mean = (mean + (1 - high) * (heights[2] + heights[3])) / 2
    return ((end - start) * run * mean).sum(dim=-1).abs()


def _reach(limit: Tensor, start: Tensor, step: Tensor) -> Tensor:
    """Share in 0..1 of the way `start` + t `step` at which a limit is reached, or the end nearest to it."""
    still = step == 0
    share = ((limit - start) / torch.where(still, 1.0, step)).clamp(0, 1)
    # No way at all: of no width, or of one height whatever the share.
    return torch.where(still, 0.0, share)
