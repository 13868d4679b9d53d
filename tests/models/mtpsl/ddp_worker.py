"""One rank of test_two_ranks: prints the gradient of a training loss under partial labels."""

from __future__ import annotations

import json
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import mtdense  # noqa: F401
from mtdense.models import MTPSL, DenseModule, SemiSupervised
from tests.models.helpers import SPECS, make_batch

# Rank 0 (images 0, 1) has no depth label and no label but one; image 1 has none, image 3 all.
LABELLED = {
    "semseg": [True, False, False, True],
    "depth": [False, False, True, True],
    "normals": [False, False, True, True],
}
CLASSES = {"mtpsl": MTPSL, "semi_supervised": SemiSupervised}


class Step(nn.Module):
    def __init__(self, model: DenseModule) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict) -> torch.Tensor:
        outputs = self.model.run_network(batch)
        losses = {**self.model.losses(outputs, batch), **self.model.extra_losses(outputs, batch)}
        return torch.stack(list(losses.values())).sum()


def part(batch: dict, rows: slice) -> dict:
    return {
        "image": batch["image"][rows],
        "targets": {name: x[rows] for name, x in batch["targets"].items()},
        "labelled": {name: x[rows] for name, x in batch["labelled"].items()},
        "id": batch["id"][rows],
        "meta": {"content": batch["meta"]["content"][rows]},
    }


def gradient(method: str, unlabelled_rank: bool, rank: int, world: int) -> list[float]:
    torch.manual_seed(0)
    # A wide threshold, so that pseudo-labels count in an untrained network.
    options = {"value_threshold": 5.0, "vector_threshold": 3.0} if method == "semi_supervised" else {}
    model = CLASSES[method](tasks=SPECS, backbone="tiny", preset="tiny", **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # batch statistics are those of a rank, which is another matter
    labelled = {name: [False, False, *flags[2:]] for name, flags in LABELLED.items()} if unlabelled_rank else LABELLED
    batch = part(make_batch(SPECS, labelled), slice(rank * 4 // world, (rank + 1) * 4 // world))
    step = DistributedDataParallel(Step(model)) if world > 1 else Step(model)
    step(batch).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()]).tolist()


if __name__ == "__main__":
    rank, world, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    result = {f"{m}/{u}": gradient(m, u, rank, world) for m in CLASSES for u in (False, True)}
    if rank == 0:
        print(json.dumps(result))
    if world > 1:
        dist.destroy_process_group()
