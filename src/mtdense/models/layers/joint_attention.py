"""InvPT's block: attention over the tokens of all tasks at once, with scores that pass from level to level."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.models.layers.task_maps import resize

__all__ = ["MLP", "InvPTBlock"]


class MLP(nn.Module):
    """Two linear layers with a GELU between.

    Args:
        channels: Channels in and out.
        ratio: Hidden channels over `channels`.
    """

    def __init__(self, channels: int, ratio: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, ratio * channels)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(ratio * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(..., channels) to the same."""
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class InvPTBlock(nn.Module):
    """Self-attention over the tokens of all tasks, and an MLP.

    H. Ye and D. Xu, "Inverted Pyramid Multi-task Transformer for Dense Scene Understanding", ECCV 2022. Queries come
    from a strided depth-wise convolution for each task, keys and values from average pooling. The scores of the level
    before, enlarged, are fused with this level's before the softmax. Scores are scaled by the whole width, not by that
    of a head, as in the official code.

    Args:
        tasks: Number of tasks.
        width: Channels of a task.
        heads: Attention heads.
        pool: Side of the squares that keys and values are averaged over.
        receives: There is a level before.
    """

    def __init__(self, tasks: int, width: int, heads: int, pool: int, receives: bool) -> None:
        super().__init__()
        self.tasks = tasks
        self.heads = heads
        self.pool = pool
        self.norm1 = nn.LayerNorm(width)
        self.query_conv = nn.Conv2d(tasks * width, tasks * width, 3, 2, 1, groups=tasks * width, bias=False)
        self.query_norm = nn.BatchNorm2d(tasks * width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.fuse = nn.Conv2d(2 * heads, heads, 1) if receives else None
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width)

    def forward(self, x: Tensor, message: Tensor | None) -> tuple[Tensor, Tensor]:
        """The maps of a level and the scores of the level before.

        Args:
            x: (B, T * width, h, w).
            message: (B, heads, T, h', w', keys), or None at the first level.

        Returns:
            Maps like `x`, and the scores before the softmax, (B, heads, T, h / 2, w / 2, keys).
        """
        size = (x.shape[-2], x.shape[-1])
        tokens = x.unflatten(1, (self.tasks, -1)).permute(0, 1, 3, 4, 2)
        # (B, T, width, h, w) in channels-last order.
        normed = self.norm1(tokens).permute(0, 1, 4, 2, 3)
        query_map = self.query_norm(self.query_conv(normed.flatten(1, 2)))
        grid = (query_map.shape[-2], query_map.shape[-1])
        query = self.query(query_map.unflatten(1, (self.tasks, -1)).permute(0, 1, 3, 4, 2).flatten(1, 3))
        pooled = F.avg_pool2d(normed.flatten(0, 1), self.pool, self.pool, ceil_mode=True)
        pooled = pooled.flatten(2).transpose(1, 2).unflatten(0, (-1, self.tasks)).flatten(1, 2)
        scores = self._split(query) @ self._split(self.key(pooled)).transpose(-2, -1) * query.shape[-1] ** -0.5
        if message is not None and self.fuse is not None:
            scores = self.fuse(torch.cat([scores, self._enlarge(message, grid)], dim=1))
        attended = scores.softmax(-1) @ self._split(self.value(pooled))
        attended = self.out(attended.transpose(1, 2).flatten(2))
        back = attended.unflatten(1, (self.tasks, *grid)).flatten(0, 1).permute(0, 3, 1, 2)
        tokens = tokens + resize(back, size).permute(0, 2, 3, 1).unflatten(0, (-1, self.tasks))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens.permute(0, 1, 4, 2, 3).flatten(1, 2), scores.unflatten(2, (self.tasks, *grid))

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, L, width) to (B, heads, L, width / heads)."""
        split: Tensor = tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return split

    def _enlarge(self, message: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, heads, T, h', w', keys) to (B, heads, T * h * w, keys)."""
        maps = message.flatten(0, 2).permute(0, 3, 1, 2)
        grown = resize(maps, grid).permute(0, 2, 3, 1)
        laid: Tensor = grown.unflatten(0, message.shape[:3]).flatten(2, 4)
        return laid
