"""Task prototypes: what a task's feature has in common with each of them, and what it takes from each."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mtdense.models.layers.precision import full_precision
from mtdense.models.prototype.options import Affinity, PrototypeGradient, PrototypeInit, Similarity
from mtdense.models.prototype.region import weighted_mean

__all__ = ["TaskPrototype", "task_similarity"]


def task_similarity(elements: Tensor, slots: Tensor, kind: Similarity, temperature: float) -> tuple[Tensor, Tensor]:
    """Similarity of elements (..., D) to slots (T, D), twice: (..., T), in float32 (eq. 3).

    Both hold the same values, worked out once; the gradient of the second stops before the slots.

    Args:
        elements: Projected task features.
        slots: Prototype.
        kind: `cosine` divided by `temperature`, or `dot` product divided by sqrt(D).
        temperature: Of `cosine`. Without one (1.0) a softmax over T slots cannot become confident: one task alone
            reaches at most 0.787 with T = 3.
    """
    with full_precision(elements.device):
        elements, slots = elements.float(), slots.float()
        divisor: Tensor | float = slots.shape[-1] ** 0.5
        if kind == "cosine":
            # Not unit elements times unit slots: a second copy of the features would have to be kept for backward.
            divisor = elements.norm(dim=-1, keepdim=True).clamp(min=1e-12) * temperature
            slots = F.normalize(slots, dim=-1)
        if not torch.is_grad_enabled():
            similarity = elements @ slots.t() / divisor
            return similarity, similarity
        moving, fixed = _Products.apply(elements, slots)  # type: ignore[no-untyped-call]
        return moving / divisor, fixed / divisor


class _Products(torch.autograd.Function):
    """Products of elements (..., D) and slots (T, D), twice; the second's gradient reaches the elements alone."""

    @staticmethod
    def forward(ctx: Any, elements: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(elements, slots)
        ctx.set_materialize_grads(False)
        products = elements @ slots.t()
        return products, products.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, moving: Tensor | None, fixed: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        elements, slots = ctx.saved_tensors
        given = [gradient for gradient in (moving, fixed) if gradient is not None]
        of_elements = torch.stack(given).sum(0) @ slots if given else None
        return of_elements, None if moving is None else moving.flatten(0, -2).t() @ elements.flatten(0, -2)


class TaskPrototype(nn.Module):
    """One learnt slot per task (eqs. 3 and 7).

    Args:
        num_tasks: Tasks, in the network's order.
        slot_dim: Elements of a slot.
        affinity: `per_position`: each position has an affinity of its own. `pooled`: the feature is averaged first, so
            that retrieval has a single key and attention no choice. `tokens`: averaged first, too, but each slot,
            weighted by its affinity, is a key of its own. The paper leaves it open. [inferred]
        similarity: See `task_similarity`. [inferred: eq. 3 names none]
        temperature: See `task_similarity`. [assumed]
        init: `normal` with deviation slot_dim^-1/2 (the paper: "randomly") or `orthogonal` unit vectors. [inferred]
        gradient: What reaches the slots from the task losses: nothing (`akg`: they are "updated through eq. 6"), what
            flows through the `affinity`, or `all`. [inferred]
    """

    def __init__(
        self,
        num_tasks: int,
        slot_dim: int,
        affinity: Affinity = "per_position",
        similarity: Similarity = "cosine",
        temperature: float = 0.1,
        init: PrototypeInit = "normal",
        gradient: PrototypeGradient = "akg",
    ) -> None:
        super().__init__()
        self.affinity = affinity
        self.similarity = similarity
        self.temperature = temperature
        self.gradient = gradient
        self.slots = nn.Parameter(torch.empty(num_tasks, slot_dim))
        if init == "normal":
            nn.init.normal_(self.slots, std=slot_dim**-0.5)
        else:
            nn.init.orthogonal_(self.slots)

    def scores(self, tokens: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Similarity of projected features (B, L, D) to each slot: (B, L, T), or (B, 1, T) where they are averaged.

        Args:
            tokens: Projected features.
            weights: (B, L) weights of that average, see `mean_weights`; None: the plain mean.

        Returns:
            What the losses are to see, and what `feature` is to see, of the same values.
        """
        if self.affinity != "per_position":
            tokens = weighted_mean(tokens, weights)[:, None]
        moving, fixed = task_similarity(tokens, self.slots, self.similarity, self.temperature)
        return moving, fixed if self.gradient == "akg" else moving

    def feature(self, scores: Tensor, dtype: torch.dtype) -> Tensor:
        """Task-affinity feature, the keys and values of retrieval.

        Args:
            scores: The second of `scores`.
            dtype: Of the result.

        Returns:
            (B, L, D), (B, 1, D) or (B, T, D).
        """
        affinity = scores.softmax(-1).to(dtype)
        slots = (self.slots if self.gradient == "all" else self.slots.detach()).to(dtype)
        if self.affinity == "tokens":
            return affinity.transpose(1, 2) * slots
        return affinity @ slots
