"""Maximal F-measure of saliency maps."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from mtdense.core.errors import ConfigError
from mtdense.metrics.base import StreamingMetric
from mtdense.metrics.curve import plot_precision_recall
from mtdense.metrics.functional.checks import check_valid
from mtdense.metrics.functional.exact_sum import exact_sum, exact_value
from mtdense.metrics.functional.max_f import (
    Convention,
    f_measures,
    image_precision_recall,
    max_f_compute,
    max_f_thresholds,
    max_f_update,
    pooled_precision_recall,
)

__all__ = ["MaxF"]

_BETA_SQUARED: dict[str, float] = {"clean": 0.3, "invpt": 0.3, "astmt": 1.0}


class MaxF(StreamingMetric):
    """F-measure of saliency maps at the best of a list of thresholds ("maxF"); a fraction in 0..1.

    Args:
        convention: "clean" (ATRC): probability >= .05, .10, ..., .95, pixels pooled over the data set. "invpt" (InvPT,
            TaskPrompter, BridgeNet, DiffusionMTL, MLoRE, MTMamba): the same after a second sigmoid, as in their
            published tables; only probabilities of 0, .2007, .4055, .6190 and .8473 then separate anything, and an
            empty prediction scores as if every pixel were salient. "astmt" (ASTMT, MTI-Net): probability > .20, .25,
            ..., .90, precision and recall averaged over images.
        beta_squared: Weight of recall in F = (1 + b) P R / (b P + R); None for that of the convention: 0.3, and 1 with
            "astmt".
        ignore_index: Target value that counts for nothing, besides what `valid` says; None for none.

    Raises:
        ConfigError: Unknown convention, or `beta_squared` is not above 0.
    """

    unit: ClassVar[str | None] = "fraction"
    higher_is_better: bool = True
    counts: Tensor
    precision_sum: Tensor
    recall_sum: Tensor
    images: Tensor

    def __init__(
        self, convention: Convention = "clean", beta_squared: float | None = None, ignore_index: int | None = 255
    ) -> None:
        super().__init__()
        self.thresholds = max_f_thresholds(convention)
        if beta_squared is None:
            beta_squared = _BETA_SQUARED[convention]
        if not 0 < beta_squared < float("inf"):
            raise ConfigError(f"MaxF got beta_squared={beta_squared!r}", "Give a number above 0, such as 0.3.")
        self.convention: Convention = convention
        self.beta_squared = float(beta_squared)
        self.ignore_index = ignore_index
        size = len(self.thresholds)
        self._add_count("counts", (size, 4))
        if convention == "astmt":
            self._add_exact_sum("precision_sum", (size,))
            self._add_exact_sum("recall_sum", (size,))
            self._add_count("images")

    @property
    def protocol(self) -> str:
        """Convention and weight of recall."""
        return f"convention={self.convention}, beta_squared={self.beta_squared:g}"

    def update(self, preds: Tensor, target: Tensor, valid: Tensor | None = None) -> None:
        """Adds a batch.

        Args:
            preds: (B, H, W) probabilities of "salient", floating point in 0..1.
            target: (B, H, W) bool, or numbers 0, 1 (salient) and `ignore_index`.
            valid: (B, H, W) bool, pixels that count; None for all but `ignore_index`.

        Raises:
            DataError: Shapes do not fit, or values are out of range where they count.
        """
        if self.ignore_index is not None and target.dtype != torch.bool:
            valid = check_valid(valid, target.shape, target.device) & (target != self.ignore_index)
        counts = max_f_update(preds, target, self.convention, valid)
        self._accumulate(counts=counts.sum(0))
        if self.convention == "astmt":
            precision, recall = image_precision_recall(counts)
            self._accumulate(
                precision_sum=exact_sum(precision), recall_sum=exact_sum(recall), images=torch.tensor(len(precision))
            )

    def compute(self) -> Tensor:
        """The highest F; NaN with a warning where nothing was scored."""
        best = max_f_compute(*self._precision_recall(), self.beta_squared)
        pixels = self.counts[0, 3]
        return self._score(best if int(pixels) else torch.full_like(best, torch.nan), pixels)

    def curve(self) -> tuple[Tensor, Tensor, Tensor]:
        """Precision (K,), recall (K,) and thresholds (K,), summed over ranks; all ranks must call it."""
        with self.sync_context():
            return *self._precision_recall(), self.thresholds

    def plot(self, ax: Any | None = None) -> Any:
        """Draws recall and precision, with a mark where F is highest.

        Args:
            ax: Matplotlib axes to draw in; None for a new figure.

        Returns:
            Figure and axes.

        Raises:
            MissingDependencyError: Matplotlib is not installed.
        """
        precision, recall, _ = self.curve()
        best = int(f_measures(precision, recall, self.beta_squared).argmax())
        return plot_precision_recall(precision.tolist(), recall.tolist(), best, f"maxF ({self.convention})", ax)

    def _precision_recall(self) -> tuple[Tensor, Tensor]:
        if self.convention != "astmt":
            return pooled_precision_recall(self.counts)
        images = self.images.cpu().clamp(min=1)
        return exact_value(self.precision_sum) / images, exact_value(self.recall_sum) / images
