"""Published checkpoints of other programs as checkpoints of ours."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from torch import Tensor

from mtdense.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone
from mtdense.core.errors import CheckpointError
from mtdense.models.base import DenseModule
from mtdense.models.layers.published_names import turn_vectors

__all__ = ["ARCHITECTURES", "imported_checkpoint", "imported_state"]

ARCHITECTURES = ("bridgenet", "invpt", "tsp_transformer", "atrc")
"""Folders of this package whose `published.py` knows the names of the public code."""


def imported_state(
    model: DenseModule, state: Mapping[str, Tensor], axes: Sequence[tuple[int, float]]
) -> dict[str, Tensor]:
    """A model's state dict from a published one.

    Args:
        model: Ours, of one of `ARCHITECTURES`; may be on the meta device.
        state: The published state dict.
        axes: [(camera axis, sign)] of each channel of normals in the data of the public code. Heads that give vectors,
            and what reads their outputs, are turned from these to the suite's (right, down, forward).

    Raises:
        CheckpointError: A tensor is missing, left over, of another shape, or not finite.
    """
    published = importlib.import_module(f"mtdense.models.{model.method}.published")
    found: dict[str, Tensor] = published.from_official(model.network, state)
    for task in (name for name, task in model.tasks.items() if task.stored_as == "vectors"):
        heads, readers = ([part.format(task=task) for part in parts] for parts in (published.HEADS, published.READERS))
        found = turn_vectors(found, axes, heads, readers)
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
    imagenet = (IMAGENET_MEAN, IMAGENET_STD)
    mean, std = _statistics(model) if model.hparams["normalization"] == "weights" else imagenet
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


def _statistics(model: DenseModule) -> tuple[Sequence[float], Sequence[float]]:
    backbone = model.network.get_submodule("backbone")
    assert isinstance(backbone, Backbone)
    return backbone.mean, backbone.std


def _class_path(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
