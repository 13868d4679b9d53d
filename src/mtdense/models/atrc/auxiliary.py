"""ATRC's first predictions: classes for every task, made of its own label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mtdense.models.output_form import output_form
from mtdense.tasks import Task
from mtdense.tasks.base import LossTerms
from mtdense.tasks.class_map import cross_entropy_map
from mtdense.tasks.losses import count, masked_sum, mean_over_counts

__all__ = ["AuxiliaryForm", "DirectionClasses", "OwnClasses", "TwoClasses", "ValueClasses", "auxiliary_form"]


class AuxiliaryForm(Protocol):
    """Classes that a task is predicted in, and the loss of that; losses as in `Task`."""

    @property
    def num_outputs(self) -> int:
        """Number of classes."""

    def loss_terms(self, logits: Tensor, target: Tensor, valid: Tensor) -> LossTerms:
        """See `Task.loss_terms`; logits are (B, num_outputs, H, W)."""

    def loss_value(self, terms: LossTerms) -> Tensor:
        """See `Task.loss_value`."""


class OwnClasses:
    """A task of classes is predicted in them, with its own loss."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.num_outputs = task.num_outputs

    def loss_terms(self, logits: Tensor, target: Tensor, valid: Tensor) -> LossTerms:
        """The task's own."""
        return self.task.loss_terms(logits, target, valid)

    def loss_value(self, terms: LossTerms) -> Tensor:
        """The task's own."""
        return self.task.loss_value(terms)


class TwoClasses(OwnClasses):
    """A task of one probability is predicted by two logits.

    Cross-entropy of two classes is that of the difference of their logits: with the task's own weights, its own loss.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.num_outputs = 2

    def loss_terms(self, logits: Tensor, target: Tensor, valid: Tensor) -> LossTerms:
        """The task's own, of logit 1 less logit 0."""
        return self.task.loss_terms(logits[:, 1:] - logits[:, :1], target, valid)


class _Sorted:
    """Cross-entropy, mean over valid pixels, of targets that are sorted into classes."""

    def classes(self, target: Tensor, valid: Tensor) -> Tensor:
        """Class ids (B, H, W); anything where `valid` does not hold."""
        raise NotImplementedError

    def loss_terms(self, logits: Tensor, target: Tensor, valid: Tensor) -> LossTerms:
        """Sum of the cross-entropy and number of valid pixels."""
        entropy = cross_entropy_map(logits, self.classes(target, valid), valid)
        return LossTerms(masked_sum(entropy, valid).unsqueeze(1), count(valid))

    def loss_value(self, terms: LossTerms) -> Tensor:
        """Mean over valid pixels."""
        return mean_over_counts(terms.sums, terms.counts)


class ValueClasses(_Sorted):
    """Values sorted into bins of equal width on a logarithmic scale.

    Args:
        bins: Number of bins.
        low: Start of the first bin, in the label's unit; smaller values are put into it.
        high: End of the last bin; larger values are put into it.
    """

    def __init__(self, bins: int, low: float, high: float) -> None:
        self.num_outputs = bins
        self.low, self.high = low, high

    def classes(self, target: Tensor, valid: Tensor) -> Tensor:
        """The bin of each value (B, H, W)."""
        values = torch.where(valid, target, self.low).float()
        bins = (self.num_outputs * torch.log(values / self.low) / math.log(self.high / self.low)).floor()
        return bins.clamp(0, self.num_outputs - 1).long()


class DirectionClasses(_Sorted):
    """Unit vectors sorted by the nearest of some directions.

    Args:
        directions: Unit vectors.
    """

    def __init__(self, directions: Sequence[Sequence[float]]) -> None:
        self.num_outputs = len(directions)
        self.directions = [tuple(direction) for direction in directions]

    def classes(self, target: Tensor, valid: Tensor) -> Tensor:
        """The nearest direction of each vector of (B, 3, H, W)."""
        directions = torch.tensor(self.directions, dtype=target.dtype, device=target.device)
        return torch.einsum("bchw,kc->bkhw", target, directions).argmax(dim=1)


def auxiliary_form(
    task: Task, bins: int, value_range: tuple[float, float], directions: Sequence[Sequence[float]]
) -> AuxiliaryForm:
    """How a task is first predicted.

    Args:
        task: The task.
        bins: Bins of measurements.
        value_range: Their range.
        directions: What directions are sorted by.

    Raises:
        ConfigError: The task does not say what its outputs are.
    """
    form = output_form(task)
    if form == "one_hot":
        return OwnClasses(task)
    if form == "probability":
        return TwoClasses(task)
    return ValueClasses(bins, *value_range) if form == "values" else DirectionClasses(directions)
