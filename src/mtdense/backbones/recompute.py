"""Blocks that are computed again in the backward pass, rather than kept for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

__all__ = ["recompute"]

_Result = TypeVar("_Result")


def recompute(function: Callable[..., _Result], *inputs: Any, norms_of: nn.Module | None = None) -> _Result:
    """`function(*inputs)`; of what the backward pass needs only the inputs are kept, and the rest is made again.

    Random numbers are the same again, and running statistics are updated once, so that values, gradients and buffers
    are those of the plain call.

    Args:
        function: Its results depend on its inputs and on weights only; it changes no input.
        *inputs: Of the function.
        norms_of: The module whose batch norms run in it; default is the function itself, if that is a module.
    """
    owner = function if norms_of is None and isinstance(function, nn.Module) else norms_of
    norms = [] if owner is None else [m for m in owner.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    if not norms or torch.compiler.is_compiling():
        # A compiler sees what changes buffers, and does that once by itself.
        result: _Result = checkpoint(function, *inputs, use_reentrant=False)
        return result

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_at_rest(norms)

    result = checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)
    return result


@contextmanager
def _statistics_at_rest(norms: Sequence[_NormBase]) -> Iterator[None]:
    """Norms in training take the statistics at hand, as ever, but do not add them to the running ones."""
    told = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, number in told:
        # Without running statistics the operator would keep other tensors than the first time.
        norm.momentum = 0.0
        norm.num_batches_tracked = None if number is None else number.clone()
    try:
        yield
    finally:
        for norm, momentum, number in told:
            norm.momentum, norm.num_batches_tracked = momentum, number
