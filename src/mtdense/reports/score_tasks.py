"""How the files of each task but edges are read and scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtdense.core.errors import ConfigError, DataError
from mtdense.metrics import AbsoluteError, MaxF, MeanAngularError, MeanIoU, RootMeanSquaredError
from mtdense.reports.score_coding import (
    binary_map,
    check_size,
    class_target,
    predicted_classes,
    strength,
    values,
    vectors,
)
from mtdense.reports.score_files import Pair, read_stored
from mtdense.reports.score_run import MapScoring, peak_share
from mtdense.tasks import build_tasks
from mtdense.tasks.base import ArrayAny
from mtdense.tasks.class_map import IGNORE

__all__ = ["class_scoring", "depth_scoring", "normals_scoring", "saliency_scoring"]

Loaded = tuple[Tensor, Tensor, Tensor, float]


def class_scoring(
    task: str,
    num_classes: int,
    ignored: Sequence[float] = (IGNORE,),
    label_offset: int = 0,
    absent: str = "zero",
    mat_key: str | None = None,
) -> MapScoring:
    """Class maps: mean intersection over union.

    Args:
        task: "semseg" or "human_parts"; of the latter, images without a person count for nothing.
        num_classes: Number of classes, background included.
        ignored: Stored values of target pixels that count for nothing.
        label_offset: Number subtracted from the stored ids of targets (not of predictions).
        absent: See `MeanIoU`.
        mat_key: Name of the array in .mat files.

    Raises:
        ConfigError: An option makes no sense.
    """
    finish = build_tasks({task: {"num_classes": num_classes}})[task].finish_label
    metric = MeanIoU(num_classes, absent=absent)  # type: ignore[arg-type]  # checked by the metric

    def decode(pred: ArrayAny, target: ArrayAny, pair: Pair) -> tuple[ArrayAny, ArrayAny, npt.NDArray[np.bool_]]:
        label = finish(class_target(target, pair.targets[0], task, num_classes, ignored, label_offset))
        valid = label != IGNORE
        return predicted_classes(pred, pair.pred, num_classes, valid), label, valid

    protocol = {"num_classes": num_classes, "ignored": list(ignored), "label_offset": label_offset, "absent": absent}
    details = lambda: {"per_class": metric.per_class().tolist()}  # noqa: E731
    alone = {"mIoU": MeanIoU(num_classes, absent="skip")}
    return MapScoring(task, {"mIoU": metric}, _loader(decode, mat_key), protocol, details=details, image_metrics=alone)


def saliency_scoring(
    convention: str = "clean",
    ignored: Sequence[float] = (),
    positive_above: float | None = None,
    mat_key: str | None = None,
) -> MapScoring:
    """Saliency maps: the highest F-measure over thresholds.

    Args:
        convention: See `MaxF`.
        ignored: Stored values of target pixels that count for nothing.
        positive_above: See `binary_map`.
        mat_key: Name of the array in .mat files.

    Raises:
        ConfigError: An option makes no sense.
    """
    metric = MaxF(convention)  # type: ignore[arg-type]  # checked by the metric

    def decode(pred: ArrayAny, target: ArrayAny, pair: Pair) -> tuple[ArrayAny, ArrayAny, npt.NDArray[np.bool_]]:
        label = binary_map(target, pair.targets[0], positive_above, ignored)
        shares = strength(pred, pair.pred)
        shares = shares.astype(np.float32) / np.float32(255) if shares.dtype == np.uint8 else shares
        return shares, label, label != IGNORE

    protocol = {"convention": convention, "ignored": list(ignored), "positive_above": positive_above}
    return MapScoring("saliency", {"maxF": metric}, _loader(decode, mat_key, scaled=True), protocol)


def depth_scoring(unit_scale: float | None = None, mat_key: str | None = None) -> MapScoring:
    """Depth maps: errors over pixels whose target is finite and above 0; predictions are scored as they are.

    Args:
        unit_scale: Stored units per metre of files of whole numbers; floating point is in metres already.
        mat_key: Name of the array in .mat files.

    Raises:
        ConfigError: The scale is not above 0.
    """
    if unit_scale is not None and not 0 < unit_scale < float("inf"):
        raise ConfigError(f"--unit-scale is {unit_scale}", "Give stored units per metre, for example 1000.")

    def decode(pred: ArrayAny, target: ArrayAny, pair: Pair) -> tuple[ArrayAny, ArrayAny, npt.NDArray[np.bool_]]:
        truth = values(target, pair.targets[0], unit_scale)
        valid = np.isfinite(truth) & (truth > 0)
        guess = values(pred, pair.pred, unit_scale)
        _check_finite(guess, valid, pair)
        return guess, truth, valid

    metrics = {"RMSE": RootMeanSquaredError(), "absErr": AbsoluteError()}
    return MapScoring("depth", metrics, _loader(decode, mat_key), {"unit_scale": unit_scale}, unit="metres")


def normals_scoring(mat_key: str | None = None) -> MapScoring:
    """Normals: angles over pixels whose target is a unit vector; a prediction of (0, 0, 0) is 90 degrees off.

    Predictions and targets must have the same axes; which ones does not matter.

    Args:
        mat_key: Name of the array in .mat files.
    """
    metric = MeanAngularError()

    def decode(pred: ArrayAny, target: ArrayAny, pair: Pair) -> tuple[ArrayAny, ArrayAny, npt.NDArray[np.bool_]]:
        truth = vectors(target, pair.targets[0])
        valid = np.asarray(truth.any(axis=-1))
        _check_finite(pred, valid, pair)
        return np.moveaxis(vectors(pred, pair.pred), -1, 0), np.moveaxis(truth, -1, 0), valid

    def details() -> dict[str, Any]:
        shares = {f"within_{limit:g}": float(share) for limit, share in metric.shares().items()}
        return {"rms": float(metric.rms()), **shares}

    return MapScoring("normals", {"mErr": metric}, _loader(decode, mat_key), {}, details=details)


def _loader(
    decode: Callable[[ArrayAny, ArrayAny, Pair], tuple[ArrayAny, ArrayAny, npt.NDArray[np.bool_]]],
    mat_key: str | None,
    scaled: bool = False,
) -> Callable[[Pair], Loaded]:
    """Reads a pair, checks its sizes and makes batches of one.

    Args:
        decode: Stored prediction and target to prediction, target and valid pixels.
        mat_key: Name of the array in .mat files.
        scaled: Predictions of whole numbers are shares of their type's range.
    """

    def load(pair: Pair) -> Loaded:
        pred, target = read_stored(pair.pred, mat_key), read_stored(pair.targets[0], mat_key)
        check_size(pred, pair.pred, target, pair.targets[0])
        batch = [torch.from_numpy(np.ascontiguousarray(part)).unsqueeze(0) for part in decode(pred, target, pair)]
        return batch[0], batch[1], batch[2], peak_share(pred) if scaled else 1.0

    return load


def _check_finite(pred: ArrayAny, valid: npt.NDArray[np.bool_], pair: Pair) -> None:
    if pred.dtype.kind == "f" and not np.isfinite(pred[valid] if pred.shape[:2] == valid.shape else pred).all():
        raise DataError(
            f"{pair.pred} has values that are not finite where the target {pair.targets[0]} counts",
            "Predict a number for every pixel.",
        )
