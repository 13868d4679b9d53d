"""Pictures of feature maps: how strong a task's feature is at each place."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

from mtdense.tasks.colours import beside, draw_scale

__all__ = ["draw_map", "draw_tasks", "strengths"]

Picture = npt.NDArray[np.uint8]

_HEIGHT = 112


def draw_tasks(x: Tensor, tasks: int) -> Picture:
    """The strength of each task's feature, of all tasks (T * C, h, w), side by side."""
    return beside([draw_map(strength) for strength in strengths(x, tasks)])


def strengths(x: Tensor, tasks: int) -> list[Tensor]:
    """The length of the feature vector at each place, for each task."""
    return list(x.detach().float().unflatten(0, (tasks, -1)).norm(dim=1))


def draw_map(values: Tensor) -> Picture:
    """A map (h, w) from its lowest value, dark, to its highest, bright, enlarged to one height."""
    values = values.detach().float().cpu()
    low, high = values.min(), values.max()
    scaled = (values - low) / (high - low).clamp_min(1e-12)
    height, width = scaled.shape
    size = (_HEIGHT, max(1, round(_HEIGHT * width / height)))
    grown = F.interpolate(scaled[None, None], size=size, mode="nearest")[0, 0].numpy()
    return draw_scale(grown, np.ones(grown.shape, dtype=bool))
