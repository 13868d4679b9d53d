"""What a rank of test_detection_head does: a training step and a score where images have lists of boxes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mtdense.models import MTLBaseline
from mtdense.tasks import Detection3D
from mtdense.tasks.detection_3d.target import target_of
from tests.models.helpers import backward, fix_statistics, make_batch, share
from tests.tasks.detection_3d.streets import label, street

SPECS: dict[str, dict[str, Any]] = {"semseg": {"num_classes": 5}, "detection_3d": {}}
_SIZE = (64, 128)
# The second rank's first image has no box, its second no label.
GLOBAL = {"semseg": [True, False, True, True], "detection_3d": [True, True, True, False]}


def build(**options: Any) -> MTLBaseline:
    torch.manual_seed(0)
    model = MTLBaseline(tasks=SPECS, backbone="tiny", preset="tiny", loss_family="atrc", **options)
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return model


def detection_batch(
    labelled: dict[str, list[bool]] | None = None, specs: dict[str, dict[str, Any]] | None = None
) -> Any:
    """Streets, save the third image, which shows no vehicle; others have a second label."""
    specs = specs or SPECS
    labelled = labelled or {name: [True, True] for name in specs}
    maps = {name: spec for name, spec in specs.items() if name != "detection_3d"}
    batch: Any = make_batch(maps, {name: labelled[name] for name in maps}, _SIZE)
    one = label([[21.5, -0.25, 1.25]], [0.5], [0])
    made = [_small_street(), target_of(one.resized(*_SIZE)), target_of(label([], []).resized(*_SIZE)), _small_street()]
    targets = made[: len(labelled["detection_3d"])]
    batch["meta"]["camera"] = torch.stack([target.camera for target in targets])
    task = Detection3D()
    for i, flag in enumerate(labelled["detection_3d"]):
        if not flag:
            targets[i] = task.to_target(task.invalid_label(*_SIZE))
    batch["targets"]["detection_3d"] = targets
    batch["labelled"]["detection_3d"] = torch.tensor(labelled["detection_3d"])
    return batch


def _small_street() -> Any:
    centers = [[12.0, 2.0, 0.7], [30.0, -6.0, 0.7], [20.0, -4.0, 0.7], [41.0, 3.0, 0.7]]
    return target_of(label(centers, [0.0, 3.0, -1.5, -3.1], [0, 0, 2, 1]).resized(*_SIZE))


def gradients(rank: int, world: int) -> dict[str, Tensor]:
    """Gradients of the first step, batch statistics fixed, for those are of a rank's own images."""
    model = build().train()
    fix_statistics(model)
    backward(model, share(detection_batch(GLOBAL), rank, world), world)
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def run(rank: int, world: int) -> dict[str, Any]:
    """Gradients, and the score of predictions that are right."""
    batch, task = share(detection_batch(GLOBAL), rank, world), Detection3D()
    metric = task.metrics()["mDS"]
    targets, labelled = batch["targets"]["detection_3d"], batch["labelled"]["detection_3d"]
    # What is not labelled is not known: predict something else for it.
    known = [one if flag else street() for one, flag in zip(targets, labelled.tolist(), strict=True)]
    sizes = [(32, 64)]
    found = task.predict_batch(task.ideal_levels(known, sizes), (1, 1), batch)
    task.update_metric(metric, found, targets, task.counted(targets, labelled))
    scores = metric.per_class()  # type: ignore[operator]
    return {
        "gradients": gradients(rank, world),
        "mDS": float(metric.compute()),
        "targets": sum(row["targets"] for row in scores.values()),
    }
