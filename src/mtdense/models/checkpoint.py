"""Checkpoints that describe themselves, read without trusting them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from mtdense.backbones import weights_follow
from mtdense.core.errors import CheckpointError, ConfigError
from mtdense.models.base import DenseModule
from mtdense.training.checkpoint_io import check_file
from mtdense.training.packed_weights import SUFFIX, read_packed

__all__ = ["CheckpointInfo", "import_allowed", "load", "model_of", "read_checkpoint", "resolve_class"]

_TRUSTED = ("mtdense", "data_modules")


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself.

    Args:
        path: The file.
        model_class: Full class path of the DenseModule.
        model_args: Its constructor arguments.
        data_class: Full class path of the data module, or None.
        data_args: Its constructor arguments.
        about: What the run wrote down: data description, seed, configuration.
        state_dict: The weights.
    """

    path: Path
    model_class: str
    model_args: dict[str, Any]
    data_class: str | None
    data_args: dict[str, Any]
    about: dict[str, Any]
    state_dict: dict[str, torch.Tensor]


def read_checkpoint(path: str | Path, allow_modules: Sequence[str] = ()) -> CheckpointInfo:
    """Reads a checkpoint with tensors and plain values only, and checks the classes it names before any import.

    Args:
        path: A `.ckpt` of `mtdense fit`, or a `.safetensors` of `mtdense weights pack`.
        allow_modules: Further top-level packages whose classes may be named.

    Raises:
        CheckpointError: Missing, damaged, not one of ours, or naming a class outside the allowed packages.
    """
    if str(path).startswith("hf://"):
        from mtdense.models.hub import pull  # it reads checkpoints, too

        path = pull(str(path))
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}", "check `--ckpt_path`.")
    content = _content(path)
    about = content.get("mtdense") if isinstance(content, dict) else None
    if not isinstance(about, dict) or "model_class" not in about or "state_dict" not in content:
        raise CheckpointError(f"{path} does not say which model it holds", "use a checkpoint of `mtdense fit`.")
    model_class, data_class = str(about["model_class"]), about.get("data_class")
    arguments = [dict(content.get(key, {})) for key in ("hyper_parameters", "datamodule_hyper_parameters")]
    model, data = ({k: v for k, v in group.items() if not k.startswith("_")} for group in arguments)
    for name in (model_class, data_class):
        if name is not None:
            _check_trusted(str(name), path, allow_modules)
    _refuse_classes_in(model, path)
    _refuse_classes_in(data, path)
    return CheckpointInfo(path, model_class, model, data_class, data, about, content["state_dict"])


def _content(path: Path) -> Any:
    if path.suffix == SUFFIX:
        return read_packed(path)
    check_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read as tensors and plain values: {str(error).splitlines()[0]}",
            "use a checkpoint that `mtdense fit` wrote; a damaged one has to be copied or trained again.",
        ) from error


def _check_trusted(class_path: str, path: Path, allow_modules: Sequence[str]) -> None:
    package = class_path.split(".")[0]
    if package not in (*_TRUSTED, *(name.split(".")[0] for name in allow_modules)):
        raise CheckpointError(
            f"{path} names the class {class_path}, which is outside {', '.join(_TRUSTED)}; nothing was imported",
            f"add `--allow_module {package}` if you trust that package and the origin of the file.",
        )


def _refuse_classes_in(value: Any, path: Path) -> None:
    """Arguments are plain values: the command line would build what a nested `class_path` names, text included."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_classes_in(key, path)
            _refuse_classes_in(item, path)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            _refuse_classes_in(item, path)
    elif isinstance(value, str) and ("class_path" in value or "init_args" in value):
        raise CheckpointError(
            f"{path} hides a class among its arguments ({value[:60]!r}); nothing was imported",
            "do not use this file: no checkpoint of `mtdense fit` has such arguments.",
        )


def import_allowed(names: Sequence[str]) -> None:
    """Imports the packages that a user allows, so that tasks which they define are known.

    They may lie in the working directory, which a console script does not search by itself.

    Raises:
        ConfigError: No such package.
    """
    here = str(Path.cwd())
    if names and here not in sys.path:
        sys.path.append(here)
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"--allow_module {name}: {error}", "name a module that is installed or lies in the working directory."
            ) from error


def resolve_class(class_path: str, base: type) -> type:
    """Imports a class by its full path and checks what it is.

    Raises:
        CheckpointError: No such class, or not a subclass of `base`.
    """
    module, _, name = class_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"the class {class_path} cannot be found: {error}", "install the version that trained the checkpoint."
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise CheckpointError(f"{class_path} is not a {base.__name__}", "use a checkpoint of `mtdense fit`.")
    return found


def load(path: str | Path, allow_modules: Sequence[str] = ()) -> DenseModule:
    """Loads a trained model, ready to predict.

    Args:
        path: A checkpoint that `mtdense fit` wrote, a file of `mtdense weights pack`, or hf://OWNER/NAME.
        allow_modules: Packages besides mtdense and data_modules whose classes may be used.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        CheckpointError: See `read_checkpoint`; also weights that do not fit the class.
    """
    return model_of(read_checkpoint(path, allow_modules), allow_modules)


def model_of(info: CheckpointInfo, allow_modules: Sequence[str] = ()) -> DenseModule:
    """The model of a checkpoint that was read, as `load` gives it.

    Args:
        info: What `read_checkpoint` gave.
        allow_modules: As there.

    Raises:
        CheckpointError: Weights that do not fit the class.
    """
    import_allowed(allow_modules)
    model_class = cast("type[DenseModule]", resolve_class(info.model_class, DenseModule))
    try:
        with weights_follow():
            model = model_class(**info.model_args)
        model.load_state_dict(info.state_dict)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(
            f"{info.path} does not fit {info.model_class}: {error}", "use the version of mtdense that trained it."
        ) from error
    return model.eval()
