"""Angular error of surface normals."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from mtdense.metrics.base import StreamingMetric
from mtdense.metrics.functional.checks import to_double
from mtdense.metrics.functional.exact_sum import exact_sum, exact_value
from mtdense.metrics.functional.mean_angular_error import ANGLE_LIMITS, mean_angular_error_update

__all__ = ["MeanAngularError"]


class MeanAngularError(StreamingMetric):
    """Mean angle in degrees between predicted and true normals, over all valid pixels of the data set ("mErr").

    Uses the arc tangent form (ATRC, InvPT, DiffusionMTL); MTPSL and LibMTL use the arc cosine, which is off by some
    0.001 degrees at small angles. `rms`, `shares` and `details` give the other figures that papers on normals print.
    """

    unit: ClassVar[str | None] = "degrees"
    higher_is_better: bool = False
    total: Tensor
    squares: Tensor
    within: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._add_exact_sum("total")
        self._add_exact_sum("squares")
        self._add_count("within", (len(ANGLE_LIMITS),))
        self._add_count("count")

    def update(self, preds: Tensor, target: Tensor, valid: Tensor | None = None) -> None:
        """Adds a batch.

        Args:
            preds: (B, 3, H, W) vectors of any length.
            target: (B, 3, H, W) vectors of any length.
            valid: (B, H, W) bool, pixels that count; None for all.

        Raises:
            DataError: Shapes do not fit.
        """
        sums = mean_angular_error_update(preds, target, valid)
        self._accumulate(
            total=exact_sum(sums.total),
            squares=exact_sum(sums.squares),
            within=sums.within.sum(0),
            count=sums.count.sum(),
        )

    def compute(self) -> Tensor:
        """The mean angle in degrees; NaN with a warning where nothing was scored."""
        return self._score(self._mean(self.total), self.count)

    def rms(self) -> Tensor:
        """Root mean square of the angle in degrees, summed over ranks; all ranks must call it."""
        with self.sync_context():
            return self._score(self._mean(self.squares).sqrt(), self.count)

    def shares(self) -> dict[float, Tensor]:
        """{limit in degrees: share of pixels (0..1) below it}, summed over ranks; all ranks must call it."""
        with self.sync_context():
            shares = self._score(to_double(self.within) / to_double(self.count), self.count)
            return dict(zip(ANGLE_LIMITS, shares, strict=True))

    def details(self) -> dict[str, Tensor]:
        """What papers on normals print: "mean" and "rms" in degrees, and the shares of pixels "within_11.25" etc.

        Summed over ranks; all ranks must call it.
        """
        shares = {f"within_{limit:g}": share for limit, share in self.shares().items()}
        return {"mean": self.compute(), "rms": self.rms(), **shares}

    def _mean(self, total: Tensor) -> Tensor:
        return exact_value(total) / self.count.cpu().to(torch.float64)
