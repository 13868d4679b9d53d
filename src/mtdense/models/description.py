"""What a model writes about itself into its checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import ModelCheckpoint

if TYPE_CHECKING:
    from mtdense.models.base import DenseModule

__all__ = ["describe"]


def describe(module: DenseModule) -> dict[str, Any]:
    """Plain values: classes, tasks, normalisation, data and selection rule; see `mtdense.models.checkpoint`."""
    trainer = module.trainer
    data = getattr(trainer, "datamodule", None)
    return {
        "format": 1,
        "method": module.method,
        "model_class": _class_path(module),
        "data_class": None if data is None else _class_path(data),
        "data": {} if data is None else dict(data.description),
        "tasks": {name: task.spec for name, task in module.tasks.items()},
        "normalization": {
            "mean": module.image_mean.flatten().tolist(),
            "std": module.image_std.flatten().tolist(),
        },
        "selection": {
            callback.monitor: callback.mode
            for callback in trainer.checkpoint_callbacks
            if isinstance(callback, ModelCheckpoint) and callback.monitor is not None
        },
    }


def _class_path(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
