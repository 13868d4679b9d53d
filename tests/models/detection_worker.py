"""One rank of test_detection_head: a training step and a score of the MTL baseline where images have lists of boxes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mtdense.models import MTLBaseline
from mtdense.tasks import Detection3D
from mtdense.tasks.detection_3d.target import target_of
from tests.models.helpers import make_batch
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


def detection_batch(labelled: dict[str, list[bool]] | None = None) -> Any:
    """Streets, save the third image, which shows no vehicle; others have a second label."""
    labelled = labelled or {name: [True, True] for name in SPECS}
    batch: Any = make_batch({"semseg": SPECS["semseg"]}, {"semseg": labelled["semseg"]}, _SIZE)
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


def part(rank: int, world: int) -> Any:
    """This rank's images of the global batch of four."""
    chosen = slice(rank * 4 // world, (rank + 1) * 4 // world)

    def cut(value: Any) -> Any:
        return {key: cut(item) for key, item in value.items()} if isinstance(value, dict) else value[chosen]

    return cut(dict(detection_batch(GLOBAL)))


class _Step(nn.Module):
    def __init__(self, model: MTLBaseline) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> Tensor:
        return self.model.training_step(batch, 0)


def gradients(rank: int, world: int) -> dict[str, Tensor]:
    """Gradients of the first step, batch statistics fixed, for those are of a rank's own images."""
    model = build().train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    step = DistributedDataParallel(_Step(model)) if world > 1 else _Step(model)
    step(part(rank, world)).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def main(rank: int, port: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    grads, batch, task = gradients(rank, 2), part(rank, 2), Detection3D()
    metric = task.metrics()["mDS"]
    targets, labelled = batch["targets"]["detection_3d"], batch["labelled"]["detection_3d"]
    # What is not labelled is not known: predict something else for it.
    known = [one if flag else street() for one, flag in zip(targets, labelled.tolist(), strict=True)]
    sizes = [(32, 64)]
    found = task.predict_batch(task.ideal_levels(known, sizes), (1, 1), batch)
    task.update_metric(metric, found, targets, task.counted(targets, labelled))
    scores = metric.per_class()  # type: ignore[operator]
    outcome = {"grads": grads, "mDS": float(metric.compute()), "targets": 0.0}
    outcome["targets"] = sum(row["targets"] for row in scores.values()) + 1
    torch.save(outcome, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
