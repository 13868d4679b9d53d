"""Model and data of an experiment or checkpoint without a run of it, for commands that only look."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Sequence
from typing import Any

import lightning as L

from data_modules import DenseDataModule
from mtdense.backbones import weights_follow
from mtdense.cli.checkpoint_args import check_classes, checkpoint_config
from mtdense.cli.configs import BASE_CONFIG, config_file, merge, merged_configs
from mtdense.cli.lightning_cli import MTDenseCLI
from mtdense.cli.quiet import quiet
from mtdense.core.errors import ConfigError
from mtdense.models import DenseModule
from mtdense.models.checkpoint import CheckpointInfo
from mtdense.reports.canonical import plain

__all__ = ["NO_ROOT", "build_data", "build_experiment", "build_model"]

NO_ROOT = "."
"""Folder of data that `build_experiment` names where nobody else does."""


class _BuildOnly(MTDenseCLI):
    """Parses as `fit` does, and stops when data module and model are there."""

    def before_instantiate_classes(self) -> None:
        """Nothing: there is no run."""

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """A trainer that nobody asks for anything."""
        return L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def build_model(names: Sequence[str], options: Sequence[str] = ()) -> tuple[DenseModule, tuple[int, int]]:
    """The model of an experiment, without weights or a run: (model, input size); see `build_experiment`."""
    model, data = build_experiment(names, options)
    height, width = data.size
    return model, (height, width)


def build_experiment(names: Sequence[str], options: Sequence[str] = ()) -> tuple[DenseModule, DenseDataModule]:
    """Model and data module of an experiment, without weights or a run; of the data nothing is read.

    Args:
        names: Configurations, as `--config` takes them.
        options: Further options of `mtdense fit`.

    Raises:
        MTDenseError: Any fault that the user can mend.
    """
    quiet()
    config = merge(merged_configs([BASE_CONFIG]), merged_configs(names))
    # The class of a data set wants its folder; nothing is read from it.
    config = merge({"data": {"init_args": {"root": NO_ROOT}}} if _takes_root(config) else {}, config)
    cli = _build(config, options, None)
    return cli.model, cli.datamodule


def build_data(checkpoint: CheckpointInfo, names: Sequence[str] = (), options: Sequence[str] = ()) -> DenseDataModule:
    """The data of a checkpoint, or what configurations and options say of data over them.

    Args:
        checkpoint: Its classes are checked here.
        names: Configurations, as `--config` takes them.
        options: Further options of `mtdense test`.

    Raises:
        MTDenseError: Any fault that the user can mend.
    """
    quiet()
    check_classes(checkpoint)
    config = checkpoint_config(checkpoint, options, merged_configs(names))
    if not config.get("data"):
        raise ConfigError(f"{checkpoint.path} does not name its data", "name them by `--config` or `--data`.")
    data: DenseDataModule = _build(merge(merged_configs([BASE_CONFIG]), config), options, checkpoint).datamodule
    return data


def _build(config: dict[str, Any], options: Sequence[str], checkpoint: CheckpointInfo | None) -> MTDenseCLI:
    with config_file(plain(config)) as path:
        logging.disable(logging.INFO)
        try:
            with weights_follow():
                return _BuildOnly(["fit", "--config", str(path), *options], checkpoint, None)
        finally:
            logging.disable(logging.NOTSET)


def _takes_root(config: dict[str, Any]) -> bool:
    path = str(config.get("data", {}).get("class_path", ""))
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name, None) if module == "data_modules" else None
    return found is not None and "root" in inspect.signature(found.__init__).parameters
