"""Mean absolute error of depth or disparity."""

from __future__ import annotations

from torch import Tensor

from mtdense.metrics.functional.absolute_error import absolute_error_update
from mtdense.metrics.mean_error import MeanError

__all__ = ["AbsoluteError"]


class AbsoluteError(MeanError):
    """Mean absolute error in the unit of the values, over all valid pixels of the data set.

    The "absErr" of the partial-label tables (MTPSL, DiffusionMTL): metres on NYUD-v2, disparity on Cityscapes; never
    relative. LibMTL instead averages the means of batches, which depends on the batch size.
    """

    def _sums(self, preds: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        return absolute_error_update(preds, target, valid)
