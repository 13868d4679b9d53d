"""Batches made by hand for the tests of models."""

from __future__ import annotations

import torch

from mtdense.data.sample import Batch, whole_canvas
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
