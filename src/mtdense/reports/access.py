"""What several reports take from a batch and from a Lightning module."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from lightning.pytorch import LightningModule
from torch import Tensor

from mtdense.tasks.base import ArrayAny, Task

__all__ = ["array_of", "tasks_of"]


def array_of(values: Tensor) -> ArrayAny:
    """Target or prediction of one image, (H, W) or (3, H, W), as an array (H, W) or (H, W, 3)."""
    array: ArrayAny = values.detach().cpu().numpy()
    return np.moveaxis(array, 0, -1) if array.ndim == 3 else array


def tasks_of(pl_module: LightningModule) -> Mapping[str, Task]:
    """{name: task} of a `DenseModule`, known to these callbacks as a Lightning module."""
    tasks: Mapping[str, Task] = pl_module.tasks  # type: ignore[assignment]
    return tasks
