"""Angular error of surface normals."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from mtdense.metrics.base import StreamingMetric
from mtdense.metrics.functional.checks import to_double
from mtdense.metrics.functional.mean_angular_error import (
    ANGLE_LIMITS,
    mean_angular_error_compute,
    mean_angular_error_update,
)

__all__ = ["MeanAngularError"]


class MeanAngularError(StreamingMetric):
    """Mean angle in degrees between predicted and true normals, over all valid pixels of the data set ("mErr").

    Uses the arc tangent form (ATRC, InvPT, DiffusionMTL); MTPSL and LibMTL use the arc cosine, which is off by some
    0.001 degrees at small angles. `rms` and `shares` give the other figures that papers on normals print.
    """

    unit: ClassVar[str | None] = "degrees"
    higher_is_better: bool = False
    total: Tensor
    squares: Tensor
    within: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._add_sum("total")
        self._add_sum("squares")
        self._add_sum("within", (len(ANGLE_LIMITS),), torch.int64)
        self._add_sum("count", dtype=torch.int64)

    def update(self, preds: Tensor, target: Tensor, valid: Tensor | None = None) -> None:
        """Adds a batch.

        Args:
            preds: (B, 3, H, W) vectors of any length.
            target: (B, 3, H, W) vectors of any length.
            valid: (B, H, W) bool, pixels that count; None for all.

        Raises:
            DataError: Shapes do not fit.
        """
        self._accumulate(**vars(mean_angular_error_update(preds, target, valid)))

    def compute(self) -> Tensor:
        """The mean angle in degrees; NaN with a warning where nothing was scored."""
        return self._score(mean_angular_error_compute(self.total, self.count), self.count)

    def rms(self) -> Tensor:
        """Root mean square of the angle in degrees, summed over ranks; all ranks must call it."""
        with self.sync_context():
            return self._score(mean_angular_error_compute(self.squares, self.count).sqrt(), self.count)

    def shares(self) -> dict[float, Tensor]:
        """{limit in degrees: share of pixels (0..1) below it}, summed over ranks; all ranks must call it."""
        with self.sync_context():
            shares = self._score(to_double(self.within) / to_double(self.count), self.count)
            return dict(zip(ANGLE_LIMITS, shares, strict=True))
