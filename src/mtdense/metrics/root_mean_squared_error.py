"""Root mean squared error of depth or disparity."""

from __future__ import annotations

import torch
from torch import Tensor

from mtdense.metrics.base import StreamingMetric
from mtdense.metrics.functional.root_mean_squared_error import rmse_compute, rmse_update

__all__ = ["RootMeanSquaredError"]


class RootMeanSquaredError(StreamingMetric):
    """Root mean squared error in the unit of the values, over all valid pixels of the data set.

    Predictions are scored as they are given; clamping belongs to the task.

    Args:
        per_image: False takes one root over all pixels (the "RMSE" of ATRC, InvPT, BridgeNet and DiffusionMTL). True
            takes one root per image and their mean (the form of ASTMT); images without a valid pixel do not count.
    """

    higher_is_better: bool = False
    total: Tensor
    count: Tensor

    def __init__(self, per_image: bool = False) -> None:
        super().__init__()
        self.per_image = per_image
        self._add_sum("total")
        self._add_sum("count", dtype=torch.int64)

    def update(self, preds: Tensor, target: Tensor, valid: Tensor | None = None) -> None:
        """Adds a batch.

        Args:
            preds: (B, ...) values.
            target: (B, ...) values.
            valid: (B, ...) bool, pixels that count; None for all.

        Raises:
            DataError: Shapes do not fit.
        """
        total, count = rmse_update(preds, target, valid, self.per_image)
        self._accumulate(total=total, count=count)

    def compute(self) -> Tensor:
        """The error; NaN with a warning where nothing was scored."""
        return self._score(rmse_compute(self.total, self.count, self.per_image), self.count)
