"""`--resume auto`: the newest good checkpoint of a run, and whether this command line is that run's."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn

from mtdense.cli.run_folder import checkpoint_folder
from mtdense.core.errors import CheckpointError, ConfigError
from mtdense.models import DenseModule
from mtdense.reports.canonical import plain
from mtdense.reports.ending import Ending, read_ending
from mtdense.training.callbacks import AMID_STEP
from mtdense.training.checkpoint_io import check_file

__all__ = ["check_resumed_model", "finished", "newest_checkpoint", "read_whole", "resumed_from"]


def finished(run: Path) -> Ending | None:
    """What ended the training in this folder, or None where none did.

    Raises:
        ConfigError: What the folder holds of it is damaged.
    """
    record = run / "records" / "fit.json"
    if not record.is_file():
        return None
    try:
        told = json.loads(record.read_text(encoding="utf-8"))
        steps, bounds = int(told["steps"]), dict(told["config"]["trainer"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{record} cannot be read: {error}", "repair or remove it.") from error
    ending = read_ending(run)
    if ending is not None and ending.steps == steps:
        return ending
    # A record of an earlier version, or a process that died between the two files.
    if steps >= _limit(bounds.get("max_steps")):
        return Ending("max_steps", steps, 0)
    epochs = _limit(bounds.get("max_epochs"))
    return Ending("should_stop", steps, 0) if math.isinf(epochs) else Ending("max_epochs", steps, int(epochs))


def resumed_from(run: Path, config: Any) -> Path | None:
    """The checkpoint that `--resume auto` goes on from; None: the run begins.

    Args:
        run: Folder of the run.
        config: The parsed options of `fit`.

    Raises:
        ConfigError: Options that contradict each other.
        SystemExit: The run is finished, and no more steps or epochs are asked for: there is nothing to do, and that is
            no error.
    """
    if config.get("ckpt_path") is not None or config.overwrite:
        other = "--overwrite true" if config.overwrite else "--ckpt_path"
        raise ConfigError(f"`--resume auto` beside `{other}`", "give one of them.")
    ending = finished(run)
    if ending is not None and not _goes_on(ending, config.trainer):
        print(f"{run} is finished ({ending}); nothing to do.{_more(ending, run)}")
        raise SystemExit(0)
    return newest_checkpoint(run)


def _goes_on(ending: Ending, trainer: Any) -> bool:
    """Whether a finished run is asked for more than what ended it."""
    unbounded = trainer.max_steps == -1 and trainer.get("max_time") is None
    epochs = 1000 if trainer.max_epochs is None and unbounded else trainer.max_epochs  # Lightning's default
    more = ending.steps < _limit(trainer.max_steps) and ending.epochs < _limit(epochs)
    return more and ending.by in ("max_steps", "max_epochs")


def _limit(bound: int | None) -> float:
    return math.inf if bound in (None, -1) else float(bound)


def _more(ending: Ending, run: Path) -> str:
    if ending.by in ("max_steps", "max_epochs"):
        return f" A larger `trainer.{ending.by}` trains on."
    longer = " with a larger `trainer.max_time`" if ending.by == "max_time" else ""
    return f" `--ckpt_path {checkpoint_folder(run) / 'last.ckpt'}`{longer} goes on all the same."


def newest_checkpoint(run: Path) -> Path | None:
    """The checkpoint of a run that has come farthest and is whole; None where there is none to go on from exactly.

    `last.ckpt` is asked first; of damaged ones a warning tells. Weights alone do not count, nor does what was saved
    between the batches of an accumulated step.

    Args:
        run: Folder of the run.

    Raises:
        CheckpointError: There are checkpoints, but none is good.
    """
    good: list[tuple[int, bool, Path]] = []
    damaged: list[str] = []
    for path in sorted(checkpoint_folder(run).glob("*.ckpt")):
        try:
            content = read_whole(path)
            if content.get("optimizer_states") and not content.get(AMID_STEP):
                good.append((int(content["global_step"]), path.stem == "last", path))
        except CheckpointError as error:
            damaged.append(error.problem)
    if damaged and not good:
        raise CheckpointError(
            f"no good checkpoint in {checkpoint_folder(run)}: {'; '.join(damaged)}",
            "copy one there that is whole, or begin anew by `--overwrite true`.",
        )
    if not good:
        return None
    step, _, newest = max(good)
    if damaged:
        rank_zero_warn(f"{'; '.join(damaged)}. The run goes on from {newest}, step {step}.")
    return newest


def read_whole(path: Path) -> dict[str, Any]:
    """A checkpoint's content after its checksums were compared; tensors stay on the disk until they are used.

    Raises:
        CheckpointError: It is damaged, or holds something else.
    """
    check_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        _ = content["global_step"], content["mtdense"]["model_class"], content["hyper_parameters"]
    except Exception as error:
        raise CheckpointError(
            f"{path} is no checkpoint of `mtdense fit`: {str(error).splitlines()[0]}", "remove it."
        ) from error
    return dict(content)


def check_resumed_model(path: Path, model: DenseModule) -> None:
    """Refuses to go on with a model of other options than the checkpoint's.

    Args:
        path: The checkpoint.
        model: What this command line would train.

    Raises:
        ConfigError: Class or options differ.
    """
    content = read_whole(path)
    was, now = content["mtdense"]["model_class"], f"{type(model).__module__}.{type(model).__qualname__}"
    if was != now:
        raise ConfigError(f"{path} holds a {was}, the command line names a {now}", _SAME)
    before, after = (_options(options) for options in (content["hyper_parameters"], model.hparams))
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    if changed:
        listed = ", ".join(f"`model.{key}` was {before.get(key)} and is now {after.get(key)}" for key in changed)
        raise ConfigError(f"{path} is of another model: {listed}", _SAME)


_SAME = "repeat the run's own command line, or choose another `--run_dir`."


def _options(given: Any) -> dict[str, Any]:
    options = plain({key: value for key, value in dict(given).items() if not key.startswith("_")})
    return dict(options)
