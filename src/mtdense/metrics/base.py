"""What all metrics share: sums as states, exact on every device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import rank_zero_warn

__all__ = ["StreamingMetric"]


class StreamingMetric(Metric):
    """A metric whose states are sums of fixed size, exact under any order of batches and ranks.

    Counts are int64 and real sums float64. They keep these types when the module that holds the metric is cast to
    half precision, and float64 sums stay on the CPU when it moves to a device without float64 (MPS).
    """

    unit: ClassVar[str | None] = None
    """Unit of the value; None where it is that of what is compared."""
    is_differentiable: bool = False
    full_state_update: bool = False

    def _add_sum(self, name: str, shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float64) -> None:
        """Adds a state of zeros that is summed over ranks."""
        self.add_state(name, torch.zeros(shape, dtype=dtype), dist_reduce_fx="sum")

    def _accumulate(self, **sums: Tensor) -> None:
        """Adds the sums of a batch to the states of the same names, wherever those live."""
        for name, value in sums.items():
            state: Tensor = getattr(self, name)
            setattr(self, name, state + value.to(device=state.device, dtype=state.dtype))

    def _score(self, value: Tensor, count: Tensor) -> Tensor:
        """The score on the metric's device; warns where nothing was scored."""
        if int(count) == 0:
            rank_zero_warn(
                f"{type(self).__name__} has scored no valid pixel; its value is NaN. Does this split carry labels of "
                "the task?",
                UserWarning,
            )
        device = torch.device(self.device)
        return value.to(device, torch.float32) if device.type == "mps" else value.to(device)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        # torchmetrics only blocks `.half()` and the like; `.to(dtype)` would cast the sums as well.
        def keep_type(state: Tensor) -> Tensor:
            if state.dtype != torch.float64:
                return fn(state)
            device = fn(torch.empty(0, device=state.device)).device
            return state if device.type == "mps" else state.to(device)

        moved: Any = super()._apply(keep_type, exclude_state)
        return moved  # type: ignore[no-any-return]
