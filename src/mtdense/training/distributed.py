"""Sums and lists over the ranks of a distributed run; identities in a single process."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["gather_over_ranks", "rank", "shared_sum", "sum_over_ranks", "world_size"]


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process among them, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


@torch.no_grad()
def sum_over_ranks(values: Tensor) -> Tensor:
    """Element-wise sum of `values` over all ranks, without gradient; every rank must call it, with one shape."""
    if world_size() == 1:
        return values.detach()
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def gather_over_ranks(value: Any) -> list[Any]:
    """What each rank gives, in the order of ranks; every rank must call it.

    Args:
        value: Plain; it is pickled.
    """
    if world_size() == 1:
        return [value]
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, value)
    return found


def shared_sum(values: Tensor) -> Tensor:
    """Element-wise sum over all ranks that lets the gradient through; every rank must call it, with one shape.

    It is for a loss that all ranks compute alike from sums such as this one, and from parameters. Each rank's
    gradient then stands for its own summand times the number of ranks, so that DDP's average over ranks is the
    gradient of the loss: backward needs no message. Where ranks do different things with the sum, it is wrong.
    """
    if world_size() == 1:
        return values
    return sum_over_ranks(values) + world_size() * (values - values.detach())
