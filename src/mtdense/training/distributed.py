"""Sums over the ranks of a distributed run; identities in a single process."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["sum_over_ranks", "world_size"]


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@torch.no_grad()
def sum_over_ranks(values: Tensor) -> Tensor:
    """Element-wise sum of `values` over all ranks, without gradient; every rank must call it, with one shape."""
    if world_size() == 1:
        return values.detach()
    total = values.detach().clone()
    dist.all_reduce(total)
    return total
