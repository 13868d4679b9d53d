"""Highest F-measure of saliency maps over a list of thresholds."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mtdense.core.errors import ConfigError, DataError
from mtdense.metrics.functional.checks import check_same_shape, check_valid

__all__ = [
    "Convention",
    "image_precision_recall",
    "max_f_compute",
    "max_f_thresholds",
    "max_f_update",
    "pooled_precision_recall",
]

Convention = Literal["clean", "invpt", "astmt"]


def max_f_thresholds(convention: Convention) -> Tensor:
    """(K,) float32 thresholds on the CPU, ascending: .05, .10, ..., .95, or .20, .25, ..., .90 for "astmt".

    Raises:
        ConfigError: Unknown convention.
    """
    if convention not in ("clean", "invpt", "astmt"):
        raise ConfigError(f"`convention` of maxF is {convention!r}", "Choose 'clean', 'invpt' or 'astmt'.")
    steps = range(4, 19) if convention == "astmt" else range(1, 20)
    return torch.tensor([0.05 * step for step in steps], dtype=torch.float32)


def max_f_update(preds: Tensor, target: Tensor, convention: Convention, valid: Tensor | None = None) -> Tensor:
    """Pixel counts of the images of a batch at every threshold.

    Args:
        preds: (B, H, W) probabilities of "salient", floating point in 0..1.
        target: (B, H, W) bool, or numbers 0 and 1 (salient).
        convention: See `MaxF`.
        valid: (B, H, W) bool, pixels that count; None for all.

    Returns:
        (B, K, 4) int64: salient pixels that were predicted, predicted pixels, salient pixels, pixels that count (the
        latter two are the same at every threshold).

    Raises:
        DataError: Shapes do not fit, or values are out of range where they count.
        ConfigError: Unknown convention.
    """
    thresholds = max_f_thresholds(convention)
    check_same_shape(preds, target)
    valid = check_valid(valid, target.shape, target.device)
    if not preds.is_floating_point():
        raise DataError(
            f"predicted saliency holds {preds.dtype} values", "Give probabilities in 0..1; divide 8-bit maps by 255."
        )
    preds = _in_unit_range(preds.float(), valid)
    _check_binary(target, valid)
    cuts = _cuts(thresholds, convention)
    images = [_image_counts(p, t, v, cuts) for p, t, v in zip(preds, target, valid, strict=True)]
    return torch.stack(images) if images else torch.zeros((0, len(cuts), 4), dtype=torch.int64, device=target.device)


def pooled_precision_recall(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Precision and recall of counts summed over the data set; 0 where they are undefined.

    Args:
        counts: (..., 4) of `max_f_update`.

    Returns:
        Two tensors (...) float64 on the CPU.
    """
    hits, predicted, salient = counts.cpu().double().unbind(-1)[:3]
    return hits / predicted.clamp(min=1), hits / salient.clamp(min=1)


