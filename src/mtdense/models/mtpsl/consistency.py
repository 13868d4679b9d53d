"""Cross-task consistency: which pairs of tasks are compared, on what maps, and by how much they differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mtdense.models.output_form import output_form
from mtdense.tasks import Task
from mtdense.tasks.losses import unit_vectors

__all__ = ["Pair", "Pairs", "choose_pairs", "needs_noise", "pair_losses", "prediction_map", "target_map"]

Pairs = Literal["auto", "unlabelled", "all"]

_EPS = 1e-12
_LEAST_SCALE = 1e-3


class Pair(NamedTuple):
    """A prediction that is compared with a label of the same image.

    Args:
        image: Row of the batch.
        source: Number of the predicted task.
        target: Number of the labelled task.
    """

    image: int
    source: int
    target: int


def choose_pairs(labelled: Sequence[Sequence[bool]], pairs: Pairs) -> list[Pair]:
    """The pairs of a batch.

    Args:
        labelled: For each image whether it has the label of each task.
        pairs: `unlabelled`: from each unlabelled task to each labelled one. `all`: from every task to each other
            labelled one. `auto`: the former, and for images with all labels the latter, which is what the public
            code does in the one-label, random-label and full setting.
    """
    chosen = []
    for image, flags in enumerate(labelled):
        every = pairs == "all" or (pairs == "auto" and all(flags))
        sources = [s for s, flag in enumerate(flags) if every or not flag]
        targets = [t for t, flag in enumerate(flags) if flag]
        chosen += [Pair(image, s, t) for s in sources for t in targets if s != t]
    return chosen


def needs_noise(task: Task) -> bool:
    """Whether the map of a prediction is drawn at random."""
    return output_form(task) == "one_hot"


def prediction_map(task: Task, logits: Tensor, uniform: Tensor | None = None, legacy_scale: bool = False) -> Tensor:
    """What the mapping network sees of a prediction, with gradient.

    Scores of classes become a one-hot drawn by the straight-through Gumbel softmax (temperature 1), the score of one
    class its probability, measurements are divided by the image's largest (in absolute value, which only matters
    where an untrained head gives negative ones), unit vectors brought to 0..1.

    Args:
        task: The task.
        logits: (B, num_outputs, H, W).
        uniform: Values in [0, 1) of the shape of `logits`, for tasks that need noise.
        legacy_scale: Divide by the largest measurement even where it is negative, which turns the map's sign round, or
            almost zero, as the public code does.
    """
    form = output_form(task)
    logits = logits.float()
    if form == "one_hot":
        assert uniform is not None
        gumbel = -torch.log(-torch.log(uniform.clamp(min=_EPS)))
        soft = (logits.log_softmax(1) + gumbel).softmax(1)
        hard = torch.zeros_like(soft).scatter(1, soft.argmax(1, keepdim=True), 1.0)
        return hard - soft.detach() + soft
    if form == "probability":
        return logits.sigmoid()
    if form == "vectors":
        return (unit_vectors(logits) + 1) / 2
    return _by_largest(logits, legacy_scale)


def target_map(task: Task, target: Tensor, legacy_scale: bool = False) -> Tensor:
    """What the mapping network sees of a target: (B, num_outputs, H, W), of the form of `prediction_map`.

    Invalid pixels are zero; where vectors are asked for, the vector zero, which is coded as 0.5.
    """
    form = output_form(task)
    ideal = task.ideal_logits(target).float()
    if form == "one_hot":
        return ideal
    if form == "probability":
        return (ideal > 0).float()
    if form == "vectors":
        return (ideal + 1) / 2
    return _by_largest(ideal, legacy_scale)


def pair_losses(mapped: Tensor, target: Tensor, feature: Tensor, weight: Tensor, feature_weight: float) -> Tensor:
    """1 - cos(a, b) + w (1 - cos(a, f)) + w (1 - cos(b, f)) of each pair, cosines averaged over positions: (P,).

    A pair without a position that counts gives 0.

    Args:
        mapped: (P, C, h, w), a: the mapped prediction.
        target: (P, C, h, w), b: the mapped target.
        feature: (P, C, h, w), f: the backbone's deepest map; no gradient goes there.
        weight: (P, h, w), 1 at positions that count.
        feature_weight: w.
    """
    feature = feature.detach()
    counted = weight.sum((1, 2))
    some = (counted > 0).float()

    def distance(x: Tensor, y: Tensor) -> Tensor:
        cosine = F.cosine_similarity(x.float(), y.float(), dim=1, eps=_EPS)
        return some - (cosine * weight).sum((1, 2)) / counted.clamp(min=1)

    return distance(mapped, target) + feature_weight * (distance(mapped, feature) + distance(target, feature))


def _by_largest(values: Tensor, legacy: bool) -> Tensor:
    if legacy:
        return values / (values.amax((1, 2, 3), keepdim=True) + _EPS)
    return values / values.abs().amax((1, 2, 3), keepdim=True).clamp(min=_LEAST_SCALE)
