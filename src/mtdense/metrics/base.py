"""What all metrics share: sums as states, exact on every device."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import rank_zero_warn

from mtdense.metrics.functional.exact_sum import LIMBS

__all__ = ["StreamingMetric"]


class StreamingMetric(Metric):
    """A metric whose states are sums of fixed size, exact under any order of images, batches and ranks.

    Counts are int64; real sums are kept without rounding, as int64 digits (see `exact_sum`). Neither is touched when
    the module that holds the metric is cast to half precision, and every device has int64.
    """

    unit: ClassVar[str | None] = None
    """Unit of the value; None where it is that of what is compared."""
    scored: ClassVar[str] = "valid pixel"
    """What the metric counts, for the warning that there was none."""
    is_differentiable: bool = False
    full_state_update: bool = False

    @property
    def protocol(self) -> str:
        """Conventions behind the value where published evaluators disagree; "" for the usual one.

        Values of different protocols are not comparable.
        """
        return ""

    def _add_count(self, name: str, shape: tuple[int, ...] = ()) -> None:
        """Adds a state of int64 zeros that is summed over ranks."""
        self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def _add_exact_sum(self, name: str, shape: tuple[int, ...] = ()) -> None:
        """Adds a state for sums of real numbers, of `shape` and one more axis of digits."""
        self._add_count(name, (*shape, LIMBS))

    def _accumulate(self, **sums: Tensor) -> None:
        """Adds the sums of a batch to the states of the same names, wherever those live."""
        for name, value in sums.items():
            state: Tensor = getattr(self, name)
            setattr(self, name, state + value.to(state.device))

    def _score(self, value: Tensor, count: Tensor) -> Tensor:
        """The score on the metric's device; warns where nothing was scored."""
        if int(count) == 0:
            rank_zero_warn(
                f"{type(self).__name__} has scored no {self.scored}; its value is NaN. Does this split carry labels of "
                "the task?",
                UserWarning,
            )
        device = torch.device(self.device)
        return value.to(device, torch.float32) if device.type == "mps" else value.to(device)
