"""Names of what lies in the folder of a run, and the removal of what its training left."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["DIVERGED", "ENDING", "PLANNED", "TRAINED", "clear_training"]

PLANNED = "trial.json"
"""The mark of a run that `mtdense table run` or `mtdense evidence run` has planned."""

DIVERGED = "diverged.json"
"""What is known of a planned training whose loss was not finite."""

ENDING = "ending.json"
"""What ended the training, see `mtdense.reports.ending`."""

TRAINED = ("checkpoints", "records", "logs", ENDING)
"""What a training leaves."""


def clear_training(run: Path, *others: str) -> None:
    """Removes what a training left in its folder, and further folders or files of these names."""
    for name in (*TRAINED, *others):
        path = run / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
