"""What a rank of test_reducer_ddp does: the gradient of a small model under partial labels."""

from __future__ import annotations

from typing import get_args

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mtdense.tasks import build_tasks
from mtdense.training import PartialLabelReducer
from mtdense.training.reducer import Scale

TASKS = build_tasks({"semseg": {"num_classes": 3}, "saliency": {}, "depth": {}})


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.heads = nn.ModuleDict({n: nn.Conv2d(2, t.num_outputs, 1) for n, t in TASKS.items()})

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {n: head(x) for n, head in self.heads.items()}


def data() -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    g = torch.Generator().manual_seed(1)
    image = torch.randn(4, 2, 5, 6, generator=g)
    targets = {
        "semseg": torch.randint(0, 3, (4, 5, 6), generator=g),
        "saliency": torch.randint(0, 2, (4, 5, 6), generator=g),
        "depth": torch.rand(4, 5, 6, generator=g) + 0.5,
    }
    targets["semseg"][0, :3] = 255
    # Rank 0 (images 0, 1) has no depth label at all; image 3 has every label; image 1 has none.
    labelled = {
        "semseg": torch.tensor([True, False, False, True]),
        "saliency": torch.tensor([True, False, True, True]),
        "depth": torch.tensor([False, False, False, True]),
    }
    return image, targets, labelled


def gradient(pool: str, scale: str, rank: int, world: int) -> list[float]:
    image, targets, labelled = data()
    part = slice(rank * 4 // world, (rank + 1) * 4 // world)
    model = Heads()
    run = DistributedDataParallel(model) if world > 1 else model
    logits = run(image[part])
    terms = {}
    for name, task in TASKS.items():
        valid = task.valid(targets[name][part]) & labelled[name][part][:, None, None]
        terms[name] = task.loss_terms(logits[name], targets[name][part], valid)
    losses = PartialLabelReducer(pool, scale)(TASKS, terms, {n: v[part] for n, v in labelled.items()})
    torch.stack(list(losses.values())).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()]).tolist()


def gradients(rank: int, world: int) -> dict[str, list[float]]:
    """Of each way to reduce."""
    return {f"{p}/{s}": gradient(p, s, rank, world) for p in ("image", "batch") for s in get_args(Scale)}
