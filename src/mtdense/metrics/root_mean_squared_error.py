"""Root mean squared error of depth or disparity."""

from __future__ import annotations

from torch import Tensor

from mtdense.metrics.functional.root_mean_squared_error import rmse_update
from mtdense.metrics.mean_error import MeanError

__all__ = ["RootMeanSquaredError"]


class RootMeanSquaredError(MeanError):
    """Root mean squared error in the unit of the values, over all valid pixels of the data set.

    Predictions are scored as they are given; clamping belongs to the task.

    Args:
        per_image: False takes one root over all pixels (the "RMSE" of ATRC, InvPT, BridgeNet and DiffusionMTL). True
            takes one root per image and their mean (the form of ASTMT); images without a valid pixel do not count.
    """

    def __init__(self, per_image: bool = False) -> None:
        super().__init__()
        self.per_image = per_image

    @property
    def protocol(self) -> str:
        """Says when roots are averaged over images."""
        return "per_image" if self.per_image else ""

    def _sums(self, preds: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        return rmse_update(preds, target, valid, self.per_image)

    def _from_mean(self, mean: Tensor) -> Tensor:
        return mean if self.per_image else mean.sqrt()
