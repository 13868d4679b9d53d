"""Training runs as jobs of the runner: how they are begun, gone on with, tested and judged."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from mtdense.core.errors import DataError
from mtdense.reports.canonical import write_atomic
from mtdense.reports.evidence.runner import Job, tail
from mtdense.reports.run_files import clear_training
from mtdense.reports.training_run import State, TrainingRun

__all__ = [
    "CONFIG_NAME",
    "DIVERGED_EXIT",
    "KEEP",
    "Progress",
    "begin_run",
    "clear_run",
    "test_command",
    "training_job",
]

CONFIG_NAME = "trial.yaml"
"""File in a run's folder from which it is begun and tested."""

DIVERGED_EXIT = 3
"""Exit code of `mtdense fit` where a loss was not finite; that of `mtdense.cli.main`."""

KEEP = ("tested", "all", "none")
"""Which checkpoints stay: those of tested runs, all, or none."""


class Progress:
    """Follows the work; this one is silent.

    `say` takes lines for the user, `planned` the programs of a stage (with their trials) before it starts, `done` each
    one that has ended.
    """

    def say(self, text: str) -> None:
        """A line for the user."""

    def planned(self, what: str, trials: Sequence[TrainingRun]) -> None:
        """So many programs (`what`: "fit" or "test") are to come."""

    def done(self, what: str, trial: TrainingRun) -> None:
        """One of them has succeeded."""


def training_job(run: TrainingRun, fit: bool, test: bool, progress: Progress, keep: str = "tested") -> Job:
    """A run as a job.

    Args:
        run: Its state, as it is when the job's turn comes, says whether it is begun or gone on with.
        fit: Train it.
        test: Test it.
        progress: Is told what has ended.
        keep: See `KEEP`.
    """
    steps: list[tuple[str, Callable[[], Sequence[str]]]] = []
    if fit:
        steps.append(("fit", lambda: _fit_command(run)))
    if test:
        steps.append(("test", lambda: test_command(run)))

    def done(what: str) -> None:
        if what == "fit" and run.state() is not State.DONE:
            raise DataError(
                f"it was {run.ended_otherwise() or 'a training that left no record'}",
                "look in its configuration for what ends it, such as a callback, and run it again with `--overwrite`.",
            )
        if what == "test" and keep == "none":
            run.checkpoint.unlink(missing_ok=True)
        progress.done(what, run)

    def lost(what: str, code: int) -> str | None:
        if what != "fit" or code != DIVERGED_EXIT:
            return None
        run.mark_diverged(tail(log, lines=4))
        if keep != "all":
            run.checkpoint.unlink(missing_ok=True)
        for each, _ in steps:  # its test will not be
            progress.done(each, run)
        return State.DIVERGED.value

    log = run.folder / "trial.log"
    return Job(run.id, steps, log, done, lost)


def begin_run(run: TrainingRun) -> Path:
    """Empties the run's folder, and writes its configuration and mark there; gives the configuration's file."""
    clear_run(run)
    config = run.folder / CONFIG_NAME
    write_atomic(config, yaml.safe_dump(run.config, sort_keys=False))
    run.mark()
    return config


def _fit_command(run: TrainingRun) -> list[str]:
    """Goes on with a run that was begun; else begins it in an empty folder."""
    if run.state() is State.PARTIAL:
        return _command("fit", "--ckpt_path", run.checkpoint.resolve(), *run.place_options)
    return _command("fit", "--config", begin_run(run).resolve(), "--run_dir", run.folder.resolve())


def test_command(run: TrainingRun, *options: str | Path) -> list[str]:
    """Tests a run with its own trainer, for another device gives other digits.

    Args:
        run: A trained one.
        *options: Further ones of `mtdense test`.
    """
    config = run.folder / CONFIG_NAME
    own = ["--ckpt_path", str(run.checkpoint.resolve()), "--config", str(config.resolve()), *run.place_options]
    return _command("test", *own, *options)


def clear_run(run: TrainingRun) -> None:
    """Removes what a run wrote; its mark first, so that what is left is of no known configuration."""
    run.unmark()
    clear_training(run.folder)


def _command(subcommand: str, *options: str | Path) -> list[str]:
    return [sys.executable, "-m", "mtdense", subcommand, *map(str, options)]
