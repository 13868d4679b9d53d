"""The folder in which everything of one run lies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only

from mtdense.core.errors import ConfigError
from mtdense.core.experiments import experiments_root
from mtdense.reports.evidence.runner import LOCKED, sole_use
from mtdense.reports.run_files import PLANNED, clear_training

__all__ = [
    "check_fit_folder",
    "checkpoint_folder",
    "clear_fit_folder",
    "default_run_folder",
    "fresh_log_folder",
    "name_places",
    "sole_training",
]


def default_run_folder(subcommand: str, config: Path | None, ckpt_path: str | None, seed: int) -> Path:
    """`runs/<experiment>/seed<k>` for training; the checkpoint's own run for everything else.

    Args:
        subcommand: `fit`, `validate`, `test` or `predict`.
        config: The last `--config` file, which names the experiment.
        ckpt_path: The checkpoint that is resumed or evaluated.
        seed: Seed of the run.
    """
    if ckpt_path is not None:
        folder = Path(ckpt_path).resolve().parent
        return folder.parent if folder.name == "checkpoints" else folder / Path(ckpt_path).stem
    name = Path(subcommand)
    if config is not None:
        root = experiments_root().resolve()
        resolved = config.resolve()
        name = resolved.relative_to(root) if resolved.is_relative_to(root) else Path(resolved.name)
    return Path("runs") / name.with_suffix("") / f"seed{seed}"


def checkpoint_folder(run: Path) -> Path:
    """Where a run keeps its checkpoints."""
    return run / "checkpoints"


@contextlib.contextmanager
def sole_training(run: Path) -> Iterator[None]:
    """Locks the folder of a planned run while it is trained by another program, such as torchrun.

    The first process does; a program that the planner started has inherited its lock.

    Raises:
        ConfigError: Another process is at work there.
    """
    if not (run / PLANNED).is_file() or os.environ.get(LOCKED) or getattr(rank_zero_only, "rank", 0) != 0:
        yield
        return
    with sole_use(run):
        yield


def check_fit_folder(run: Path, ckpt_path: str | None, overwrite: bool) -> None:
    """Makes sure that training into `run` loses nothing. Only the first process looks.

    Args:
        run: Folder of the run.
        ckpt_path: Checkpoint that is continued; its own run may go on in its folder.
        overwrite: What is there may go.

    Raises:
        ConfigError: The folder holds a finished or an unfinished run, and neither is it continued nor `overwrite` set.
    """
    if _goes_on(run, ckpt_path) or getattr(rank_zero_only, "rank", 0) != 0:
        return
    finished = (run / "records" / "fit.json").exists()
    last = checkpoint_folder(run) / "last.ckpt"
    if (finished or last.exists()) and not overwrite:
        raise ConfigError(
            f"{run} already holds {'a finished' if finished else 'an unfinished'} run",
            f"choose another `--run_dir`, continue it with `--resume auto` or `--ckpt_path {last}`, or say "
            "`--overwrite true`.",
        )


def clear_fit_folder(run: Path, ckpt_path: str | None) -> None:
    """Removes an earlier run from its folder, unless it goes on. Only the first process does."""
    if _goes_on(run, ckpt_path) or getattr(rank_zero_only, "rank", 0) != 0:
        return
    clear_training(run, "predictions", "failures")


def _goes_on(run: Path, ckpt_path: str | None) -> bool:
    return ckpt_path is not None and Path(ckpt_path).resolve().is_relative_to(run.resolve())


def fresh_log_folder(run: Path, subcommand: str) -> Path:
    """`logs/<subcommand>`, or `logs/<subcommand>-2` and so on: loggers overwrite what they find."""
    base = run / "logs"
    number = 1
    while (folder := base / (subcommand if number == 1 else f"{subcommand}-{number}")).exists():
        number += 1
    return folder


def name_places(entries: Iterable[Namespace], log_dir: str, run: Path) -> None:
    """Puts folders in the place of `{log_dir}` and `{run_dir}`, and tells checkpoint callbacks where to write.

    Args:
        entries: Loggers or callbacks of the configuration, changed in place.
        log_dir: Folder of the loggers.
        run: Folder of the run.
    """
    places = {"{log_dir}": log_dir, "{run_dir}": str(run)}
    for entry in entries:
        for key, value in list(entry.init_args.items()):
            if isinstance(value, str) and value in places:
                entry.init_args[key] = places[value]
        if entry.class_path.split(".")[-1] == ModelCheckpoint.__name__ and entry.init_args.get("dirpath") is None:
            entry.init_args["dirpath"] = str(checkpoint_folder(run))
