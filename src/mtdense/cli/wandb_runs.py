"""What W&B's environment variables and its sweep agent say about a run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch.loggers import WandbLogger

from mtdense.core.errors import ConfigError

__all__ = ["respect_environment", "sweep_run_folder"]

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def sweep_run_folder(
    subcommand: str, ckpt_path: str | None, environment: Mapping[str, str] = os.environ
) -> Path | None:
    """`runs/sweeps/<sweep>/<run>` for training that a sweep's agent started, None for anything else.

    Runs of a sweep often differ in options alone: by experiment and seed they would share a folder. A run that goes on
    does so in its checkpoint's.

    Args:
        subcommand: `fit`, `validate`, `test` or `predict`.
        ckpt_path: The checkpoint that is resumed or evaluated.
        environment: Variables; the agent sets WANDB_SWEEP_ID and WANDB_RUN_ID.

    Raises:
        ConfigError: An id that cannot be the name of a folder.
    """
    ids = [environment.get(name, "") for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID")]
    if subcommand != "fit" or ckpt_path is not None or not all(ids):
        return None
    for found in ids:
        if _ID.fullmatch(found) is None:
            raise ConfigError(
                f"W&B's id {found!r} cannot name a folder", "use letters, digits, - and _, or give `--run_dir`."
            )
    return Path("runs", "sweeps", *ids)


def respect_environment(loggers: Iterable[Namespace], environment: Mapping[str, str] = os.environ) -> None:
    """Lets WANDB_PROJECT, WANDB_MODE and WANDB_DIR win over what a file says of a `WandbLogger`.

    W&B itself reads its other variables, as far as a file does not name the same thing.

    Args:
        loggers: Entries of the configuration, changed in place.
        environment: Variables.
    """
    for entry in loggers:
        if entry.class_path.split(".")[-1] != WandbLogger.__name__:
            continue
        for variable, option in (("WANDB_PROJECT", "project"), ("WANDB_DIR", "save_dir")):
            if environment.get(variable):
                entry.init_args[option] = environment[variable]
        if environment.get("WANDB_MODE"):
            # Lightning would turn every mode into offline.
            entry.init_args["offline"] = environment["WANDB_MODE"] in ("offline", "dryrun")
