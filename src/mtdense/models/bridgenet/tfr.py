"""Task Feature Refiner, and the simpler ways to use a bridge feature that the paper compares it with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mtdense.models.layers.frugal import norm_act_conv
from mtdense.models.layers.task_maps import TaskDropPath, resize

__all__ = ["DILATIONS", "ConcatForm", "ConcatRefiner", "RefineBlock", "TaskFeatureRefiner"]

ConcatForm = Literal["conv1x1", "conv3x3", "shared_conv3x3"]

DILATIONS = (1, 2, 5)
"""Of the three blocks of a TFR layer."""


class RefineBlock(nn.Module):
    """x + (1x1 of [x, bridge], depth-wise dilated 3x3, 1x1), each inner convolution with batch norm and GELU.

    A task's 1x1 over its feature and the bridge is one over each, added: the bridge then needs no copy per task.

    Args:
        tasks: Number of tasks.
        width: Channels of a task and of the bridge.
        dilation: Of the 3x3 convolution.
        drop_rate: Rate of stochastic depth.
    """

    def __init__(self, tasks: int, width: int, dilation: int, drop_rate: float) -> None:
        super().__init__()
        hidden = tasks * (width // 2)
        self.from_task = nn.Conv2d(tasks * width, hidden, 1, groups=tasks)
        self.from_bridge = nn.Conv2d(width, hidden, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.act = nn.GELU()
        self.dilated = nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation, groups=hidden, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.out = nn.Conv2d(hidden, tasks * width, 1, groups=tasks)
        self.drop = TaskDropPath(tasks, drop_rate)

    def forward(self, x: Tensor, bridge: Tensor) -> Tensor:
        """Tasks (B, T * width, h, w) and the bridge (B, width, h, w) to tasks."""
        y = norm_act_conv(self.norm1, self.act, self.dilated, self.from_task(x) + self.from_bridge(bridge))
        y = norm_act_conv(self.norm2, self.act, self.out, y)
        refined: Tensor = x + self.drop(y)
        return refined


class TaskFeatureRefiner(nn.Module):
    """Blocks of dilations 1, 2, 5, 1, 2, 5, ..., all guided by the same bridge feature.

    Args:
        tasks: Number of tasks.
        width: Channels of a task and of the bridge.
        drop_rates: Rate of stochastic depth of each block.
    """

    def __init__(self, tasks: int, width: int, drop_rates: Sequence[float]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            RefineBlock(tasks, width, DILATIONS[i % len(DILATIONS)], rate) for i, rate in enumerate(drop_rates)
        )

    def forward(self, x: Tensor, bridge: Tensor) -> Tensor:
        """Tasks (B, T * width, h, w) and the bridge (B, width, H, W) to tasks."""
        bridge = resize(bridge, (x.shape[-2], x.shape[-1]))
        for block in self.blocks:
            x = block(x, bridge)
        return x


class ConcatRefiner(nn.Module):
    """One convolution over a task's feature and the bridge, concatenated; no norm, no residual.

    Args:
        tasks: Number of tasks.
        width: Channels of a task and of the bridge.
        form: Kernel, and whether the tasks share it.
    """

    def __init__(self, tasks: int, width: int, form: ConcatForm) -> None:
        super().__init__()
        self.tasks = tasks
        self.shared = form == "shared_conv3x3"
        kernel = 1 if form == "conv1x1" else 3
        copies = 1 if self.shared else tasks
        self.from_task = nn.Conv2d(copies * width, copies * width, kernel, padding=kernel // 2, groups=copies)
        self.from_bridge = nn.Conv2d(width, copies * width, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor, bridge: Tensor) -> Tensor:
        """Tasks (B, T * width, h, w) and the bridge (B, width, H, W) to tasks."""
        guide = self.from_bridge(resize(bridge, (x.shape[-2], x.shape[-1])))
        if not self.shared:
            out: Tensor = self.from_task(x) + guide
            return out
        own = self.from_task(x.unflatten(1, (self.tasks, -1)).flatten(0, 1)).unflatten(0, (-1, self.tasks))
        return torch.flatten(own + guide[:, None], 1, 2)
