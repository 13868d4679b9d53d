"""`--ckpt_path`: the model, and the data unless given, come from the checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from lightning import LightningDataModule

from mtdense.cli.configs import merge
from mtdense.core.errors import ConfigError
from mtdense.models import DenseModule
from mtdense.models.checkpoint import CheckpointInfo, resolve_class
from mtdense.reports.canonical import plain

__all__ = ["check_classes", "checkpoint_config"]

# Come from the data in training, and are never the user's to say.
_LINKED = ("tasks", "input_size")


def check_classes(checkpoint: CheckpointInfo) -> None:
    """Finds the classes of a checkpoint's model and data, before anything is built of them.

    Raises:
        MTDenseError: One of them is missing, or is not what it stands for.
    """
    resolve_class(checkpoint.model_class, DenseModule)
    if checkpoint.data_class is not None:
        resolve_class(checkpoint.data_class, LightningDataModule)


def checkpoint_config(info: CheckpointInfo, arguments: Sequence[str], config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the checkpoint's model, and its data under what the user says of data.

    Args:
        info: The checkpoint.
        arguments: The user's options.
        config: What the user's configuration files say together.

    Raises:
        ConfigError: A model option beside the checkpoint, or a configuration of another model.
    """
    options = [name for name in _names(arguments) if name.split(".")[0] == "--model"]
    if options:
        raise ConfigError(
            f"{', '.join(options)} beside --ckpt_path: the model comes from {info.path}",
            "leave these options out, or train a new model without --ckpt_path.",
        )
    _check_same_model(info, config.get("model"))
    result = {**config, "model": {"class_path": info.model_class, "init_args": info.model_args}}
    if info.data_class is not None and "--data" not in _names(arguments):
        # The seed is linked from `seed_everything`, and may not be given twice.
        data_args = {key: value for key, value in info.data_args.items() if key != "seed"}
        stored = {"class_path": info.data_class, "init_args": data_args}
        result["data"] = merge(stored, _same_spelling(config.get("data") or {}, info.data_class))
    if "seed" in info.about:
        result.setdefault("seed_everything", info.about["seed"])
    return result


def _same(stored: Any, given: Any) -> bool:
    # YAML reads 1e-3 as text, which the argument parser takes for a number.
    if isinstance(stored, float) and isinstance(given, str):
        with contextlib.suppress(ValueError):
            return float(given) == stored
    return bool(plain(stored) == plain(given))


def _names(arguments: Sequence[str]) -> list[str]:
    return [token.partition("=")[0] for token in arguments if token.startswith("--")]


def _same_spelling(data: Any, data_class: str) -> dict[str, Any]:
    """The section with the checkpoint's full class path where it means the same class by a shorter one."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"`data` is {data!r} in the configuration", "give class_path and init_args, or leave it out.")
    given = data.get("class_path")
    if given is not None and str(given).split(".")[-1] == data_class.split(".")[-1]:
        return {**data, "class_path": data_class}
    return dict(data)


def _check_same_model(info: CheckpointInfo, given: Any) -> None:
    if not given:
        return
    if not isinstance(given, Mapping):
        given = {"class_path": given}
    name = given.get("class_path")
    if name is not None and str(name).split(".")[-1] != info.model_class.split(".")[-1]:
        raise ConfigError(
            f"the configuration is of {name}, {info.path} holds a {info.model_class}",
            "use the configuration that lies in the run's own folder, or none.",
        )
    for key, value in (given.get("init_args") or {}).items():
        if key not in info.model_args:
            raise ConfigError(f"{info.model_class} has no option `{key}`", "correct or remove it.")
        if key not in _LINKED and not _same(info.model_args[key], value):
            raise ConfigError(
                f"model option `{key}` is {value} in the configuration but {info.model_args[key]} in {info.path}",
                "use the configuration that lies in the run's own folder, or none.",
            )
