"""Predictors that never look at the image: what a network must beat to have learned anything."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mtdense.core.errors import DataError
from mtdense.core.progress import track
from mtdense.data.sample import Batch
from mtdense.reports.canonical import plain
from mtdense.reports.environment import (
    code_revision,
    device_name,
    peak_cuda_bytes,
    peak_rss_bytes,
    utc_now,
    versions,
)
from mtdense.reports.metric_values import metric_value
from mtdense.reports.run_record import MetricValue, RunRecord
from mtdense.tasks.base import Task

__all__ = ["TRIVIAL_METHODS", "TrivialData", "TrivialPredictor", "fit_trivial", "score_trivial"]

TRIVIAL_METHODS = ("constant", "mean_map")
"""One value everywhere, and one value per pixel of the canvas."""


class TrivialData(Protocol):
    """The part of a Lightning data module that is needed here."""

    @property
    def description(self) -> Mapping[str, Any]:
        """Plain description of the data."""

    def prepare_data(self) -> None:
        """See Lightning."""

    def setup(self, stage: str) -> None:
        """See Lightning."""

    def train_dataloader(self) -> Iterable[Batch]:
        """Training batches."""

    def test_dataloader(self) -> Iterable[Batch]:
        """Test batches."""


@dataclass(frozen=True)
class TrivialPredictor:
    """Averages of a task's ideal logits over labelled training pixels.

    Args:
        constant: (1, num_outputs, 1, 1), averaged over all pixels. Of class maps it predicts the most frequent class,
            which is the constant with the best mean IoU; of depth the mean, which has the least RMSE. Of normals it is
            the mean direction, which is not quite the one with the least mean angle (that would take a search): on
            procedural scenes its error is 2 to 5 % above the least, see `tests/reports/test_trivial.py`.
        mean_map: (1, num_outputs, H, W), averaged per pixel; pixels without any label hold the constant.
    """

    constant: Tensor
    mean_map: Tensor

    def logits(self, method: str, height: int, width: int) -> Tensor:
        """Logits (1, num_outputs, height, width) of a method of `TRIVIAL_METHODS`.

        Raises:
            DataError: The mean map has another size.
        """
        if method == "constant":
            return self.constant.expand(-1, -1, height, width)
        if tuple(self.mean_map.shape[-2:]) != (height, width):
            size, other = tuple(self.mean_map.shape[-2:]), (height, width)
            raise DataError(
                f"training targets have size {size}, test targets {other}: no per-pixel mean",
                "use one canvas size for training and evaluation.",
            )
        return self.mean_map


def fit_trivial(
    loader: Iterable[Batch], tasks: Mapping[str, Task], description: str = "Averaging training targets"
) -> dict[str, TrivialPredictor]:
    """Averages ideal logits over the labelled, valid pixels of one pass over the training data.

    Sums are float64 and streaming: memory does not grow with the data.

    Args:
        loader: Training batches of one canvas size.
        tasks: {name: task}.
        description: Text of the progress bar.

    Raises:
        DataError: A task has no valid training pixel, or the canvas size changes between batches.
        ConfigError: A task has no average (3-D boxes).
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    for batch in track(loader, description):
        for name, task in tasks.items():
            target, valid = _labelled(batch, task)
            # First, so that a task that has no such logits says so.
            ideal = task.ideal_logits(target)
            logits = torch.where(valid[:, None], ideal.double(), 0.0)
            if name in sums and sums[name].shape[-2:] != logits.shape[-2:]:
                raise DataError(
                    f"{name}: training targets of sizes {tuple(sums[name].shape[-2:])} and {tuple(logits.shape[-2:])}",
                    "set `size` of the data so that all have one canvas.",
                )
            total, count = logits.sum(0, keepdim=True), valid.sum(0)[None, None].double()
            sums[name] = sums[name] + total if name in sums else total
            counts[name] = counts[name] + count if name in counts else count
    return {name: _average(name, sums, counts) for name in tasks}


def _average(name: str, sums: Mapping[str, Tensor], counts: Mapping[str, Tensor]) -> TrivialPredictor:
    if name not in sums or not bool(counts[name].sum() > 0):
        raise DataError(
            f"no training image carries a valid label of {name}", f"label some images, or leave {name} out of `tasks`."
        )
    total, count = sums[name], counts[name]
    constant = total.sum((2, 3), keepdim=True) / count.sum()
    mean_map = torch.where(count > 0, total / count.clamp(min=1), constant)
    return TrivialPredictor(constant.float(), mean_map.float())


def _labelled(batch: Batch, task: Task) -> tuple[Tensor, Tensor]:
    """Target, and which of its pixels are valid and labelled: (B, H, W) bool."""
    target = batch["targets"][task.name]
    return target, task.counted(target, batch["labelled"][task.name])


def _score(
    loader: Iterable[Batch], tasks: Mapping[str, Task], predictors: Mapping[str, TrivialPredictor]
) -> dict[str, list[MetricValue]]:
    metrics = {method: {name: task.metrics() for name, task in tasks.items()} for method in TRIVIAL_METHODS}
    for batch in track(loader, "Scoring trivial predictors"):
        for name, task in tasks.items():
            target, valid = _labelled(batch, task)
            size, (height, width) = target.shape[0], target.shape[-2:]
            for method in TRIVIAL_METHODS:
                logits = predictors[name].logits(method, height, width).to(target.device)
                prediction = task.predict(logits)
                for metric in metrics[method][name].values():
                    task.update_metric(metric, prediction.expand(size, *prediction.shape[1:]), target, valid, batch)
    return {
        method: [
            metric_value(tasks[name], key, metric, float(metric.compute()))
            for name, named in by_task.items()
            for key, metric in named.items()
        ]
        for method, by_task in metrics.items()
    }


def score_trivial(
    datamodule: TrivialData,
    tasks: Mapping[str, Task],
    seed: int | None = None,
    train_loader: Iterable[Batch] | None = None,
) -> list[RunRecord]:
    """Fits the predictors of `TRIVIAL_METHODS` on labelled training targets and scores them on the test set.

    Args:
        datamodule: Data of the runs they are compared with; only its labelled training targets are used.
        tasks: {name: task} in the order of the table.
        seed: Seed of the runs they are compared with (it draws the training set's augmentation).
        train_loader: Training batches; None takes one pass over the data module's own, augmentation included.

    Returns:
        One record of kind "trivial" per method.

    Raises:
        DataError: A task has no labelled training pixel, or sizes differ.
    """
    clock, started = time.perf_counter(), utc_now()
    datamodule.prepare_data()
    if train_loader is None:
        datamodule.setup("fit")
        train_loader = datamodule.train_dataloader()
    with torch.no_grad():
        predictors = fit_trivial(train_loader, tasks)
        datamodule.setup("test")
        results = _score(datamodule.test_dataloader(), tasks, predictors)
    data = plain(datamodule.description, "data")
    return [
        RunRecord(
            kind="trivial",
            method=method,
            backbone="",
            tasks=list(tasks),
            metrics=results[method],
            config={"tasks": {name: task.spec for name, task in tasks.items()}},
            data=data,
            seed=seed,
            selection=None,
            steps=0,
            parameters=0,
            weights_sha256=None,
            checkpoint=None,
            checkpoint_sha256=None,
            versions=versions(),
            code=dict(code_revision()),
            device=device_name(),
            wall_seconds=time.perf_counter() - clock,
            peak_rss_bytes=peak_rss_bytes(),
            peak_cuda_bytes=peak_cuda_bytes(),
            started=started,
            finished=utc_now(),
        )
        for method in TRIVIAL_METHODS
    ]
