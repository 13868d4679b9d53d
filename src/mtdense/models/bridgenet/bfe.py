"""Bridge Feature Extractor: the backbone's feature asks all tasks' features."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.models.layers.joint_attention import MLP
from mtdense.models.layers.task_maps import resize

__all__ = ["BridgeFeatureExtractor"]


class BridgeFeatureExtractor(nn.Module):
    """Cross-attention from the task-generic feature to the tokens of all tasks, and an MLP.

    Scores are scaled by the whole width, not by that of a head, as in the official code.

    Args:
        tasks: Number of tasks.
        width: Channels of the generic feature and of a task.
        heads: Attention heads.
        pool: Side of the squares that keys and values are averaged over.
    """

    def __init__(self, tasks: int, width: int, heads: int, pool: int) -> None:
        super().__init__()
        self.tasks = tasks
        self.heads = heads
        self.pool = pool
        self.scale = width**-0.5
        self.norm1 = nn.LayerNorm(width)
        self.query_conv = nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width, bias=False)
        self.query_norm = nn.BatchNorm2d(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.restore = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width)

    def forward(self, generic: Tensor, tasks: Tensor) -> Tensor:
        """Generic feature (B, width, H, W), tasks (B, T * width, h, w), to a bridge feature like the first."""
        query_map = self.query_norm(self.query_conv(generic))
        query = self.query(query_map.flatten(2).transpose(1, 2))
        normed = self.norm1(tasks.unflatten(1, (self.tasks, -1)).permute(0, 1, 3, 4, 2))
        pooled = F.avg_pool2d(normed.flatten(0, 1).permute(0, 3, 1, 2), self.pool, self.pool, ceil_mode=True)
        tokens = pooled.flatten(2).transpose(1, 2).unflatten(0, (-1, self.tasks)).flatten(1, 2)
        attended = F.scaled_dot_product_attention(
            self._split(query), self._split(self.key(tokens)), self._split(self.value(tokens)), scale=self.scale
        )
        back = self.out(attended.transpose(1, 2).flatten(2)).transpose(1, 2)
        back = back.unflatten(2, (query_map.shape[-2], query_map.shape[-1]))
        bridge = generic + self.restore(resize(back, (generic.shape[-2], generic.shape[-1])))
        out = bridge.permute(0, 2, 3, 1)
        done: Tensor = out + self.mlp(self.norm2(out))
        return done.permute(0, 3, 1, 2)

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, L, width) to (B, heads, L, width / heads)."""
        split: Tensor = tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return split
