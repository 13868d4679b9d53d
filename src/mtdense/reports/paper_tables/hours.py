"""How long runs will take: as the same run took, or, called an estimate, from multiply-accumulates and a throughput."""

from __future__ import annotations

import math
import pickle
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mtdense.core.errors import CheckpointError, MTDenseError
from mtdense.reports.paper_tables.budgets import parse_budget
from mtdense.reports.paper_tables.places import train_images
from mtdense.reports.paper_tables.runs import TableRun
from mtdense.reports.paper_tables.trained_as import global_batch
from mtdense.reports.run_record import RunRecord
from mtdense.reports.training_run import State
from mtdense.training.checkpoint_io import check_file

__all__ = ["Duration", "duration", "optimiser_steps", "share_left"]

# Forward, and twice as much backward; a multiply-accumulate is two operations.
_PASSES, _OPERATIONS = 3, 2

CountMacs = Callable[[dict[str, Any]], float]
"""Multiply-accumulates of one image in the network of a configuration."""


@dataclass(frozen=True)
class Duration:
    """Expected duration of a training.

    Args:
        hours: None where nobody knows.
        source: "measured" (records of such runs on this device) or "estimate".
    """

    hours: float | None
    source: str = ""


def optimiser_steps(run: TableRun) -> int:
    """Steps of a run; of one bounded by epochs, from the number of training images.

    Of images with the labels of one task, a network of that task alone sees only those: one of so many in `one-label`,
    half of them, about, in `random-label`. Where gradients are accumulated, a step is of several batches; the last one
    of an epoch of what is left.
    """
    if run.max_steps is not None:
        return run.max_steps
    data = run.config["data"]["init_args"]
    images = train_images(run.dataset, parse_budget(run.budget)) * (1.0 - float(data.get("val_fraction", 0.1)))
    if run.task is not None and data.get("only_labelled"):
        shares = {"one-label": 1 / len(data.get("mask_tasks") or [run.task]), "random-label": 0.5}
        images *= shares.get(data.get("label_setting", "full"), 1.0)
    trainer = run.config.get("trainer") or {}
    # Lightning's own bound where an experiment gives none.
    epochs = int(trainer.get("max_epochs") or 1000)
    return epochs * max(1, math.ceil(math.ceil(images / global_batch(run.config)) / _accumulated(run)))


def _accumulated(run: TableRun) -> int:
    """Batches of a step."""
    return int((run.config.get("trainer") or {}).get("accumulate_grad_batches") or 1)


def share_left(run: TableRun) -> float:
    """Which part of a run's training is still to be done: 1 of one that has not begun, 0 where only the test is left.

    Raises:
        DataError: Damaged records.
        CheckpointError: A checkpoint that is damaged or cannot be read.
    """
    state = run.state()
    if state is State.DIVERGED or (state is State.DONE and (run.checkpoint.is_file() or run.tested() is not None)):
        return 0.0
    if state is not State.PARTIAL:
        return 1.0
    try:
        content = torch.load(run.checkpoint, map_location="cpu", weights_only=True, mmap=True)
        step = int(content["global_step"])
    except OSError as error:
        raise CheckpointError(
            f"{run.checkpoint} cannot be read: {error.strerror or error}",
            "look at the rights of its folder, and the disk.",
        ) from error
    except (EOFError, RuntimeError, ValueError, TypeError, KeyError, pickle.UnpicklingError) as error:
        check_file(run.checkpoint)  # says what is damaged, and what to do
        raise CheckpointError(
            f"{run.checkpoint} cannot be read: {type(error).__name__}: {str(error).partition(chr(10))[0]}",
            "put the run's own checkpoint there, or go on from another by `mtdense fit --resume auto`.",
        ) from error
    return min(1.0, max(0.0, 1.0 - step / optimiser_steps(run)))


def duration(
    run: TableRun, others: Sequence[TableRun], device: str, throughput: float | None, count: CountMacs
) -> Duration:
    """How long a run will take.

    Args:
        run: The run.
        others: Runs of the same network on the same data, other seeds, whose records may tell it.
        device: Name of the present device, as run records have it.
        throughput: Sustained 10¹² operations per second; None: nothing is estimated.
        count: Counts a network's multiply-accumulates.
    """
    steps = optimiser_steps(run)
    known = [seconds for each in (run, *others) if (seconds := _step_seconds(each, device)) is not None]
    if known:
        return Duration(statistics.fmean(known) * steps / 3600, "measured")
    if throughput is None:
        return Duration(None)
    images = steps * _accumulated(run) * global_batch(run.config)
    work = count(run.config) * _OPERATIONS * _PASSES * images
    return Duration(work / (throughput * 1e12) / 3600, "estimate")


def _step_seconds(run: TableRun, device: str) -> float | None:
    """Seconds per step of a run that was trained on this device, validation and all."""
    try:
        if run.state() is not State.DONE:
            return None
        record = RunRecord.read(run.folder / "records" / "fit.json")
    except MTDenseError:  # what is wrong with it is told with its state
        return None
    return record.wall_seconds / record.steps if _machine(record.device) == _machine(device) and record.steps else None


def _machine(device: str) -> str:
    """A device's name without the number of threads that a process happens to use."""
    name, comma, threads = device.rpartition(", ")
    return name if comma and threads.endswith("threads") else device
