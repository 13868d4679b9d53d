"""Published checkpoints of other programs as checkpoints of ours."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from torch import Tensor, nn

from mtdense.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone
from mtdense.core.errors import CheckpointError
from mtdense.models.base import DenseModule
from mtdense.models.layers.published_code import PublishedCode
from mtdense.models.layers.published_names import turn_vectors

__all__ = ["ARCHITECTURES", "imported_checkpoint", "imported_state", "public_code"]

ARCHITECTURES = ("bridgenet", "invpt", "tsp_transformer", "atrc", "task_prompter", "diffusion_mtl", "mtpsl", "demt")
"""Folders of this package whose `published.py` knows a public code."""

_PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def public_code(name: str) -> PublishedCode:
    """What is known of the public code of one of `ARCHITECTURES`."""
    code: PublishedCode = importlib.import_module(f"mtdense.models.{name}.published").PUBLISHED
    return code


def imported_state(
    model: DenseModule, code: PublishedCode, state: Mapping[str, Tensor], axes: Sequence[tuple[int, float]]
) -> dict[str, Tensor]:
    """A model's state dict from a published one.

    Args:
        model: Ours; may be on the meta device.
        code: The public code, see `public_code`.
        state: The published state dict.
        axes: [(camera axis, sign)] of each channel of normals in the data of the public code. Heads that give vectors,
            and what reads their outputs, are turned from these to the suite's (right, down, forward).

    Raises:
        CheckpointError: A tensor is missing, left over, of another shape, or not finite; or the model would make
            something else of them.
    """
    code.check(model)
    found = code.from_official(model.network, state)
    _check_statistics(model, code)
    first = 0
    for name, task in model.tasks.items():
        if task.stored_as == "vectors":
            heads, readers, joint = (
                [_last(model.network, part.format(task=name)) for part in parts]
                for parts in (code.heads, code.readers, code.joint_readers)
            )
            places = [(reader, -3) for reader in readers] + [(reader, first) for reader in joint]
            found = turn_vectors(found, axes, heads, places)
        first += task.num_outputs
    wanted = model.state_dict()
    named = {f"network.{key}": value.to(wanted[f"network.{key}"].dtype) for key, value in found.items()}
    bad = next((key for key, value in named.items() if not bool(value.isfinite().all())), None)
    if bad is not None:
        raise CheckpointError(f"the published checkpoint has values in {bad} that are not finite", "take another file.")
    return named


def imported_checkpoint(
    model: DenseModule, state: Mapping[str, Tensor], data: L.LightningDataModule, about: Mapping[str, Any]
) -> dict[str, Any]:
    """What `mtdense fit` would write, without a training: weights, and what they are.

    Args:
        model: Gives hyper-parameters and tasks.
        state: Its weights.
        data: The data that it is to be scored on; must have a `description`.
        about: Where the weights come from, in plain values.
    """
    content: dict[str, Any] = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": L.__version__,
        "state_dict": dict(state),
        L.LightningModule.CHECKPOINT_HYPER_PARAMS_KEY: dict(model.hparams),
        L.LightningDataModule.CHECKPOINT_HYPER_PARAMS_KEY: dict(data.hparams),
    }
    mean, std = _statistics(model)
    content["mtdense"] = {
        "format": 1,
        "method": model.method,
        "model_class": _class_path(model),
        "data_class": _class_path(data),
        "data": dict(data.description),  # type: ignore[attr-defined]
        "tasks": {name: task.spec for name, task in model.tasks.items()},
        "normalization": {"mean": list(mean), "std": list(std)},
        "selection": {},
        "imported": dict(about),
    }
    return content


def _last(network: nn.Module, names: str) -> str:
    """Name of the one of some layers that there is, or of its last one where it is a sequence."""
    modules = dict(network.named_modules())
    name = next(name for name in names.split("|") if name in modules)
    layer = modules[name]
    return _last(network, f"{name}.{len(layer) - 1}") if isinstance(layer, nn.Sequential) else name


def _check_statistics(model: DenseModule, code: PublishedCode) -> None:
    wanted, option = ((IMAGENET_MEAN, IMAGENET_STD), "imagenet") if code.normalised else (_PLAIN, "weights")
    if tuple(map(tuple, _statistics(model))) != wanted:
        raise CheckpointError(
            f"`normalization` is {model.hparams['normalization']}, which is not how the public code normalises images",
            f"set it to what it does: `--model.normalization {option}`.",
        )


def _statistics(model: DenseModule) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation that images are normalised by."""
    if model.hparams["normalization"] != "weights":
        return IMAGENET_MEAN, IMAGENET_STD
    backbone = next(module for module in model.network.modules() if isinstance(module, Backbone))
    return backbone.mean, backbone.std


def _class_path(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
