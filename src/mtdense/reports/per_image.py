"""The Lightning callback that writes each test image's own scores to a CSV file."""

from __future__ import annotations

import csv
import io
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torchmetrics import Metric

from mtdense.core.errors import ConfigError
from mtdense.reports.access import tasks_of
from mtdense.reports.canonical import write_atomic
from mtdense.tasks.base import Task

__all__ = ["PerImageScores", "scores_csv"]


class PerImageScores(Callback):
    """Writes one line per test image: its id and the value of every metric on this image alone.

    Values are in the metrics' own units; a cell is empty where the image has nothing to score. They are for finding the
    images that a network fails on: the mean over images of a score such as mIoU or odsF is not the score of the data
    set, which pools pixels first. The mIoU of an image is over the classes that it or its prediction has.

    Args:
        path: File to write; a distributed run writes one file, from rank zero.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._rows: dict[str, dict[str, float]] = {}
        self._metrics: dict[str, dict[str, Metric]] = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fresh metrics, beside those that score the whole data set.

        Raises:
            ConfigError: The file could not be written in the end.
        """
        if self.path.is_dir() or not self.path.parent.is_dir() or not os.access(self.path.parent, os.W_OK):
            raise ConfigError(f"--per_image {self.path} cannot be written", "name a file in an existing folder.")
        self._rows = {}
        self._metrics = {name: task.image_metrics() for name, task in tasks_of(pl_module).items()}
        for metrics in self._metrics.values():
            for metric in metrics.values():
                metric.to(pl_module.device)
                # An image is scored where it was read, whatever other ranks do meanwhile.
                metric.distributed_available_fn = lambda: False

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Scores the images of one batch, one by one."""
        for i, image_id in enumerate(batch["id"]):
            row = self._rows.setdefault(image_id, {})
            for name, prediction in outputs["predictions"].items():
                if name in batch["targets"] and bool(batch["labelled"][name][i]):
                    one = slice(i, i + 1)
                    alone = {"meta": {key: value[one] for key, value in batch["meta"].items()}}
                    target = batch["targets"][name][one]
                    row.update(self._score(tasks_of(pl_module)[name], prediction[one], target, alone))

    def _score(self, task: Task, prediction: Any, target: Any, batch: Mapping[str, Any]) -> dict[str, float]:
        """{"task/metric": value} of a batch of one labelled image; nothing where no pixel is valid."""
        valid = task.valid(target)
        if not bool(valid.any()):
            return {}
        values = {}
        for name, metric in self._metrics[task.name].items():
            metric.reset()
            task.update_metric(metric, prediction, target, valid, batch)
            with warnings.catch_warnings():
                # An image without anything to score is no news.
                warnings.simplefilter("ignore", UserWarning)
                value = float(metric.compute())
            if math.isfinite(value):
                values[f"{task.name}/{name}"] = value
        return values

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the file.

        Raises:
            ConfigError: It cannot be written.
        """
        rows = self._rows
        if trainer.world_size > 1:
            gathered: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(gathered, rows)
            rows = {image_id: row for part in gathered for image_id, row in part.items()}
        if trainer.is_global_zero:
            columns = [f"{task}/{name}" for task, metrics in self._metrics.items() for name in metrics]
            try:
                write_atomic(self.path, scores_csv(rows, columns))
            except OSError as error:
                raise ConfigError(f"cannot write {self.path}: {error.strerror}", "name another file.") from error


def scores_csv(rows: dict[str, dict[str, float]], columns: list[str]) -> str:
    """A CSV text with a line per image, sorted by id, and a cell per column, empty where there is no value.

    Args:
        rows: {image id: {column: value}}.
        columns: Columns behind "id"; those without any value are left out.
    """
    columns = [column for column in columns if any(column in row for row in rows.values())]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["id", *columns])
    for image_id in sorted(rows):
        writer.writerow([image_id, *(rows[image_id].get(column, "") for column in columns)])
    return file.getvalue()
