"""Records and batches made by hand for the tests of reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from mtdense.data.sample import Batch, whole_canvas
from mtdense.reports import MetricValue, RunRecord
from mtdense.tasks import build_tasks

SPECS: dict[str, dict[str, Any]] = {"semseg": {"num_classes": 3}, "depth": {}, "normals": {}}
DATA = {
    "name": "procedural",
    "version": "procedural-1",
    "size": [8, 10],
    "label_setting": "one-label",
    "mask_checksum": "a" * 64,
}
# name, unit, higher is better
METRICS = {
    "semseg": ("mIoU", "fraction", True),
    "depth": ("RMSE", "metres", False),
    "edges": ("odsF", "fraction", True),
}


def make_record(
    method: str = "mtl_baseline", scores: Mapping[str, float] | None = None, seed: int | None = 0, **changes: Any
) -> RunRecord:
    """A test record with the given score of each task's primary metric."""
    scores = {"semseg": 0.5, "depth": 0.8} if scores is None else scores
    values: dict[str, Any] = {
        "kind": "test",
        "method": method,
        "backbone": "tiny",
        "tasks": list(scores),
        "metrics": [
            MetricValue(task, METRICS[task][0], value, METRICS[task][1], METRICS[task][2], True)
            for task, value in scores.items()
        ],
        "config": {"model": {"lr": 1e-4, "weights": [1.0, 2.0]}},
        "data": dict(DATA),
        "seed": seed,
        "selection": "last",
        "steps": 300,
        "parameters": 1_500_000,
        "weights_sha256": "b" * 64,
        "checkpoint": "checkpoints/last.ckpt",
        "checkpoint_sha256": "c" * 64,
        "versions": {"python": "3.11.7"},
        "code": {"revision": None, "dirty": None},
        "device": "cpu: x, 1 threads",
        "wall_seconds": 1.5,
        "peak_rss_bytes": 1,
        "peak_cuda_bytes": None,
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:00:01+00:00",
    }
    return RunRecord(**{**values, **changes})


def make_batch(targets: Mapping[str, torch.Tensor], labelled: Mapping[str, Sequence[bool]], first: int = 0) -> Batch:
    """A batch of random images around given targets, without padding."""
    target = next(iter(targets.values()))
    images, (height, width) = target.shape[0], target.shape[-2:]
    generator = torch.Generator().manual_seed(first)
    return Batch(
        image=torch.rand(images, 3, height, width, generator=generator),
        targets=dict(targets),
        labelled={name: torch.tensor(list(flags)) for name, flags in labelled.items()},
        id=[f"image{first + i}" for i in range(images)],
        meta=whole_canvas(images, (height, width), "made by hand"),
    )


def random_batch(first: int = 0, images: int = 2, size: tuple[int, int] = (16, 16)) -> Batch:
    """A batch with random valid targets of `SPECS`."""
    generator = torch.Generator().manual_seed(first)
    targets = {
        "semseg": torch.randint(0, 3, (images, *size), generator=generator),
        "depth": torch.rand(images, *size, generator=generator) * 4 + 1,
        "normals": torch.nn.functional.normalize(torch.randn(images, 3, *size, generator=generator), dim=1),
    }
    return make_batch(targets, {name: [True] * images for name in targets}, first)


class FakeData(L.LightningDataModule):
    """Batches that are there already."""

    def __init__(self, train: Sequence[Batch], test: Sequence[Batch] | None = None) -> None:
        super().__init__()
        self.train_batches = list(train)
        self.test_batches = list(train if test is None else test)
        self.tasks = list(self.train_batches[0]["targets"])
        self.task_specs = {name: SPECS[name] for name in self.tasks}
        self.description = dict(DATA)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_batches, batch_size=None)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.test_batches, batch_size=None)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.test_batches, batch_size=None)

    def predict_dataloader(self) -> DataLoader:
        return DataLoader(self.test_batches, batch_size=None)


def tasks_of(*names: str):
    return build_tasks({name: SPECS.get(name, {}) for name in names})
