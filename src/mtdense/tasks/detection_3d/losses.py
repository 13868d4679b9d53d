"""Loss sums of 3-D detection, as FCOS3D and TaskPrompter have them.

* Wang et al. FCOS3D: Fully Convolutional One-Stage Monocular 3D Object Detection. ICCV Workshops 2021.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mtdense.tasks.detection_3d.angles import AngleCoding
from mtdense.tasks.detection_3d.grid import CODE, Goals

__all__ = ["centerness_sums", "class_sums", "code_sums", "direction_sums"]

_ALPHA, _GAMMA = 0.25, 2.0
_BETA = 1 / 9
_WEIGHTS = {"offset": 1.0, "depth": 0.2, "size": 1.0, "rotation": 5.0, "box": 1.0}


def class_sums(logits: Tensor, goals: Goals) -> Tensor:
    """(B,) focal loss over all cells and classes; logits (B, N, K)."""
    classes = logits.shape[-1]
    truth = F.one_hot(goals.classes, classes + 1)[..., :classes].to(logits.dtype)
    cross = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    chance = logits.sigmoid()
    missed = torch.where(truth > 0, 1 - chance, chance)
    weight = torch.where(truth > 0, _ALPHA, 1 - _ALPHA)
    return (weight * missed**_GAMMA * cross).flatten(1).sum(1)


def code_sums(code: Tensor, goals: Goals, coding: AngleCoding) -> Tensor:
    """(B,) weighted smooth L1 over cells that are to find a box; code (B, N, 13) in its units."""
    found = goals.found[..., None]
    guess, truth = torch.where(found, code, 0.0), torch.where(found, goals.code, 0.0)
    first = sum(count for name, count in CODE.items() if name in ("offset", "depth", "size"))
    columns = [first + place for place in coding.binned]
    a, b = guess[..., columns], truth[..., columns]
    guess, truth = guess.clone(), truth.clone()
    # Half turns aside: those are what the bins are for.
    guess[..., columns], truth[..., columns] = a.sin() * b.cos(), a.cos() * b.sin()
    weights = torch.cat([code.new_full((count,), _WEIGHTS[name]) for name, count in CODE.items()])
    return (F.smooth_l1_loss(guess, truth, beta=_BETA, reduction="none") * weights).flatten(1).sum(1)


def direction_sums(logits: Tensor, goals: Goals) -> Tensor:
    """(B,) cross entropy of the bins over cells that are to find a box; logits (B, N, 2 D)."""
    pairs = logits.unflatten(-1, (-1, 2))
    cross = F.cross_entropy(pairs.flatten(0, 2), goals.bins.flatten(), reduction="none").view(goals.bins.shape)
    return torch.where(goals.found[..., None], cross, 0.0).flatten(1).sum(1)


def centerness_sums(logits: Tensor, goals: Goals) -> Tensor:
    """(B,) binary cross entropy over cells that are to find a box; logits (B, N)."""
    cross = F.binary_cross_entropy_with_logits(logits, goals.centerness, reduction="none")
    return torch.where(goals.found, cross, 0.0).sum(1)


def loss_columns(
    parts: Mapping[str, Tensor], code: Tensor, goals: Goals, coding: AngleCoding
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four sums (B,), of classes, code, direction and centerness."""
    return (
        class_sums(parts["classes"], goals),
        code_sums(code, goals, coding),
        direction_sums(parts["direction"], goals),
        centerness_sums(parts["centerness"][..., 0], goals),
    )
