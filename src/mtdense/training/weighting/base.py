"""What all weightings of the tasks' losses have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn

from mtdense.core.errors import ConfigError
from mtdense.training.distributed import sum_over_ranks
from mtdense.training.recipes import ParameterGroup
from mtdense.training.reducer import Scale

__all__ = ["LossWeighting", "StepInfo", "check_finite", "check_positive", "check_whole", "present_tasks"]


@dataclass(frozen=True)
class StepInfo:
    """What a weighting may ask of a step besides its losses.

    Args:
        labelled: {task: (B,) bool} of this rank's images; a task that the batch does not carry is left out.
        scale: How the reducer counted images, see `PartialLabelReducer`.
        step: Optimiser steps so far.
        epoch_batches: Batches of an epoch on this rank.
        parameters: What is trained.
        idle: Tasks whose weight in the configuration is 0.
    """

    labelled: Mapping[str, Tensor] = field(default_factory=dict)
    scale: Scale = "labelled_count"
    step: int = 0
    epoch_batches: int | float = 1
    parameters: Sequence[nn.Parameter] = ()
    idle: frozenset[str] = frozenset()


class LossWeighting(nn.Module, ABC):
    """Makes the losses of a step into what is minimised.

    Losses come with the configuration's fixed weights applied, and as the reducer gives them: under DDP a rank's value
    is its share times the number of ranks, and that of a task without a label is an exact zero. What is minimised
    keeps this, so that N ranks of B images do what one rank of N * B does.

    Args:
        tasks: Names of the tasks, in one order on all ranks.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.weights: dict[str, Tensor] = {}
        """{task: factor on its loss in the last step}, the same on all ranks; empty where nothing changes."""

    @property
    def not_finite(self) -> str:
        """What was not finite in the last step, where each loss was, in words."""
        return "their weighted sum is not"

    @abstractmethod
    def forward(self, losses: Mapping[str, Tensor], own: Sequence[Tensor], info: StepInfo) -> Tensor:
        """What is minimised.

        Args:
            losses: {task: scalar} of all tasks, in their order.
            own: The architecture's own losses, whose weight is fixed.
            info: More of the step.
        """

    def check(self, trainer: L.Trainer) -> None:
        """Refuses a trainer that this weighting does not work with.

        Raises:
            ConfigError: Parameters or gradients are split over ranks.
        """
        strategy = trainer.strategy
        if not isinstance(strategy, SingleDeviceStrategy) and type(strategy) is not DDPStrategy:
            raise ConfigError(
                f"`loss_weighting` other than fixed with the strategy {type(strategy).__name__}",
                "train on one device or with `--trainer.strategy ddp`, or take `loss_weighting: fixed`.",
            )

    def before_step(self) -> None:
        """Called when the gradients of an optimiser step are there."""

    def groups(self, others: Iterable[ParameterGroup]) -> list[ParameterGroup]:
        """Groups of parameters with this weighting's own in none, or in one of their own."""
        mine = {id(p) for p in self.parameters()}
        groups = list(others)
        for group in groups:
            group.parameters = [p for p in group.parameters if id(p) not in mine]
        return groups


def present_tasks(losses: Mapping[str, Tensor]) -> Tensor:
    """(T,) bool: which tasks have a label anywhere in the step; one collective.

    A loss that is zero on all ranks is that of a task without a label, without a valid pixel, or of weight 0.
    """
    return sum_over_ranks(torch.stack([loss.detach().abs() for loss in losses.values()])) != 0


def check_finite(option: str, value: Any) -> None:
    """Refuses an option that is no number; raises ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"weighting option {option} is {value!r}", "give a number.")


def check_positive(option: str, value: Any) -> None:
    """Refuses an option that is no number above 0; raises ConfigError."""
    check_finite(option, value)
    if value <= 0:
        raise ConfigError(f"weighting option {option} is {value!r}", "give a number above 0.")


def check_whole(option: str, value: Any, lowest: int) -> None:
    """Refuses an option that is no whole number, or below the lowest; raises ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ConfigError(f"weighting option {option} is {value!r}", f"give a whole number of {lowest} or more.")
