"""The NDDR layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

__all__ = ["NDDRLayer"]


class NDDRLayer(nn.Module):
    """All tasks' features concatenated; a 1x1 convolution, norm and ReLU for each task (Gao et al., CVPR 2019).

    Each convolution starts as a weighted sum of the tasks' features, channel by channel.

    Args:
        tasks: Names of the tasks.
        channels: Channels of each feature.
        own: Initial weight of a task's own feature.
        other: Initial weight of each other task's.
    """

    def __init__(self, tasks: Sequence[str], channels: int, own: float, other: float) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.layers = nn.ModuleDict()
        for name in self.tasks:
            convolution = nn.Conv2d(len(self.tasks) * channels, channels, 1, bias=False)
            diagonals = [torch.eye(channels) * (own if name == source else other) for source in self.tasks]
            with torch.no_grad():
                convolution.weight.copy_(torch.cat(diagonals, dim=1)[:, :, None, None])
            self.layers[name] = nn.Sequential(convolution, nn.BatchNorm2d(channels, momentum=0.05), nn.ReLU())

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{task: (B, channels, H, W)} to the same."""
        together = torch.cat([features[name] for name in self.tasks], dim=1)
        return {name: layer(together) for name, layer in self.layers.items()}
