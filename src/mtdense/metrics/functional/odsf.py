"""odsF: the boundary F-measure of the BSDS benchmark as SEISM runs it, for all thresholds at once.

Papers on multi-task dense prediction report it as "odsF" of the task edges, measured by SEISM (Pont-Tuset and Marques,
PAMI 2016) in MATLAB: thresholds .001, .01, ..., .99, .999 after non-maximum suppression, a tolerance of .0075 of the
image diagonal on PASCAL-Context and .011 on NYUD-v2, the best F over the thresholds without interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtdense.core.errors import ConfigError, DataError
from mtdense.core.jit import njit
from mtdense.metrics.functional.edge_matching import (
    match_levels,
    match_levels_nearest_first,
    matched_pixels_reference,
)
from mtdense.metrics.functional.edge_nms import suppress_non_maxima, suppress_non_maxima_reference
from mtdense.metrics.functional.label_boundaries import label_boundaries
from mtdense.metrics.functional.thinning import thin, thin_levels, thin_reference

__all__ = [
    "average_precision",
    "best_counts",
    "edge_counts",
    "edge_counts_reference",
    "ods",
    "ois",
    "precision_recall",
    "seism_target",
    "seism_thresholds",
]

Array = Any


def seism_thresholds(number: int = 101) -> NDArray[np.float64]:
    """Evenly spaced thresholds from 0 to 1, the first and last moved inwards to .001 and .999.

    Args:
        number: How many; 101 gives the list that SEISM's scripts use for HED.

    Returns:
        (number,) float64, ascending.

    Raises:
        ConfigError: `number` is below 3 or above 999, where the list would not ascend.
    """
    if not 3 <= number <= 999:
        raise ConfigError(f"{number} thresholds are asked for", "Choose 3 to 999; published values use 101.")
    thresholds = np.arange(number, dtype=np.float64) / (number - 1)
    thresholds[0], thresholds[-1] = 0.001, 0.999
    return thresholds


def seism_target(labels: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Target edges of a label map as SEISM draws them: thinned boundaries between its regions.

    For NYUD-v2, SEISM treats the edge map itself as a label map.

    Args:
        labels: (H, W) integers or booleans.
        valid: (H, W) bool, pixels that have a label; None for all. Where labels end, there is no boundary.

    Returns:
        (H, W) bool.

    Raises:
        DataError: `labels` is not a two-dimensional array of integers or booleans.
    """
    boundaries = label_boundaries(labels)
    if valid is not None:
        boundaries &= ~label_boundaries(valid) & valid
    return thin(boundaries)


def edge_counts(
    pred: NDArray[Any],
    targets: Sequence[NDArray[np.bool_]],
    *,
    max_dist: float = 0.0075,
    thresholds: NDArray[np.float64] | None = None,
    nms: bool = True,
    strict: bool = True,
) -> NDArray[np.int64]:
    """Counts of one image at every threshold, from which all scores follow.

    Edges that pass a threshold are thinned and matched one-to-one with the target's within a distance, as many as can
    be. Runs outside the GIL but for a millisecond or two.

    Args:
        pred: (H, W) edge strength, uint8 in 0..255 or floating point in [0, 1]. Published evaluations read 8-bit PNGs.
        targets: One (H, W) bool edge map per annotator, used as they are (see `seism_target`). With several, precision
            counts a predicted pixel that is matched to any of them.
        max_dist: Largest distance of a pair, as a fraction of the image diagonal: 0.0075 for PASCAL-Context and BSDS,
            0.011 for NYUD-v2.
        thresholds: (K,) in [0, 1], ascending; None for `seism_thresholds()`.
        nms: Suppress non-maxima before the thresholds, as SEISM does for HED.
        strict: An edge is stronger than the threshold (SEISM); False: at least as strong (BSDS, the evaluator of MTI).

    Returns:
        (K, 4) int64, a row per threshold: target pixels matched (cntR) and all (sumR), each summed over annotators;
        predicted pixels matched (cntP) and all (sumP).

    Raises:
        DataError: The prediction or a target has a wrong shape, type or value, or there is no target.
        ConfigError: `max_dist` or `thresholds` makes no sense.
    """
    edges, maps, cuts, radius = _checked(pred, targets, max_dist, thresholds)
    if nms:
        edges = suppress_non_maxima(edges)
    # Levels go from the highest threshold to the lowest: sets grow.
    pixels, ends = _levels(edges.ravel(), cuts[::-1].copy(), strict)
    levels = thin_levels(pixels, ends, (edges.shape[0], edges.shape[1]))
    if len(maps) == 1:
        recalled = matched = match_levels(levels, maps[0], radius)
    else:
        recalled, matched = match_levels_nearest_first(levels, maps, radius)
    wanted = np.full(len(cuts), sum(int(target.sum()) for target in maps), dtype=np.int64)
    return np.stack([recalled[::-1], wanted, matched[::-1], levels.sizes[::-1]], axis=1)


