"""What several reports take from a batch and from a Lightning module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning.pytorch import LightningModule
from torch import Tensor

from mtdense.tasks.base import ArrayAny, Task

__all__ = ["array_of", "canvas_of", "part_of", "picture_of", "tasks_of"]


def array_of(values: Tensor) -> ArrayAny:
    """Target or prediction of one image, (H, W) or (3, H, W), as an array (H, W) or (H, W, 3)."""
    array: ArrayAny = values.detach().cpu().numpy()
    return np.moveaxis(array, 0, -1) if array.ndim == 3 else array


def canvas_of(values: Any) -> tuple[int, int]:
    """Height and width of the canvas that a target or prediction of one image lies on."""
    height, width = values.shape[-2:] if isinstance(values, Tensor) else values.size
    return int(height), int(width)


def part_of(values: Any, content: Sequence[int]) -> ArrayAny:
    """Target or prediction of one image on a part of its canvas, as its task draws it.

    Args:
        values: A map as a tensor, or something else that says by `within(content)` what it is there, and by `size` how
            large its canvas is.
        content: Top, left, height and width of the part.
    """
    if isinstance(values, Tensor):
        top, left, height, width = content
        return array_of(values)[top : top + height, left : left + width]
    drawn: ArrayAny = values.within(content)
    return drawn


def picture_of(images: Tensor, place: int) -> npt.NDArray[np.uint8]:
    """An image of a batch (B, 3, H, W) in [0, 1] as a picture (H, W, 3)."""
    levels = (images[place].detach().float().cpu().clamp(0, 1) * 255).round().byte()
    return np.asarray(levels.permute(1, 2, 0).numpy())


def tasks_of(pl_module: LightningModule) -> Mapping[str, Task]:
    """{name: task} of a `DenseModule`, known to these callbacks as a Lightning module."""
    tasks: Mapping[str, Task] = pl_module.tasks  # type: ignore[assignment]
    return tasks
