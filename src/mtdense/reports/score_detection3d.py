"""Scores of 3-D boxes in files, whoever wrote them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from mtdense.core.errors import DataError
from mtdense.core.progress import track
from mtdense.core.words import counted
from mtdense.data.cityscapes.boxes3d import EVALUATED_LABELS, read_boxes3d, read_detections
from mtdense.data.cityscapes.detections3d import box_predictions, box_targets, index_box_files
from mtdense.metrics import DetectionScore
from mtdense.metrics.functional.detection_score import Matching
from mtdense.reports.run_record import MetricValue
from mtdense.reports.score_files import naming
from mtdense.reports.score_run import Score

__all__ = ["score_detection3d"]

_TASK = "detection3d"
_NAMED = 5


def score_detection3d(
    preds: Path, targets: Path, matching: Matching = "amodal", only: Sequence[str] | None = None
) -> Score:
    """Scores detections in the format of the official evaluation of Cityscapes 3D.

    Args:
        preds: Folder of detections. An image without a file has no detections, as in the official evaluation, and a
            warning says so.
        targets: Folder of labels, such as `gtBbox3d/val`.
        matching: See `DetectionScore`.
        only: Images to score; None: all that have labels.

    Raises:
        DataError: A file is damaged, labels of an image are missing, detections are of no labelled image, or there are
            none at all.
    """
    pred_files, target_files = index_box_files(preds), index_box_files(targets)
    ids = list(target_files) if only is None else list(only)
    _check_files(preds, pred_files, targets, target_files, ids, only is None)
    metric = DetectionScore(EVALUATED_LABELS, matching)
    for image in track(ids, "Scoring 3-D boxes"):
        truth = box_targets(read_boxes3d(target_files[image]))
        found = read_detections(pred_files[image]) if image in pred_files else ()
        with naming(pred_files.get(image, target_files[image])):
            metric.update([box_predictions(found)], [truth])
    values = {"mDS": metric.compute(), **metric.details()}
    figures = [
        MetricValue(_TASK, name, float(value), "fraction", True, name == "mDS") for name, value in values.items()
    ]
    missing = sum(image not in pred_files for image in ids)
    details = {"per_class": metric.per_class(), "images_without_predictions": missing}
    return Score(_TASK, ids, figures, {}, {"matching": matching}, details)


def _check_files(
    preds: Path,
    pred_files: dict[str, Path],
    targets: Path,
    target_files: dict[str, Path],
    ids: Sequence[str],
    whole: bool,
) -> None:
    unlabelled = [image for image in ids if image not in target_files]
    if unlabelled:
        raise DataError(
            f"{len(unlabelled)} of {len(ids)} targets missing in {targets}: {_some(unlabelled)}", "Add them."
        )
    if not any(image in pred_files for image in ids):
        raise DataError(
            f"no file in {preds} belongs to an image of {targets}: the first are of {next(iter(pred_files))!r} and "
            f"{next(iter(target_files))!r}",
            "Files match by their names up to the last underscore.",
        )
    left = [image for image in pred_files if image not in target_files] if whole else []
    if left:
        raise DataError(
            f"{len(left)} of {len(pred_files)} predictions without a target in {preds}: {_some(left)}",
            "Remove them, or name the images to score by --list FILE, one a line.",
        )
    missing = [image for image in ids if image not in pred_files]
    if missing:
        warnings.warn(
            f"{preds} lacks files of {len(missing)} of {counted(len(ids), 'image')}, which count as without "
            f"detections: {_some(missing)}",
            UserWarning,
            stacklevel=3,
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
