"""Pseudo-labels: what one view's prediction says about another's, where it is sure enough."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtdense.models.output_form import output_form
from mtdense.models.views import SecondView
from mtdense.tasks import Task

__all__ = ["Thresholds", "pseudo_labels", "pseudo_losses"]


@dataclass(frozen=True)
class Thresholds:
    """When a pixel of the teacher counts.

    Args:
        probability: Class scores: the largest probability is above it. The score of one class: the probability is
            above it or below 1 minus it.
        value: Measurements: teacher and student differ by less, in the label's unit.
        vectors: Unit vectors: 1 - <teacher, student> is less.
    """

    probability: float = 0.95
    value: float = 0.1
    vectors: float = 0.1


def pseudo_labels(
    task: Task, teacher: Tensor, student: Tensor, view: SecondView, thresholds: Thresholds
) -> tuple[Tensor, Tensor]:
    """Targets for the second view from the first, without gradient.

    Args:
        task: The task.
        teacher: Logits of the first view (B, num_outputs, H, W).
        student: Logits of the second view, of the same shape.
        view: How the first is moved onto the second.
        thresholds: Which pixels are kept.

    Returns:
        Targets in the task's coding, and which pixels of them are kept (B, H, W).
    """
    form = output_form(task)
    with torch.no_grad():
        if form == "one_hot":
            confidence, classes = teacher.float().softmax(1).max(1)
            return view.move_maps(classes), view.move_maps(confidence) > thresholds.probability
        moved = view.move_predictions(task, task.predict(teacher))
        if form == "probability":
            sure = (moved > thresholds.probability) | (moved < 1 - thresholds.probability)
            return (moved > 0.5).float(), sure
        own = task.predict(student)
        if form == "values":
            return moved, (moved - own).abs() < thresholds.value
        return moved, 1 - (moved * own).sum(1) < thresholds.vectors


def pseudo_losses(task: Task, student: Tensor, target: Tensor, kept: Tensor, shown: Tensor) -> Tensor:
    """The task's own loss against pseudo-labels, averaged over all pixels that show image: (B,).

    Args:
        task: The task.
        student: Logits (B, num_outputs, H, W).
        target: Pseudo-labels.
        kept: (B, H, W) bool; other pixels add nothing to the sum but count in the average.
        shown: (B, H, W), 1 where the view shows image.
    """
    kept = kept & (shown > 0) & task.valid(target)
    terms = task.loss_terms(student, target, kept)
    share = kept.flatten(1).sum(1) / shown.flatten(1).sum(1).clamp(min=1)
    return task.loss_value(terms) * share
