"""Checkpoints without a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mtdense.models import DenseModule, MTLBaseline

SPECS: dict[str, dict[str, Any]] = {
    "semseg": {"num_classes": 3, "class_names": ["floor", "wall", "lamp"]},
    "depth": {},
    "normals": {},
    "edges": {},
}


def small_model(**options: Any) -> DenseModule:
    """A tiny network with weights of its seed."""
    torch.manual_seed(0)
    return MTLBaseline(**{"tasks": SPECS, "backbone": "tiny", "preset": "tiny", "input_size": [32, 40], **options})


def save_checkpoint(model: DenseModule, path: Path) -> Path:
    """Writes a model as `mtdense fit` does, but for what only a run knows."""
    about = {
        "format": 1,
        "method": model.method,
        "model_class": f"{type(model).__module__}.{type(model).__qualname__}",
        "data_class": None,
        "data": {"name": "made by hand"},
        "tasks": {name: task.spec for name, task in model.tasks.items()},
        "normalization": {"mean": model.image_mean.flatten().tolist(), "std": model.image_std.flatten().tolist()},
    }
    arguments = dict(model.hparams)
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": arguments, "mtdense": about}, path)
    return path
