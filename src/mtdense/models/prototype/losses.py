"""The losses of the prototype network, exact for batches spread over ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mtdense.models.layers.precision import full_precision
from mtdense.models.prototype.options import ReconstructionDistance, TCForm, TCMean, TKEAverage
from mtdense.models.prototype.region import mean_weights, weighted_mean
from mtdense.training.distributed import shared_sum, sum_over_ranks, world_size

__all__ = ["GlobalBatch", "consistency_loss", "embedding_loss", "reconstruction_errors"]


@dataclass(frozen=True)
class GlobalBatch:
    """The images of a step, of all ranks together.

    Args:
        mask: (T, B) 1 where this rank's image carries the task's label.
        images: () number of images of all ranks.
        labelled: (T,) those that carry the task's label.
    """

    mask: Tensor
    images: Tensor
    labelled: Tensor

    @classmethod
    def of(cls, tasks: Sequence[str], labelled: Mapping[str, Tensor], image: Tensor) -> GlobalBatch:
        """Counts the images; one collective.

        Args:
            tasks: The network's tasks; those without flags count as unlabelled.
            labelled: {task: (B,) bool} of this rank.
            image: This rank's images (B, ...).
        """
        none = torch.zeros(len(image), dtype=torch.bool, device=image.device)
        mask = torch.stack([labelled.get(name, none) for name in tasks]).float()
        counts = sum_over_ranks(torch.cat([mask.new_tensor([len(image)]), mask.sum(1)]))
        return cls(mask, counts[0], counts[1:])

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the images of all ranks of values (B,), as this rank's share times the number of ranks."""
        return values.sum() * world_size() / self.images


def reconstruction_errors(
    image: Tensor, reconstruction: Tensor, distance: ReconstructionDistance, shown: Tensor | None = None
) -> Tensor:
    """Distance of an image to its reconstruction, mean over pixels and channels: (B,) (eq. 2).

    Args:
        image: (B, 3, H, W).
        reconstruction: (B, 3, H, W).
        distance: Mean square (`mse`) or mean absolute (`l1`) error.
        shown: (B, H, W) how much each pixel counts; None: all alike.
    """
    difference = image.float() - reconstruction.float()
    errors = (difference.square() if distance == "mse" else difference.abs()).mean(1).flatten(1)
    return weighted_mean(errors, None if shown is None else mean_weights(shown))


def embedding_loss(
    scores: Sequence[Tensor],
    batch: GlobalBatch,
    average: TKEAverage,
    everywhere: bool,
    weights: Tensor | None = None,
) -> Tensor:
    """Task-knowledge-embedding loss: cross-entropy of each task's affinity with its own slot (eq. 4).

    Args:
        scores: Similarity (B, M, T) of each task's feature to the slots, in the tasks' order; M positions.
        batch: Labels and counts.
        average: Of the (image, task) `pairs` that count; of each of the `tasks`, then of those that have any; or sum
            over the tasks of an image, then mean over all `images`.
        everywhere: Let unlabelled pairs count, too.
        weights: (B, M) `mean_weights` of the positions; None: all count alike.

    Returns:
        A scalar, this rank's share times the number of ranks.
    """
    logarithms = [s.float().log_softmax(-1)[..., t] for t, s in enumerate(scores)]
    own = torch.stack([weighted_mean(x, weights) for x in logarithms])  # (T, B)
    mask = torch.ones_like(batch.mask) if everywhere else batch.mask
    counts = batch.images.expand(len(scores)) if everywhere else batch.labelled
    sums = -(own * mask).sum(1)
    if average == "pairs":
        value = sums.sum() / counts.sum().clamp(min=1)
    elif average == "tasks":
        value = (sums / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)
    else:
        value = sums.sum() / batch.images
    return value * world_size()


def consistency_loss(
    tokens: Sequence[Tensor],
    slots: Tensor,
    batch: GlobalBatch,
    form: TCForm,
    mean: TCMean,
    temperature: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Task-consistency loss: a task's mean feature is like its own slot and unlike the others' (eq. 5).

    Args:
        tokens: Projected features (B, L, D) of each task, labelled or not, in the tasks' order.
        slots: Prototype (T, D).
        batch: Labels and counts.
        form: `hinge`: 1 - cosine to the own slot, mean over tasks, plus the positive part of the cosine to the other
            slots, mean over ordered pairs. `infonce`: cross-entropy of the cosines over `temperature`. `anchor`: the
            hinge, with the mean feature of a task's labelled images (without gradient) in place of its slot; a task
            without a label in the batch has no anchor.
        mean: Feature that is compared: the mean of the `batch` (all images of all ranks alike), or of each `image` in
            turn.
        temperature: Of `infonce`.
        weights: (B, L) `mean_weights` of the positions; None: all count alike.

    Returns:
        A scalar, this rank's share times the number of ranks.
    """
    with full_precision(slots.device):
        per_image = torch.stack([weighted_mean(x.float(), weights) for x in tokens])  # (T, B, D)
        slots, present = slots.float(), torch.ones_like(batch.labelled)
        if form == "anchor":
            sums = sum_over_ranks((per_image * batch.mask[..., None]).sum(1))
            slots, present = sums / batch.labelled.clamp(min=1)[:, None], (batch.labelled > 0).float()
        if mean == "batch":
            per_image = (shared_sum(per_image.sum(1)) / batch.images)[:, None]
        cosines = F.normalize(per_image, dim=-1) @ F.normalize(slots, dim=-1).t()  # (T, R, T)
        values = _contrast(cosines / temperature) if form == "infonce" else _hinge(cosines, present)
        # The mean of the batch is the same on all ranks, and so is what comes of it.
        return values.squeeze(0) if mean == "batch" else batch.mean(values)


def _hinge(cosines: Tensor, present: Tensor) -> Tensor:
    """(T, R, T) cosines of T features to T slots, of which some are present, to (R,) losses."""
    own = torch.eye(len(present), device=present.device)
    attraction = ((1 - cosines) * (own * present)[:, None]).sum((0, 2)) / present.sum().clamp(min=1)
    pairs = (1 - own) * present
    separation = (cosines.clamp(min=0) * pairs[:, None]).sum((0, 2)) / pairs.sum().clamp(min=1)
    return attraction + separation


def _contrast(logits: Tensor) -> Tensor:
    """(T, R, T) logits to (R,) cross-entropies with the own slot, mean over tasks."""
    return -logits.log_softmax(-1).diagonal(dim1=0, dim2=2).mean(-1)
