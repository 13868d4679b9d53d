"""Mean intersection over union: confusion matrix and its score."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mtdense.core.errors import ConfigError, DataError
from mtdense.metrics.functional.checks import check_same_shape, check_valid, to_double

__all__ = ["Absent", "iou_per_class", "mean_iou_compute", "mean_iou_update"]

Absent = Literal["zero", "skip"]


def mean_iou_update(preds: Tensor, target: Tensor, num_classes: int, valid: Tensor | None = None) -> Tensor:
    """Confusion matrix of a batch.

    Args:
        preds: Class ids (B, H, W), or scores (B, num_classes, H, W) of which the largest wins.
        target: Class ids (B, H, W).
        num_classes: Number of classes C.
        valid: (B, H, W) bool, pixels that count; None for all.

    Returns:
        (C, C) int64 pixel counts, targets in rows and predictions in columns.

    Raises:
        DataError: Shapes do not fit, or a class id is outside 0..C-1 where it counts.
    """
    if preds.ndim == target.ndim + 1:
        if preds.shape[1] != num_classes:
            raise DataError(
                f"predictions have {preds.shape[1]} score channels for {num_classes} classes",
                "Give one score channel per class, or class ids.",
            )
        preds = preds.argmax(dim=1)
    if preds.is_floating_point():
        raise DataError(
            f"class ids are expected, not {preds.dtype} values of shape {tuple(preds.shape)}",
            "Threshold probabilities or give scores with one channel per class.",
        )
    check_same_shape(preds, target)
    valid = check_valid(valid, target.shape, target.device)
    rows = _counted_ids(target, valid, num_classes, "target")
    cells = rows * num_classes + _counted_ids(preds, valid, num_classes, "prediction")
    # Pixels that do not count go to one more bin, which costs less than picking out the others.
    cells += num_classes**2 * (~valid)
    counts = torch.bincount(cells.flatten(), minlength=num_classes**2 + 1)
    return counts[:-1].reshape(num_classes, num_classes)


def iou_per_class(confusion: Tensor) -> Tensor:
    """(C,) float64 intersection over union of each class; NaN for a class in neither targets nor predictions."""
    counts = to_double(confusion)
    hits = counts.diagonal()
    return hits / (counts.sum(0) + counts.sum(1) - hits)


def mean_iou_compute(confusion: Tensor, absent: Absent = "zero") -> Tensor:
    """Mean intersection over union in 0..1.

    Args:
        confusion: (C, C) counts of `mean_iou_update`, summed over the data set.
        absent: What a class counts that is in neither targets nor predictions: "zero" keeps it as 0 in the mean (the
            evaluators of ATRC, InvPT, BridgeNet, DiffusionMTL), "skip" leaves it out (torchmetrics' macro average). On
            full test sets every class is present and both agree.

    Returns:
        Scalar float64; NaN where no pixel was scored.

    Raises:
        ConfigError: `absent` is neither of the two.
    """
    if absent not in ("zero", "skip"):
        raise ConfigError(f"`absent` is {absent!r}", "Choose 'zero' or 'skip'.")
    iou = iou_per_class(confusion)
    # With nothing scored every class is absent; "zero" must not turn that into a score of 0.
    if absent == "skip" or bool(iou.isnan().all()):
        return iou.nanmean()
    return iou.nan_to_num(nan=0.0).mean()


def _counted_ids(ids: Tensor, valid: Tensor, num_classes: int, what: str) -> Tensor:
    """Checked class ids as int32, 0 where they do not count."""
    if ids.dtype == torch.int64 and ids.numel():
        low, high = (int(extreme) for extreme in ids.aminmax())
        if low < -(2**31) or high >= 2**31:
            ids = torch.where(valid, ids, 0)
            _check_ids(ids, num_classes, what)
    # On CPUs a product is several times as fast as a choice, and int32 twice as fast as int64.
    ids = ids.int() * valid
    _check_ids(ids, num_classes, what)
    return ids


def _check_ids(ids: Tensor, num_classes: int, what: str) -> None:
    if ids.numel() == 0:
        return
    low, high = (int(extreme) for extreme in ids.aminmax())
    if low < 0 or high >= num_classes:
        raise DataError(
            f"a {what} holds class {low if low < 0 else high} where it counts, but there are {num_classes} classes "
            f"(0..{num_classes - 1})",
            "Set `num_classes`, or mark such pixels as not valid.",
        )
