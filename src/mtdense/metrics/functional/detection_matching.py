"""Which predicted boxes of an image are right, at all confidences at once.

Sets of thresholds are whole numbers: bit k stands for the k-th. So one pass over the pairs that overlap enough does
what 51 passes over boxes of a confidence do.

* Gählert et al. Cityscapes 3D: Dataset and Benchmark for 9 DoF Vehicle Detection. CVPR Workshops 2020.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["MIN_OVERLAP", "THRESHOLDS", "Matches", "ignored_boxes", "match_boxes", "pixel_iou", "threshold_sets"]

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MIN_OVERLAP = 0.7
"""Overlap above which boxes belong together."""

THRESHOLDS: Array = np.arange(0.0, 1.01, 1.0 / 50)
"""(51,) confidences. As the official evaluation makes them: 35 steps of .02 are a little above 0.7."""

# Keeps boxes without area from dividing by 0; part of the definition.
_SLIVER = 1e-10


class Matches(NamedTuple):
    """What fits what.

    Args:
        targets: (M,) target of each pair.
        preds: (M,) prediction of each pair.
        paired: (M, 51) thresholds at which it is one.
        unpaired: (P, 51) thresholds at which a prediction is there and fits no target.
    """

    targets: Integers
    preds: Integers
    paired: Mask
    unpaired: Mask


def pixel_iou(targets: Array, preds: Array) -> Array:
    """(T, P) intersection over union of boxes (T, 4) and (P, 4), whose last pixels belong to them."""
    shared, areas, others = _areas(targets, preds)
    return np.asarray(shared / (areas[:, None] + others - shared + _SLIVER))


def ignored_boxes(preds: Array, regions: Array) -> Mask:
    """(P,) whether more than `MIN_OVERLAP` of a box (P, 4) lies in one of the regions (M, 4)."""
    if not len(preds) or not len(regions):
        return np.zeros(len(preds), dtype=bool)
    shared, _, areas = _areas(regions, preds)
    return np.asarray((shared / (areas + _SLIVER) > MIN_OVERLAP).any(axis=0))


def threshold_sets(scores: Array) -> Mask:
    """(P, 51) thresholds that scores (P,) reach."""
    return np.asarray(scores[:, None] >= THRESHOLDS)


def match_boxes(iou: Array, scores: Array) -> Matches:
    """Pairs of targets and predictions at each threshold.

    Of all pairs that overlap by more than `MIN_OVERLAP`, the one that overlaps most is taken, then the next of what is
    left: not the one of the highest score. Ties go to the first target, then to the first prediction.

    Args:
        iou: (T, P) overlaps; 0 where labels differ.
        scores: (P,) confidences.
    """
    rows, columns = np.nonzero(iou > MIN_OVERLAP)
    order = np.argsort(-iou[rows, columns], kind="stable")  # `nonzero` sorts by row, then by column
    reached = threshold_sets(scores)
    free_preds = [_as_integer(row) for row in reached] if len(rows) else []
    free_targets = [(1 << len(THRESHOLDS)) - 1] * iou.shape[0]
    found: list[tuple[int, int, int]] = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if taken := free_preds[column] & free_targets[row]:
            free_preds[column] ^= taken
            free_targets[row] ^= taken
            found.append((row, column, taken))
    targets = np.array([row for row, _, _ in found], dtype=np.int64)
    preds = np.array([column for _, column, _ in found], dtype=np.int64)
    paired = _as_mask([taken for _, _, taken in found])
    unpaired = reached
    if found:
        unpaired = _as_mask(free_preds)
    return Matches(targets, preds, paired, unpaired)


def _areas(one: Array, other: Array) -> tuple[Array, Array, Array]:
    """Shared areas (N, M), and those of each (N,), (M,)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    sides = np.maximum(high - low + 1, 0)
    whole = [(boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1) for boxes in (one, other)]
    return sides[..., 0] * sides[..., 1], whole[0], whole[1]


def _as_integer(reached: Mask) -> int:
    # Thresholds ascend, so those that a score reaches are the first ones.
    return (1 << int(reached.sum())) - 1


def _as_mask(sets: list[int]) -> Mask:
    bits = np.array(sets, dtype=np.int64)[:, None] >> np.arange(len(THRESHOLDS))
    return (bits & 1).astype(bool).reshape(len(sets), len(THRESHOLDS))