def edge_counts_reference(
    pred: NDArray[Any],
    targets: Sequence[NDArray[np.bool_]],
    *,
    max_dist: float = 0.0075,
    thresholds: NDArray[np.float64] | None = None,
    nms: bool = True,
    strict: bool = True,
) -> NDArray[np.int64]:
    """`edge_counts` in plain NumPy and SciPy, one threshold after the other: slow, its oracle.

    Equal to it in all columns with one annotator; with several, cntP depends on which of the largest matchings is
    found.

    Args:
        pred: As `edge_counts`.
        targets: As `edge_counts`.
        max_dist: As `edge_counts`.
        thresholds: As `edge_counts`.
        nms: As `edge_counts`.
        strict: As `edge_counts`.

    Returns:
        (K, 4) int64 as `edge_counts`.

    Raises:
        DataError: As `edge_counts`.
        ConfigError: As `edge_counts`.
    """
    edges, maps, cuts, radius = _checked(pred, targets, max_dist, thresholds)
    if nms:
        edges = suppress_non_maxima_reference(edges)
    counts = np.zeros((len(cuts), 4), dtype=np.int64)
    for row, cut in zip(counts, cuts, strict=True):
        edge = thin_reference(edges > cut if strict else edges >= cut)
        found = [matched_pixels_reference(edge, target, radius) for target in maps]
        row[:] = (
            sum(int(part.sum()) for part in found),
            sum(int(target.sum()) for target in maps),
            np.logical_or.reduce(found).sum(),
            edge.sum(),
        )
    return counts


