"""What a rank of test_distributed does: a loss of a sum over ranks, its gradient averaged as DDP does."""

from __future__ import annotations

import torch
import torch.distributed as dist

from mtdense.training.distributed import rank, shared_sum, sum_over_ranks, world_size

# The rows of the two ranks: unequally many.
ROWS = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]])
PARTS = {1: [slice(0, 3)], 2: [slice(0, 1), slice(1, 3)]}


def main(own: int, world: int) -> dict[str, object]:
    assert (rank(), world_size()) == (own, world)
    weight = torch.tensor([0.5, -2.0], requires_grad=True)
    rows = ROWS[PARTS[world][own]]
    # f = (sum of (weight * row)^2), then a loss that is not linear in it and that reads the weight directly, too.
    total = shared_sum((weight * rows).square().sum(0))
    loss = (total.sqrt() * weight).sum()
    loss.backward()
    gradient = weight.grad.clone()
    if world > 1:
        dist.all_reduce(gradient)
    return {
        "total": total.tolist(),
        "loss": loss.item(),
        "gradient": (gradient / world).tolist(),
        "count": sum_over_ranks(torch.tensor(len(rows))).item(),
    }
