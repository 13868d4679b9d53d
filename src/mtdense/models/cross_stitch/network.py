"""The cross-stitch unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

__all__ = ["CrossStitchUnit"]


class CrossStitchUnit(nn.Module):
    """Channel by channel, a weighted sum of all tasks' features for each task (Misra et al., CVPR 2016).

    Args:
        tasks: Names of the tasks.
        channels: Channels of each feature.
        own: Initial weight of a task's own feature.
        other: Initial weight of each other task's.
    """

    def __init__(self, tasks: Sequence[str], channels: int, own: float, other: float) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        number = len(self.tasks)
        # (to, from, channel).
        weight = torch.full((number, number, channels), other)
        weight[torch.arange(number), torch.arange(number)] = own
        self.weight = nn.Parameter(weight)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{task: (B, channels, H, W)} to the same."""
        stitched = {}
        for to, weights in zip(self.tasks, self.weight, strict=True):
            parts = [w[:, None, None] * features[name] for name, w in zip(self.tasks, weights, strict=True)]
            stitched[to] = torch.stack(parts).sum(dim=0)
        return stitched
