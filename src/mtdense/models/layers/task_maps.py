"""Maps of several tasks side by side: (B, T * C, h, w), all channels of the first task first.

One grouped convolution then does what a loop over tasks with a layer each would do, with the same parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["TaskDropPath", "TaskLayerNorm", "norm_channels", "resize"]


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, corners not aligned; (B, C, h, w) to (B, C, *size)."""
    if (x.shape[-2], x.shape[-1]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def norm_channels(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """A LayerNorm over all channels of a map (B, C, h, w)."""
    normed: Tensor = norm(x.permute(0, 2, 3, 1))
    return normed.permute(0, 3, 1, 2)


class TaskLayerNorm(nn.Module):
    """A LayerNorm over channels for each task, with weights of its own.

    Args:
        tasks: Number of tasks.
        channels: Channels of a task.
    """

    def __init__(self, tasks: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(tasks, channels))
        self.bias = nn.Parameter(torch.zeros(tasks, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T * C, h, w) to the same."""
        tasks, channels = self.weight.shape
        tokens = F.layer_norm(x.unflatten(1, (tasks, channels)).permute(0, 1, 3, 4, 2), (channels,))
        tokens = tokens * self.weight[:, None, None] + self.bias[:, None, None]
        return tokens.permute(0, 1, 4, 2, 3).flatten(1, 2)


class TaskDropPath(nn.Module):
    """Stochastic depth that drops each task of each image on its own, and scales the kept ones up.

    Args:
        tasks: Number of tasks.
        rate: Probability of dropping.
    """

    def __init__(self, tasks: int, rate: float) -> None:
        super().__init__()
        self.tasks = tasks
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, T * C, h, w) to the same."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty(x.shape[0], self.tasks, 1, 1, 1).bernoulli_(keep).div_(keep)
        kept: Tensor = x.unflatten(1, (self.tasks, -1)) * mask
        return kept.flatten(1, 2)

    def extra_repr(self) -> str:
        """Rate, for `print`."""
        return f"rate={self.rate:g}"
