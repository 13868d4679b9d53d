"""Detection score of Cityscapes 3D: average precision in the image, times how well boxes in space fit.

* Gählert et al. Cityscapes 3D: Dataset and Benchmark for 9 DoF Vehicle Detection. CVPR Workshops 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import DataError
from mtdense.core.words import counted
from mtdense.geometry.boxes import Boxes3D
from mtdense.geometry.quaternions import yaw_pitch_roll
from mtdense.metrics.functional.detection_boxes import BoxPredictions, BoxTargets, in_vehicle_frame
from mtdense.metrics.functional.detection_matching import THRESHOLDS, ignored_boxes, match_boxes, pixel_iou
from mtdense.metrics.functional.fixed_point import PARTS, from_fixed_point, to_fixed_point

__all__ = [
    "DISTANCE_BINS",
    "MAX_DISTANCE",
    "SIMILARITIES",
    "DetectionScores",
    "DetectionSums",
    "Matching",
    "detection_score_compute",
    "detection_score_update",
    "similarities",
]

Matching = Literal["amodal", "modal"]

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MAX_DISTANCE = 100
"""Metres from the vehicle beyond which pairs count for precision and recall only."""

_BIN = 5
DISTANCE_BINS = MAX_DISTANCE // _BIN
"""Bins of 5 m over which similarities are averaged, each with equal weight."""

SIMILARITIES = ("center_distance", "size_similarity", "yaw", "pitch_roll")
"""What is compared of boxes in space, each in 0..1 with 1 for equal ones."""


class DetectionSums(NamedTuple):
    """Sums over images from which the score follows; C classes, K thresholds, B bins of distance.

    Args:
        targets: (C,) labelled boxes.
        hits: (C, K) predictions that fit a target.
        misses: (C, K) predictions that fit none, but for those in regions to ignore.
        pairs: (C, B, K) predictions that fit a target of the distance.
        similarity: (C, B, K, 4, PARTS) sums over these, see `SIMILARITIES` and `to_fixed_point`.
    """

    targets: Integers
    hits: Integers
    misses: Integers
    pairs: Integers
    similarity: Integers

    @classmethod
    def zeros(cls, num_classes: int) -> DetectionSums:
        """Those of no images."""
        c, k, b = num_classes, len(THRESHOLDS), DISTANCE_BINS
        shapes = ((c,), (c, k), (c, k), (c, b, k), (c, b, k, len(SIMILARITIES), PARTS))
        return cls(*(np.zeros(shape, dtype=np.int64) for shape in shapes))


class DetectionScores(NamedTuple):
    """Scores of each class (C,), NaN where it has no targets.

    Args:
        score: The average precision times the mean of the similarities.
        average_precision: Area under the curve of precision over recall.
        similarity: (C, 4) means over bins of distance, see `SIMILARITIES`; 0 where fewer than two bins have a pair.
        confidence: Threshold at which precision times recall is highest, where similarities are measured.
    """

    score: Array
    average_precision: Array
    similarity: Array
    confidence: Array


def detection_score_update(
    preds: Sequence[BoxPredictions], targets: Sequence[BoxTargets], num_classes: int, matching: Matching = "amodal"
) -> DetectionSums:
    """Sums of a batch.

    Args:
        preds: Predictions of each image.
        targets: Targets of each image.
        num_classes: Number of classes.
        matching: Whether 2-D boxes of the whole vehicle are compared or those of what is seen. The predicted box of
            the whole vehicle is always the projection of the box in space.

    Raises:
        DataError: Not as many predictions as targets, or a class id out of range.
    """
    if len(preds) != len(targets):
        raise DataError(
            f"predictions of {counted(len(preds), 'image')} cannot be scored against targets of {len(targets)}",
            "Give both for each image, empty ones included.",
        )
    sums = DetectionSums.zeros(num_classes)
    for pred, target in zip(preds, targets, strict=True):
        for labels, what in ((pred.labels, "prediction"), (target.labels, "target")):
            if len(labels) and labels.max() >= num_classes:
                raise DataError(
                    f"a {what} has class {labels.max()}, but there are {num_classes} classes",
                    f"Leave out boxes of other classes; ids are 0..{num_classes - 1}.",
                )
        _add_image(sums, pred, target, matching)
    return sums


def detection_score_compute(sums: DetectionSums) -> DetectionScores:
    """Scores of each class."""
    hits, targets = sums.hits.astype(np.float64), sums.targets[:, None]
    precision = hits / np.maximum(sums.hits + sums.misses, 1)
    recall = hits / np.maximum(targets, 1)
    places = np.argmax(precision * recall, axis=1)
    average = np.array([_area(p, r) for p, r in zip(precision, recall, strict=True)])
    rows = np.arange(len(places))
    counts, totals = sums.pairs[rows, :, places], from_fixed_point(sums.similarity[rows, :, places])
    similarity = np.array([_mean_of_bins(c, t) for c, t in zip(counts, totals, strict=True)])
    score = average * similarity.sum(axis=1) / len(SIMILARITIES)
    nothing = sums.targets == 0
    single = [np.where(nothing, np.nan, values) for values in (score, average, THRESHOLDS[places])]
    return DetectionScores(single[0], single[1], np.where(nothing[:, None], np.nan, similarity), single[2])


def similarities(preds: Boxes3D, targets: Boxes3D) -> Array:
    """(N, 4) likeness of boxes to those at the same place, see `SIMILARITIES`; both in V."""
    moved = targets.centers - preds.centers
    distance = np.sqrt(moved[:, 0] ** 2 + moved[:, 1] ** 2)
    size = np.minimum(targets.dimensions / preds.dimensions, preds.dimensions / targets.dimensions).prod(axis=1)
    turned = np.cos(yaw_pitch_roll(targets.rotations) - yaw_pitch_roll(preds.rotations))
    yaw = (1 + turned[:, 0]) / 2
    pitch_roll = 0.5 + (turned[:, 1] + turned[:, 2]) / 4
    return np.stack([1 - np.minimum(distance / MAX_DISTANCE, 1.0), size, yaw, pitch_roll], axis=1)


def _add_image(sums: DetectionSums, preds: BoxPredictions, targets: BoxTargets, matching: Matching) -> None:
    np.add.at(sums.targets, targets.labels, 1)
    if not len(preds):
        return
    amodal = preds.amodal(targets.camera)
    modal = amodal if preds.modal is None else preds.modal
    pred_boxes, target_boxes = (modal, targets.modal) if matching == "modal" else (amodal, targets.amodal)
    iou = np.where(targets.labels[:, None] == preds.labels, pixel_iou(target_boxes, pred_boxes), 0.0)
    matches = match_boxes(iou, preds.scores)
    counted = ~ignored_boxes(modal, targets.ignore)
    np.add.at(sums.misses, preds.labels[counted], matches.unpaired[counted].astype(np.int64))
    labels = targets.labels[matches.targets]
    np.add.at(sums.hits, labels, matches.paired.astype(np.int64))
    if not len(labels):
        return
    truth = in_vehicle_frame(targets.boxes, targets.camera)[matches.targets]
    guess = in_vehicle_frame(preds.boxes, targets.camera)[matches.preds]
    shares = to_fixed_point(np.clip(similarities(guess, truth), 0.0, 1.0))
    bins = np.floor(np.sqrt(truth.centers[:, 0] ** 2 + truth.centers[:, 1] ** 2)) // _BIN
    for label, place, paired, share in zip(labels, bins, matches.paired, shares, strict=True):
        if place < DISTANCE_BINS:
            sums.pairs[label, int(place)] += paired
            sums.similarity[label, int(place), paired] += share


def _area(precision: Array, recall: Array) -> float:
    """Area under the least curve of precision that falls with recall and lies on or above all points."""
    order = np.argsort(recall, kind="stable")
    r = np.concatenate([[0.0], recall[order], [1.0]])
    p = np.concatenate([[0.0], precision[order], [0.0]])
    p = np.maximum.accumulate(p[::-1])[::-1]
    return float(np.sum((r[1:] - r[:-1]) * p[1:]))


def _mean_of_bins(counts: Integers, totals: Array) -> Array:
    """(4,) mean over the bins (B,) that have a pair, of the means (B, 4) in them."""
    occupied = counts > 0
    if occupied.sum() < 2:
        return np.zeros(totals.shape[1])
    return np.asarray((totals[occupied] / counts[occupied, None]).mean(axis=0))