def precision_recall(
    counts: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and F-measure of counts.

    Without predicted edges precision is 1, without target edges recall is 1 and precision 0 (SEISM); F is 0 in both
    cases.

    Args:
        counts: (..., 4) as `edge_counts`, of an image or summed over images.

    Returns:
        Three arrays (...) float64; NaN where neither an edge was predicted nor is one in the target.
    """
    found, wanted, right, made = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    recall = np.where(wanted > 0, found / np.maximum(wanted, 1), 1.0)
    precision = np.where(made > 0, right / np.maximum(made, 1), 1.0)
    recall = np.where((made == 0) & (wanted > 0), 0.0, recall)
    precision = np.where((wanted == 0) & (made > 0), 0.0, precision)
    total = precision + recall
    f = np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0)
    nothing = (wanted == 0) & (made == 0)
    return np.where(nothing, np.nan, precision), np.where(nothing, np.nan, recall), np.where(nothing, np.nan, f)


def best_counts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of one image's counts with the highest F-measure, the lowest threshold of several such.

    Args:
        counts: (K, 4) of `edge_counts`.

    Returns:
        (4,) int64; add it up over images for `ois`.
    """
    f = np.nan_to_num(precision_recall(counts)[2], nan=-1.0)
    best: NDArray[np.int64] = np.asarray(counts)[int(f.argmax())]
    return best


def ods(counts: NDArray[np.int64]) -> float:
    """Optimal data-set scale: the highest F-measure over thresholds that are the same for all images.

    No interpolation between thresholds, as in SEISM.

    Args:
        counts: (K, 4) of `edge_counts`, summed over images.

    Returns:
        A fraction; NaN where no edge was predicted nor is one in a target.
    """
    return _highest(precision_recall(counts)[2])


def ois(best: NDArray[np.int64]) -> float:
    """Optimal image scale: the F-measure when every image has its own best threshold.

    Args:
        best: (4,) `best_counts`, summed over images.

    Returns:
        A fraction; NaN where no edge was predicted nor is one in a target.
    """
    return _highest(precision_recall(best)[2])


def average_precision(counts: NDArray[np.int64]) -> float:
    """Area under the precision-recall curve, by linear interpolation at recalls 0, .01, ..., 1.

    As published, the sum over 101 points is divided by 100 and recalls outside the curve count 0.

    Args:
        counts: (K, 4) of `edge_counts`, summed over images, thresholds ascending.

    Returns:
        A fraction; NaN where no edge was predicted nor is one in a target.
    """
    precision, recall, _ = precision_recall(counts)
    scored = ~np.isnan(recall)
    if not scored.any():
        return math.nan
    recalls, first = np.unique(recall[scored], return_index=True)
    points = np.arange(101) / 100
    points = points[(points >= recalls[0]) & (points <= recalls[-1])]
    return float(np.interp(points, recalls, precision[scored][first]).sum() / 100)


def _highest(f: NDArray[np.float64]) -> float:
    return math.nan if np.isnan(f).all() else float(np.nanmax(f))


def _checked(
    pred: NDArray[Any],
    targets: Sequence[NDArray[np.bool_]],
    max_dist: float,
    thresholds: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float32], list[NDArray[np.bool_]], NDArray[np.float32], float]:
    """Strength in [0, 1], targets, thresholds in the same precision, and the largest distance in pixels."""
    edges = _strength(np.asarray(pred))
    if hasattr(targets, "shape"):
        raise DataError(
            f"the targets are one array of shape {tuple(targets.shape)}",
            "Give a list with one (H, W) edge map per annotator, such as `[target]`.",
        )
    maps = [np.asarray(target) for target in targets]
    if not maps:
        raise DataError("the list of targets is empty", "Give at least one annotator's edge map.")
    for target in maps:
        if target.dtype != np.bool_:
            raise DataError(f"a target holds {target.dtype} values", "Compare it, such as `target > 0`.")
        if target.shape != edges.shape:
            raise DataError(
                f"a prediction of shape {edges.shape} cannot be scored against a target of shape {target.shape}",
                "Resize the prediction to the original image; odsF is measured there.",
            )
    if not (math.isfinite(max_dist) and 0 <= max_dist < 1):
        raise ConfigError(
            f"`max_dist` is {max_dist}",
            "Give a fraction of the image diagonal: 0.0075 (PASCAL-Context, BSDS) or 0.011 (NYUD-v2).",
        )
    cuts = seism_thresholds() if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    if cuts.ndim != 1 or not len(cuts):
        raise ConfigError(f"`thresholds` has shape {cuts.shape}", "Give a list with at least one threshold.")
    if not (cuts.min() >= 0 and cuts.max() <= 1 and (np.diff(cuts) > 0).all()):
        raise ConfigError(f"`thresholds` is {cuts.tolist()}", "Give ascending values in [0, 1].")
    return edges, maps, cuts.astype(np.float32), max_dist * math.hypot(*edges.shape)


def _strength(pred: NDArray[Any]) -> NDArray[np.float32]:
    if pred.ndim != 2 or min(pred.shape) < 2:
        raise DataError(
            f"an edge prediction has shape {pred.shape}", "Give one (H, W) map of at least 2 × 2 pixels per image."
        )
    if pred.dtype == np.uint8:
        return (pred.astype(np.float64) / 255).astype(np.float32)
    if pred.dtype.kind != "f":
        raise DataError(
            f"an edge prediction holds {pred.dtype} values", "Give uint8 in 0..255, or floating point in [0, 1]."
        )
    # A comparison with NaN is False.
    if not (pred.min() >= 0 and pred.max() <= 1):
        wrong = pred[~((pred >= 0) & (pred <= 1))][0]
        raise DataError(
            f"an edge prediction holds {wrong}",
            "Give probabilities in [0, 1], such as the sigmoid of logits, or uint8.",
        )
    return np.ascontiguousarray(pred, dtype=np.float32)


@njit
def _levels(edges: Array, cuts: Array, strict: bool) -> tuple[Array, Array]:
    """Pixels in the order of the first of the descending `cuts` that they pass, and how many pass each."""
    count = len(cuts)
    ends = np.zeros(count, np.int64)
    level = np.empty(len(edges), np.int32)
    for p in range(len(edges)):
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            if edges[p] > cuts[middle] or (edges[p] == cuts[middle] and not strict):
                high = middle
            else:
                low = middle + 1
        level[p] = low
        if low < count:
            ends[low] += 1
    place = np.zeros(count, np.int64)
    for k in range(1, count):
        place[k] = place[k - 1] + ends[k - 1]
    ends = place + ends
    pixels = np.empty(ends[-1], np.int32)
    for p in range(len(edges)):
        if level[p] < count:
            pixels[place[level[p]]] = p
            place[level[p]] += 1
    return pixels, ends
