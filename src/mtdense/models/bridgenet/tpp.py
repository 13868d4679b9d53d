"""Task Pattern Propagation: every task's attention is made from the attention scores of all tasks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.models.layers.task_maps import TaskLayerNorm, resize

__all__ = ["TaskPatternPropagation"]


class TaskPatternPropagation(nn.Module):
    """Self-attention within each task, whose scores are mixed over the tasks before the softmax, and an MLP.

    Each task has weights of its own; linear layers are grouped 1x1 convolutions. Scores are scaled by the whole width,
    not by that of a head, as in the official code.

    Args:
        tasks: Number of tasks.
        width: Channels of a task.
        heads: Attention heads of a task.
    """

    def __init__(self, tasks: int, width: int, heads: int = 2) -> None:
        super().__init__()
        self.tasks = tasks
        self.heads = heads
        self.scale = width**-0.5
        channels = tasks * width
        self.norm = TaskLayerNorm(tasks, width)
        self.query_conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False)
        self.query_norm = nn.BatchNorm2d(channels)
        self.query = nn.Conv2d(channels, channels, 1, groups=tasks)
        self.key = nn.Conv2d(channels, channels, 1, groups=tasks)
        self.value = nn.Conv2d(channels, channels, 1, groups=tasks)
        self.mix = nn.Conv2d(tasks * heads, tasks * heads, 1)
        self.out = nn.Conv2d(channels, channels, 1, groups=tasks)
        self.mlp_norm = TaskLayerNorm(tasks, width)
        self.fc1 = nn.Conv2d(channels, 4 * channels, 1, groups=tasks)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(4 * channels, channels, 1, groups=tasks)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Runs the module.

        Args:
            x: Maps of all tasks, (B, T * width, h, w).

        Returns:
            Maps like `x`, and the attention (B, T, heads, queries, h', w') over the grid of the keys.
        """
        size = (x.shape[-2], x.shape[-1])
        normed = self.norm(x)
        query = self.query(self.query_norm(self.query_conv(normed)))
        grid = (query.shape[-2], query.shape[-1])
        pooled = F.avg_pool2d(normed, 3, 2, 1, ceil_mode=True)
        key, value = self._split(self.key(pooled)), self._split(self.value(pooled))
        scores = torch.matmul(self._split(query).transpose(-2, -1), key) * self.scale
        mixed = self.mix(scores.flatten(1, 2)).unflatten(1, (self.tasks, self.heads))
        attention = mixed.softmax(-1)
        attended = torch.matmul(value, attention.transpose(-2, -1))
        back = self.out(attended.flatten(1, 3).unflatten(-1, grid))
        y = x + resize(back, size)
        y = y + self.fc2(self.act(self.fc1(self.mlp_norm(y))))
        # The official code adds the input a second time.
        return y + x, attention.detach().unflatten(-1, (pooled.shape[-2], pooled.shape[-1]))

    def _split(self, x: Tensor) -> Tensor:
        """(B, T * width, h, w) to (B, T, heads, width / heads, h * w)."""
        split: Tensor = x.flatten(2).unflatten(1, (self.tasks, self.heads, -1))
        return split
