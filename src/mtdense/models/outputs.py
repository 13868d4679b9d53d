"""What a network gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["Outputs"]


@dataclass
class Outputs:
    """Logits of one forward pass, at the network's own resolution.

    Args:
        final: {task: logits (B, num_outputs, h, w)}, what predictions are made from. Of a task of levels (see
            `Task.output_kind`) a tuple of such maps, finest first.
        preliminary: Earlier predictions of the same form that are supervised too; may be empty.
        features: Whatever the architecture's extra losses or figures need.
    """

    final: dict[str, Any]
    preliminary: list[dict[str, Any]] = field(default_factory=list)
    features: dict[str, Any] = field(default_factory=dict)


# FSDP 2 (`fully_shard`) hooks onto the tensors that it finds in what a network returns; gradients are wrong without.
torch.export.register_dataclass(Outputs)
