"""The denoiser: from noisy signals of tasks and a condition to estimates of the clean features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CrossBlock", "Denoiser", "StepEmbedding"]


class StepEmbedding(nn.Module):
    """Embeds the number of a diffusion step: cosines and sines, then Linear, SiLU, Linear.

    Args:
        width: Channels of the embedding.
        frequencies: Number of cosines and sines together.
    """

    def __init__(self, width: int, frequencies: int = 256) -> None:
        super().__init__()
        self.frequencies = frequencies
        first, last = nn.Linear(frequencies, width), nn.Linear(width, width)
        for layer in (first, last):
            nn.init.normal_(layer.weight, std=0.02)
        self.layers = nn.Sequential(first, nn.SiLU(), last)

    def forward(self, step: int) -> Tensor:
        """Embedding (width,) of a step."""
        half = self.frequencies // 2
        weight = next(self.parameters())
        scale = torch.arange(half, dtype=torch.float32, device=weight.device) * (-math.log(10_000) / half)
        angles = step * scale.exp()
        embedding: Tensor = self.layers(torch.cat([angles.cos(), angles.sin()]).to(weight.dtype))
        return embedding


class _CrossAttention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, query: Tensor, other: Tensor) -> Tensor:
        keys, values = self.key_value(other).chunk(2, dim=-1)
        q, k, v = (self._split(x) for x in (self.query(query), keys, values))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.out(mixed)
        return out

    def _split(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        return x.view(batch, tokens, self.num_heads, width // self.num_heads).transpose(1, 2)


class CrossBlock(nn.Module):
    """Transformer block of two streams: the condition asks, the noisy task answers.

    The task's stream goes through an MLP, the condition attends to it, and goes through an MLP of its own; all three
    pre-norm and residual.

    Args:
        width: Channels of both streams.
        num_heads: Heads of the attention.
        mlp_ratio: Hidden channels of the MLPs, over `width`.
    """

    def __init__(self, width: int, num_heads: int = 4, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.task_mlp = nn.Sequential(nn.LayerNorm(width), *_mlp(width, mlp_ratio))
        self.query_norm, self.task_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _CrossAttention(width, num_heads)
        self.query_mlp = nn.Sequential(nn.LayerNorm(width), *_mlp(width, mlp_ratio))

    def forward(self, query: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of the condition (B, N, width) and of the task (B, M, width) to the same."""
        task = task + self.task_mlp(task)
        query = query + self.attention(self.query_norm(query), self.task_norm(task))
        return query + self.query_mlp(query), task


def _mlp(width: int, ratio: int) -> list[nn.Module]:
    return [nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width)]


class Denoiser(nn.Module):
    """Estimates clean features of many (image, task) pairs at once.

    Each task has its own convolution before, and its own head after, the blocks that all tasks share. The pairs of all
    tasks go through these in one batch: there is no batch statistic in the denoiser, so a pair's result does not depend
    on the others.

    Args:
        in_channels: {task: channels of its noisy signal}.
        width: Channels of the condition, the blocks and the features.
        num_blocks: Cross blocks.
        num_heads: Heads of their attention.
        reduction: The blocks work at the resolution of the signal divided by this.
    """

    def __init__(
        self,
        in_channels: Mapping[str, int],
        width: int,
        num_blocks: int = 4,
        num_heads: int = 4,
        reduction: int = 4,
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self.blocks = nn.ModuleList(CrossBlock(width, num_heads) for _ in range(num_blocks))
        self.pre_convs = nn.ModuleDict(
            {name: nn.Conv2d(channels, width, 3, padding=1) for name, channels in in_channels.items()}
        )
        self.task_heads = nn.ModuleDict({name: _task_head(width) for name in in_channels})
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.step_embedding = StepEmbedding(width)

    def tokens(self, x: Tensor) -> Tensor:
        """(B, width, h, w) to tokens (B, N, width) at the resolution of the blocks."""
        return self._reduced(x).flatten(2).transpose(1, 2)

    def forward(
        self, noisy: Mapping[str, Tensor], condition: Tensor, rows: Mapping[str, Sequence[int]], step: int
    ) -> dict[str, Tensor]:
        """Estimates of the clean features.

        Args:
            noisy: {task: noisy signals (B_t, channels, h, w) of its images}; B_t may be 0.
            condition: Tokens (B, N, width) of the condition of all images; see `tokens`.
            rows: {task: the B_t rows of `condition` that its images are}.
            step: Number of the diffusion step.

        Returns:
            {task: (B_t, width, h, w)}.
        """
        embedding = self.step_embedding(step)[:, None, None]
        streams = {name: self.pre_convs[name](x) + embedding for name, x in noisy.items()}
        everything = torch.cat(list(streams.values()))
        index = torch.tensor([row for name in streams for row in rows[name]], dtype=torch.long).to(condition.device)
        reduced = self._reduced(everything)
        query, task = condition[index], reduced.flatten(2).transpose(1, 2)
        for block in self.blocks:
            query, task = block(query, task)
        size = everything.shape[-2:]
        coarse = query.transpose(1, 2).unflatten(-1, reduced.shape[-2:])
        refined = everything + F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        parts = refined.split([len(x) for x in streams.values()])
        return {name: self.task_heads[name](part) for name, part in zip(streams, parts, strict=True)}

    def _reduced(self, x: Tensor) -> Tensor:
        height, width = (max(1, side // self.reduction) for side in x.shape[-2:])
        return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)


def _task_head(width: int) -> nn.Sequential:
    layers: Iterable[nn.Module] = (
        layer for _ in range(3) for layer in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
    )
    return nn.Sequential(nn.Conv2d(width, width, 1), *layers)
