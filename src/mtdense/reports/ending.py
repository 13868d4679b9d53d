"""What ended a run, written into its folder: `--resume auto` asks it whether there is anything left to do."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from mtdense.core.errors import ConfigError
from mtdense.reports.canonical import write_atomic
from mtdense.reports.run_files import ENDING

__all__ = ["Ending", "NoteEnding", "read_ending"]


@dataclass(frozen=True)
class Ending:
    """What ended a run, and where.

    Args:
        by: "max_steps", "max_epochs" or "max_time" (options of the trainer), "EarlyStopping", or "should_stop" for
            another callback.
        steps: Optimiser steps.
        epochs: Whole epochs.
        reason: More of it, in words.
    """

    by: str
    steps: int
    epochs: int
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.steps} steps, {self.epochs} epochs; {': '.join(filter(None, (self.by, self.reason)))}"


class NoteEnding(Callback):
    """Writes RUN/ending.json when training ends in order; a training that goes on from there replaces it at its end."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes it, on the first process."""
        if trainer.is_global_zero and not getattr(trainer, "fast_dev_run", False):
            write_atomic(_path(Path(trainer.default_root_dir)), json.dumps(asdict(_ending(trainer)), indent=1) + "\n")


def read_ending(run: Path) -> Ending | None:
    """What ended the run in a folder; None where nobody wrote it down.

    Raises:
        ConfigError: The file is damaged.
    """
    path = _path(run)
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Ending(str(told["by"]), int(told["steps"]), int(told["epochs"]), str(told["reason"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "repair or remove it.") from error


def _path(run: Path) -> Path:
    return run / ENDING


def _ending(trainer: L.Trainer) -> Ending:
    steps, loop = trainer.global_step, trainer.fit_loop
    batches = trainer.num_training_batches
    epochs = int(steps // math.ceil(batches / trainer.accumulate_grad_batches)) if 0 < batches < math.inf else 0
    if trainer.should_stop:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
                return Ending("EarlyStopping", steps, epochs, callback.stopping_reason_message or "")
    if loop.max_steps != -1 and steps >= loop.max_steps:
        return Ending("max_steps", steps, epochs)
    processed = int(loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
    if loop.max_epochs not in (None, -1) and processed >= loop.max_epochs:
        return Ending("max_epochs", steps, processed)
    left = [c.time_remaining() for c in trainer.callbacks if isinstance(c, Timer)]  # type: ignore[attr-defined]
    timed = any(seconds is not None and seconds <= 0 for seconds in left)
    return Ending("max_time" if timed else "should_stop", steps, epochs)
