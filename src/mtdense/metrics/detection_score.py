"""Detection score of 3-D boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from mtdense.core.errors import ConfigError
from mtdense.metrics.base import StreamingMetric
from mtdense.metrics.functional.detection_boxes import BoxPredictions, BoxTargets
from mtdense.metrics.functional.detection_score import (
    SIMILARITIES,
    DetectionScores,
    DetectionSums,
    Matching,
    detection_score_compute,
    detection_score_update,
)

__all__ = ["DetectionScore"]


class DetectionScore(StreamingMetric):
    """Mean detection score of Cityscapes 3D ("mDS"), as its official evaluation has it; a fraction in 0..1.

    Of each class, the average precision at an overlap of 0.7 in the image, times the mean of four similarities of boxes
    in space: distance of centres from above, size, yaw, pitch and roll. These are measured at the confidence where
    precision times recall is highest, over targets nearer than 100 m, and are means over bins of 5 m of distance; pairs
    in fewer than two bins give 0. Classes without targets are left out of all means. Confidences count in 51 steps, so
    that sums of fixed size hold all that is needed.

    Args:
        classes: Names of the classes, in the order of their ids.
        matching: "amodal": 2-D boxes of whole vehicles are compared (official default). "modal": those of what is seen
            (TaskPrompter). The two are different quantities.

    Raises:
        ConfigError: An option makes no sense.

    * Gählert et al. Cityscapes 3D: Dataset and Benchmark for 9 DoF Vehicle Detection. CVPR Workshops 2020.
    """

    unit: ClassVar[str | None] = "fraction"
    scored: ClassVar[str] = "labelled box"
    higher_is_better: bool = True
    targets: Tensor
    hits: Tensor
    misses: Tensor
    pairs: Tensor
    similarity: Tensor

    def __init__(
        self,
        classes: Sequence[str] = ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
        matching: Matching = "amodal",
    ) -> None:
        super().__init__()
        names = tuple(classes)
        if isinstance(classes, str) or not names or len(set(names)) < len(names):
            raise ConfigError(f"DetectionScore got classes={classes!r}", "Give a list of names, each once.")
        if matching not in ("amodal", "modal"):
            raise ConfigError(f"DetectionScore got matching={matching!r}", "Choose 'amodal' or 'modal'.")
        self.classes = names
        self.matching: Matching = matching
        for name, zeros in DetectionSums.zeros(len(names))._asdict().items():
            self._add_count(name, zeros.shape)

    @property
    def protocol(self) -> str:
        """Which 2-D boxes are compared."""
        return f"matching={self.matching}"

    def update(self, preds: Sequence[BoxPredictions], target: Sequence[BoxTargets]) -> None:
        """Adds a batch.

        Args:
            preds: Predictions of each image.
            target: Targets of each image, with its camera.

        Raises:
            DataError: Not as many predictions as targets, or a class id out of range.
        """
        sums = detection_score_update(preds, target, len(self.classes), self.matching)
        self._accumulate(**{name: torch.from_numpy(value) for name, value in sums._asdict().items()})

    def compute(self) -> Tensor:
        """The mean over classes; NaN with a warning where there is no target at all."""
        return self._mean(self._scores().score)

    def details(self) -> dict[str, Tensor]:
        """Means over classes: "mAP", and the similarities "center_distance", "size_similarity", "yaw", "pitch_roll".

        Summed over ranks; all ranks must call it.
        """
        with self.sync_context():
            scores = self._scores()
            means = {name: self._mean(scores.similarity[:, i]) for i, name in enumerate(SIMILARITIES)}
            return {"mAP": self._mean(scores.average_precision), **means}

    def per_class(self) -> dict[str, dict[str, float]]:
        """{class: {name: value}}: "DS", "AP", the similarities, "confidence" (where these are measured) and "targets".

        NaN, but for the number of targets, of classes that have none. Summed over ranks; all ranks must call it.
        """
        with self.sync_context():
            scores, counts = self._scores(), self.targets.tolist()
        table = {}
        for i, name in enumerate(self.classes):
            row = {"DS": scores.score[i], "AP": scores.average_precision[i]}
            row |= dict(zip(SIMILARITIES, scores.similarity[i], strict=True))
            row |= {"confidence": scores.confidence[i], "targets": counts[i]}
            table[name] = {key: float(value) for key, value in row.items()}
        return table

    def _scores(self) -> DetectionScores:
        fields = {name: getattr(self, name).cpu().numpy() for name in DetectionSums._fields}
        return detection_score_compute(DetectionSums(**fields))

    def _mean(self, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Tensor:
        known = values[~np.isnan(values)]
        value = float(known.mean()) if len(known) else float("nan")
        return self._score(torch.tensor(value, dtype=torch.float64), self.targets.sum())
