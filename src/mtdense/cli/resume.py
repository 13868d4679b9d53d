"""`--resume auto`: the newest good checkpoint of a run, and whether this command line is that run's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn

from mtdense.cli.run_folder import checkpoint_folder
from mtdense.core.errors import CheckpointError, ConfigError
from mtdense.models import DenseModule
from mtdense.reports.canonical import plain
from mtdense.training.checkpoint_io import check_file

__all__ = ["check_resumed_model", "finished_steps", "newest_checkpoint", "read_whole", "resumed_from"]


def finished_steps(run: Path) -> int | None:
    """Steps of the training that ended in this folder, or None where none did."""
    record = run / "records" / "fit.json"
    try:
        return int(json.loads(record.read_text(encoding="utf-8"))["steps"]) if record.is_file() else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{record} cannot be read: {error}", "repair or remove it.") from error


def resumed_from(run: Path, config: Any) -> Path | None:
    """The checkpoint that `--resume auto` goes on from; None: the run begins.

    Args:
        run: Folder of the run.
        config: The parsed options of `fit`.

    Raises:
        ConfigError: Options that contradict each other.
        SystemExit: The run is finished, and no more steps are asked for: there is nothing to do, and that is no error.
    """
    if config.get("ckpt_path") is not None or config.overwrite:
        other = "--overwrite true" if config.overwrite else "--ckpt_path"
        raise ConfigError(f"`--resume auto` beside `{other}`", "give one of them.")
    steps, wanted = finished_steps(run), config.trainer.max_steps
    if steps is not None and not wanted > steps:
        print(f"{run} is finished ({steps} steps); nothing to do.")
        raise SystemExit(0)
    return newest_checkpoint(run)


def newest_checkpoint(run: Path) -> Path | None:
    """The checkpoint of a run that has come farthest and is whole; None where there is none at all.

    `last.ckpt` is asked first; of damaged ones a warning tells.

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
            if content.get("optimizer_states"):  # else weights alone, from which nothing goes on
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
