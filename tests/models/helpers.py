"""Batches made by hand for the tests of models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mtdense.data.sample import Batch, whole_canvas
from mtdense.models import DenseModule
from mtdense.tasks import build_tasks

SPECS: dict[str, dict] = {"semseg": {"num_classes": 5}, "depth": {}, "normals": {}}
ALL_SPECS: dict[str, dict] = {
    "semseg": {"num_classes": 21},
    "human_parts": {},
    "saliency": {},
    "normals": {},
    "edges": {},
}


def make_batch(
    specs: dict[str, dict] = SPECS, labelled: dict[str, list[bool]] | None = None, size: tuple[int, int] = (32, 40)
) -> Batch:
    """Random images with random valid targets; unlabelled images get all-invalid targets."""
    tasks = build_tasks(specs)
    generator = torch.Generator().manual_seed(0)
    labelled = labelled or {name: [True, True] for name in tasks}
    images = len(next(iter(labelled.values())))
    targets = {}
    for name, task in tasks.items():
        if task.label_channels == 3:
            target = torch.nn.functional.normalize(torch.randn(images, 3, *size, generator=generator), dim=1)
        elif task.name == "depth":
            target = torch.rand(images, *size, generator=generator) * 4 + 1
        elif task.name == "edges":
            target = torch.randint(0, 2, (images, *size), generator=generator).float()
        else:
            target = torch.randint(0, task.num_outputs, (images, *size), generator=generator)
        for i, flag in enumerate(labelled[name]):
            if not flag:
                target[i] = task.to_target(task.invalid_label(*size))
        targets[name] = target
    return Batch(
        image=torch.rand(images, 3, *size, generator=generator),
        targets=targets,
        labelled={name: torch.tensor(flags) for name, flags in labelled.items()},
        id=[f"image{i}" for i in range(images)],
        meta=whole_canvas(images, size, "made by hand"),
    )


class TrainingStep(nn.Module):
    """What DDP wraps under Lightning: the training step, which logs nothing here."""

    def __init__(self, model: DenseModule) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> Tensor:
        return self.model.training_step(batch, 0)


def training_step(model: DenseModule, world: int) -> nn.Module:
    """The training step of a rank, in plain DDP where there are others."""
    return DistributedDataParallel(TrainingStep(model)) if world > 1 else TrainingStep(model)


def backward(model: DenseModule, batch: Any, world: int) -> None:
    """Forward and backward pass of a training step."""
    step = training_step(model, world)  # DDP must live until its gradients are summed
    step(batch).backward()


def share(batch: Any, rank: int, world: int) -> Any:
    """This rank's images of a global batch."""
    images = len(batch["image"])
    rows = slice(rank * images // world, (rank + 1) * images // world)

    def cut(value: Any) -> Any:
        return {key: cut(part) for key, part in value.items()} if isinstance(value, dict) else value[rows]

    return cut(dict(batch))


def fix_statistics(model: nn.Module) -> None:
    """Keeps batch normalisation to its running statistics, for a batch's are those of a rank's own images."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
