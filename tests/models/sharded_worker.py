"""What a rank of test_sharded does: steps of a network whose weights are split over the ranks (FSDP 2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from tests.models.exact_ranks_worker import build, micro_batch
from tests.models.helpers import share

STEPS = 3
# Small backbones of the form of those that are sharded in earnest.
_VIT = {"backbone": "vit_base", "backbone_options": {"overrides": {"embed_dim": 16, "depth": 4, "num_heads": 2}}}
_INTERNIMAGE = {"channels": 8, "depths": [1, 1, 1, 1], "groups": [1, 2, 4, 8]}
OPTIONS: dict[str, dict[str, Any]] = {
    "BridgeNet-vit": {**_VIT, "input_size": [64, 80]},
    "BridgeNet-internimage": {"backbone": "internimage_l", "backbone_options": {"overrides": _INTERNIMAGE}},
}


def train(name: str, rank: int, world: int) -> dict[str, Tensor]:
    """{what: values}, whole; plain SGD."""
    model = build("BridgeNet", **OPTIONS[name]) if name in OPTIONS else build(name)
    if world > 1:
        fully_shard(model.network, mesh=init_device_mesh("cpu", (world,)))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    seen = {}
    for number in range(STEPS):
        optimizer.zero_grad()
        batch = share(micro_batch(model, "one-label", number, torch.float32), rank, world)
        model.training_step(batch, 0).backward()
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        seen |= {f"gradient of {n} in step {number}": whole(g).clone() for n, g in grads.items()}
        optimizer.step()
    return seen | {f"weight {n}": whole(p.detach()).clone() for n, p in model.named_parameters()}


def whole(value: Tensor) -> Tensor:
    """All parts of a split tensor."""
    gathered: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return gathered


def run(rank: int, world: int, names: str) -> dict[str, dict[str, Tensor]]:
    found = {}
    for name in names.split(","):
        found[name] = train(name, rank, world)
    return found
