"""All multiply-accumulates of a forward pass, attention included."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mtdense.models import DenseModule

__all__ = ["full_macs"]


@torch.no_grad()
def full_macs(module: DenseModule, run: Callable[[], object]) -> dict[str, float]:
    """MACs by module, counted at PyTorch's operators: convolutions and all matrix products, however they are written.

    Sampling (`grid_sample`), interpolation, norms and activations count nothing. Works on the meta device.

    Args:
        module: The architecture.
        run: Makes one forward pass of one image.

    Returns:
        {dotted module name below `module.network`: MACs}; "" is the whole.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    # One fused operator would hide what nn.MultiheadAttention does.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter:
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    counts = counter.get_flop_counts()
    # The counter names modules from the first one called: the LightningModule or its network.
    roots = (f"{type(module).__name__}.network", type(module.network).__name__)

    def macs(name: str, part: nn.Module) -> float:
        found = [counts[f"{root}.{name}"] for root in roots if f"{root}.{name}" in counts]
        if found:
            return sum(sum(operators.values()) for operators in found) / 2
        # A container is never called itself.
        return sum(macs(f"{name}.{child}", inner) for child, inner in part.named_children())

    parts = {name: macs(name, part) for name, part in module.network.named_modules() if name}
    return {"": counter.get_total_flops() / 2, **parts}
