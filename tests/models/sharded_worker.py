"""What a rank of test_sharded does: steps of a network whose weights are split over the ranks (FSDP 2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from tests.models.exact_ranks_worker import build, micro_batch
from tests.models.helpers import share

STEPS = 3


def train(name: str, rank: int, world: int) -> dict[str, Tensor]:
    """{what: values}, whole; plain SGD."""
    model = build(name)
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
