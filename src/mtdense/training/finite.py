"""Losses and weights that are NaN or infinite end a run, with an error that says where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtdense.core.errors import NonFiniteLossError
from mtdense.training.distributed import gather_over_ranks, sum_over_ranks
from mtdense.training.weighting import LossWeighting

__all__ = ["check_loss", "check_weights"]

_STATISTICS = (".running_mean", ".running_var")


def check_loss(
    total: Tensor, losses: Mapping[str, Tensor], weighting: LossWeighting, images: Sequence[str], step: int
) -> None:
    """Stops all ranks where the loss of one of them is not finite; every rank must call it.

    Args:
        total: What the step minimises.
        losses: The losses that it is made of, by name.
        weighting: What made it of them.
        images: Ids of this rank's images.
        step: Number of the step, counted from 1.

    Raises:
        NonFiniteLossError: One is not finite.
    """
    finite = torch.isfinite(total.detach())
    if sum_over_ranks((~finite).float()).item() == 0:
        return
    # All ranks are here, and tell each other what they saw.
    names = [name for name, value in losses.items() if not bool(torch.isfinite(value.detach()).all())]
    where = f": {', '.join(names)}" if names else f", though that of each task is: {weighting.not_finite}"
    found = gather_over_ranks((bool(finite), where, list(images)))
    told = [
        f"{f' on rank {rank}' if len(found) > 1 else ''}{where}; images of this batch: {', '.join(images)}"
        for rank, (good, where, images) in enumerate(found)
        if not good
    ]
    raise NonFiniteLossError(
        f"the loss is not finite in step {step}{'; and'.join(told)}",
        "look at these images and their labels, lower `lr`, or clip gradients (`trainer.gradient_clip_val`). "
        "The weights were not touched by this step; earlier checkpoints are as they were.",
    )


@torch.no_grad()
def check_weights(module: nn.Module, step: int) -> None:
    """A checkpoint with NaN or infinite weights would spoil every run that goes on from it; all ranks must ask.

    Statistics of batch normalisation count as weights; other buffers may hold NaN for "not yet".

    Args:
        module: What is to be saved.
        step: Steps that it was trained for.

    Raises:
        NonFiniteLossError: A weight is not finite.
    """
    statistics = {name: buffer for name, buffer in module.named_buffers() if name.endswith(_STATISTICS)}
    weights = {n: w for n, w in {**dict(module.named_parameters()), **statistics}.items() if w.numel()}
    if not weights:
        return
    # The largest absolute value of each: NaN or infinite if and only if one is.
    largest = torch._foreach_norm(list(weights.values()), float("inf"))
    spoilt = ~torch.isfinite(torch.stack([value.float().to(largest[0].device) for value in largest]))
    # Where weights are split over ranks, each sees only its part; all must stop.
    if int(sum_over_ranks(spoilt.sum())):
        bad = [name for name, one in zip(weights, spoilt.tolist(), strict=True) if one] or ["on another rank"]
        raise NonFiniteLossError(
            f"weights are not finite after step {step}: {', '.join(bad[:3])}"
            f"{f' and {len(bad) - 3} more' if len(bad) > 3 else ''}; they were not saved, "
            "earlier checkpoints are as they were",
            "go on from one with a lower `lr`, or clip gradients (`trainer.gradient_clip_val`).",
        )
