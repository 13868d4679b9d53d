"""What the errors of depth and disparity share."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from mtdense.metrics.base import StreamingMetric
from mtdense.metrics.functional.exact_sum import exact_sum, exact_value

__all__ = ["MeanError"]


class MeanError(StreamingMetric):
    """The mean of something over pixels or images, and a function of it; lower is better."""

    higher_is_better: bool = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._add_exact_sum("total")
        self._add_count("count")

    @abstractmethod
    def _sums(self, preds: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B,) totals (float64) and counts (int64) of the images of a batch."""

    def _from_mean(self, mean: Tensor) -> Tensor:
        """The score, from the mean over the data set."""
        return mean

    def update(self, preds: Tensor, target: Tensor, valid: Tensor | None = None) -> None:
        """Adds a batch.

        Args:
            preds: (B, ...) values.
            target: (B, ...) values.
            valid: (B, ...) bool, pixels that count; None for all.

        Raises:
            DataError: Shapes do not fit.
        """
        totals, counts = self._sums(preds, target, valid)
        self._accumulate(total=exact_sum(totals), count=counts.sum())

    def compute(self) -> Tensor:
        """The error; NaN with a warning where nothing was scored."""
        return self._score(self._from_mean(exact_value(self.total) / self.count.cpu().to(torch.float64)), self.count)
