"""What a rank of test_two_ranks does: losses, gradient and codebook of a training step."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from mtdense.models import Prototype
from tests.models.helpers import SPECS, backward, fix_statistics, make_batch, share

OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "variant": {
        "tke_average": "tasks",
        "tc_form": "infonce",
        "tc_mean": "image",
        "codebook_weight": 1.0,
        "commitment_weight": 0.25,
        "prototype_gradient": "all",
    },
    "anchor": {"tc_form": "anchor", "tke_average": "images", "preliminary_supervision": 0.5},
    "restart": {"dead_code_steps": 1},
    "canvas": {"loss_region": "canvas", "affinity": "pooled"},
    "tokens": {"affinity": "tokens", "attention_downsample": 2},
}
# Rank 0 (images 0, 1) has no depth label, rank 1 no label of normals; image 1 has no label at all.
FLAGS = {
    "semseg": [True, False, False, True],
    "depth": [False, False, True, True],
    "normals": [True, False, False, False],
}
# Much of the padding is on one rank.
CONTENT = torch.tensor([[0, 0, 32, 40], [0, 0, 32, 40], [4, 0, 16, 24], [0, 20, 12, 20]])


def step(options: dict[str, Any], rank: int, world: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = Prototype(tasks=SPECS, backbone="tiny", preset="tiny", **options)
    logged: dict[str, float] = {}
    model.log = lambda name, value, **kwargs: logged.__setitem__(name, value.item())  # type: ignore[method-assign]
    model.train()
    fix_statistics(model)
    whole = make_batch(SPECS, FLAGS)
    whole["meta"]["content"] = CONTENT
    backward(model, share(whole, rank, world), world)
    names = sorted(logged)
    values = torch.tensor([logged[name] for name in names])
    if world > 1:
        dist.all_reduce(values)
    codebook = model.network.quantizer.codebook.detach()
    if world > 1:
        others = [torch.empty_like(codebook) for _ in range(world)]
        dist.all_gather(others, codebook)
        assert all(torch.equal(codebook, other) for other in others)
    return {
        "losses": dict(zip(names, (values / world).tolist(), strict=True)),
        "gradient": torch.cat([p.grad.flatten() for p in model.parameters()]).tolist(),
        "codebook": codebook.flatten().tolist(),
    }


def steps(rank: int, world: int) -> dict[str, Any]:
    """A step with each of the options."""
    return {name: step(options, rank, world) for name, options in OPTIONS.items()}
