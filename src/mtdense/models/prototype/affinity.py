"""Task prototypes: what a task's feature has in common with each of them, and what it takes from each."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.models.prototype.options import Affinity, PrototypeGradient, PrototypeInit, Similarity

__all__ = ["TaskPrototype", "task_similarity"]


def task_similarity(elements: Tensor, slots: Tensor, kind: Similarity, temperature: float) -> Tensor:
    """Similarity of elements (..., D) to slots (T, D): (..., T), in float32 (eq. 3).

    Args:
        elements: Projected task features.
        slots: Prototype.
        kind: `cosine` divided by `temperature`, or `dot` product divided by sqrt(D).
        temperature: Of `cosine`. Without one (1.0) a softmax over T slots cannot become confident: one task alone
            reaches at most 0.787 with T = 3.
    """
    with torch.autocast(elements.device.type, enabled=False):
        elements, slots = elements.float(), slots.float()
        similarity: Tensor
        if kind == "dot":
            similarity = elements @ slots.t() / slots.shape[-1] ** 0.5
            return similarity
        # Not unit elements times unit slots: a second copy of the features would have to be kept for backward.
        lengths = elements.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        similarity = elements @ F.normalize(slots, dim=-1).t() / (lengths * temperature)
        return similarity


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

    def scores(self, tokens: Tensor) -> Tensor:
        """Similarity of projected features (B, L, D) to each slot: (B, L, T), or (B, 1, T) where they are averaged."""
        return self._scores(tokens, self.slots)

    def _scores(self, tokens: Tensor, slots: Tensor) -> Tensor:
        if self.affinity != "per_position":
            tokens = tokens.mean(1, keepdim=True)
        return task_similarity(tokens, slots, self.similarity, self.temperature)

    def feature(self, tokens: Tensor) -> Tensor:
        """Task-affinity feature of (B, L, D): (B, L, D), (B, 1, D) or (B, T, D), the keys and values of retrieval."""
        fixed = self.slots.detach()
        affinity = self._scores(tokens, fixed if self.gradient == "akg" else self.slots).softmax(-1).to(tokens.dtype)
        slots = (self.slots if self.gradient == "all" else fixed).to(tokens.dtype)
        if self.affinity == "tokens":
            return affinity.transpose(1, 2) * slots
        return affinity @ slots