def image_precision_recall(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Precision and recall of each image that has a pixel that counts, for means over images ("astmt").

    Args:
        counts: (B, K, 4) of `max_f_update`.

    Returns:
        Two tensors (N, K) float64 on the CPU, N <= B; 0 where they are undefined.
    """
    counts = counts.cpu()
    return pooled_precision_recall(counts[counts[:, 0, 3] > 0])


def max_f_compute(precision: Tensor, recall: Tensor, beta_squared: float) -> Tensor:
    """Highest F = (1 + b) P R / (b P + R) over thresholds.

    Args:
        precision: (K,) over the data set.
        recall: (K,) over the data set.
        beta_squared: b, the weight of recall; 0.3 favours precision.

    Returns:
        Scalar in 0..1; F is 0 where precision and recall are.
    """
    return f_measures(precision, recall, beta_squared).max()


def f_measures(precision: Tensor, recall: Tensor, beta_squared: float) -> Tensor:
    """F at each threshold; see `max_f_compute`."""
    weighted = beta_squared * precision + recall
    return (1 + beta_squared) * precision * recall / torch.where(weighted > 0, weighted, 1.0)


def _cuts(thresholds: Tensor, convention: Convention) -> list[float]:
    """The least float32 probability that counts as salient at each threshold; above 1 for "none does"."""
    cuts = []
    for threshold in thresholds.double().tolist():
        if convention == "invpt":
            # sigmoid(p) >= t is p >= log(t / (1 - t)).
            logit = math.log(threshold / (1 - threshold))
            least = np.float32(logit)
            cut = least if float(least) >= logit else np.nextafter(least, np.float32(2))
        else:
            cut = np.float32(threshold)
            if convention == "astmt":
                cut = np.nextafter(cut, np.float32(2))  # strictly above
        cuts.append(float(cut))
    return cuts


def _image_counts(preds: Tensor, target: Tensor, valid: Tensor, cuts: list[float]) -> Tensor:
    reached = [cut for cut in cuts if 0 < cut <= 1]
    always = sum(cut <= 0 for cut in cuts)
    passed = _cuts_passed(preds, reached)
    bins = len(reached) + 1
    # Pixels that do not count go to bins of their own, which costs less than picking out the others.
    group = (target == 1).view(torch.uint8) + 2 * (~valid).view(torch.uint8)
    passed += bins * group.flatten()
    histogram = torch.bincount(passed, minlength=4 * bins)[: 2 * bins].reshape(2, bins)
    at_least = histogram.flip(1).cumsum(1).flip(1)
    index = torch.tensor([0] * always + list(range(1, bins)), dtype=torch.int64, device=preds.device)
    counts = torch.zeros((len(cuts), 4), dtype=torch.int64, device=preds.device)
    counts[: len(index), 0] = at_least[1, index]
    counts[: len(index), 1] = at_least.sum(0)[index]
    counts[:, 2] = at_least[1, 0]
    counts[:, 3] = at_least[:, 0].sum()
    return counts


def _cuts_passed(preds: Tensor, cuts: list[float]) -> Tensor:
    """(N,) uint8: how many of the ascending `cuts`, at least 1/32 apart, each of N values in 0..1 reaches.

    Looks up the one cut that lies in a value's 32nd of the unit range, as a search for each value is slow.
    """
    cells = 32  # a power of two, so that the product is exact
    below = [sum(cut < cell / cells for cut in cuts) for cell in range(cells + 1)]
    inside = [next((cut for cut in cuts if int(cut * cells) == cell), 2.0) for cell in range(cells + 1)]
    values = preds.flatten()
    cell_of = (values * cells).int()
    nearest = torch.tensor(inside, dtype=torch.float32, device=preds.device).index_select(0, cell_of)
    passed = torch.tensor(below, dtype=torch.uint8, device=preds.device).index_select(0, cell_of)
    return passed + (values >= nearest).view(torch.uint8)


def _in_unit_range(preds: Tensor, valid: Tensor) -> Tensor:
    """The predictions, checked where they count."""
    if preds.numel() and not _spans(preds, 0.0, 1.0):
        preds = torch.where(valid, preds, 0.0)
        if not _spans(preds, 0.0, 1.0):
            low, high = (float(extreme) for extreme in preds.aminmax())
            raise DataError(
                f"predicted saliency lies in {low:g}..{high:g}", "Give probabilities in 0..1: softmax or sigmoid first."
            )
    return preds


def _check_binary(target: Tensor, valid: Tensor) -> None:
    other = valid & (target != 0) & (target != 1)
    if bool(other.any()):
        raise DataError(
            f"a saliency target holds {target[other][0].item()} where it counts",
            "Code salient pixels as 1, others as 0, and mark those that do not count as not valid.",
        )


def _spans(values: Tensor, low: float, high: float) -> bool:
    # NaN is in no range, and the extremes of what holds a NaN are NaN.
    extremes = values.aminmax()
    return low <= float(extremes.min) and float(extremes.max) <= high
