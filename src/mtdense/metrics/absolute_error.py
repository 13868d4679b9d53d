"""Mean absolute error of depth or disparity."""

from __future__ import annotations

import torch
from torch import Tensor

from mtdense.metrics.base import StreamingMetric
from mtdense.metrics.functional.absolute_error import absolute_error_compute, absolute_error_update

__all__ = ["AbsoluteError"]


class AbsoluteError(StreamingMetric):
    """Mean absolute error in the unit of the values, over all valid pixels of the data set.

    The "absErr" of the partial-label tables (MTPSL, DiffusionMTL): metres on NYUD-v2, disparity on Cityscapes; never
    relative. LibMTL instead averages the means of batches, which depends on the batch size.
    """

    higher_is_better: bool = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
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
        total, count = absolute_error_update(preds, target, valid)
        self._accumulate(total=total, count=count)

    def compute(self) -> Tensor:
        """The error; NaN with a warning where nothing was scored."""
        return self._score(absolute_error_compute(self.total, self.count), self.count)
