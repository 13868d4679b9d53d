"""The knowledge-retrieval transformer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.models.prototype.options import BlockNorm

__all__ = ["KnowledgeRetrievalTransformer", "RetrievalBlock", "positional_encoding"]


def positional_encoding(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """2-D sine-cosine encoding (height * width, channels): a half each for row and column, of wave lengths to 10000.

    Args:
        height: Rows.
        width: Columns.
        channels: A multiple of 4.
        like: A tensor of the wanted type and device.
    """
    quarter = channels // 4
    rates = 10000 ** -(torch.arange(quarter, device=like.device, dtype=torch.float32) / quarter)

    def wave(length: int) -> Tensor:
        angles = torch.arange(length, device=like.device, dtype=torch.float32)[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    rows = wave(height)[:, None].expand(height, width, 2 * quarter)
    columns = wave(width)[None].expand(height, width, 2 * quarter)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1).to(like.dtype)


class RetrievalBlock(nn.Module):
    """Self-attention, cross-attention over the task-affinity feature, feed-forward network (eqs. 8 and 9).

    Args:
        width: Channels of the task feature.
        slot_dim: Channels of the task-affinity feature.
        heads: Attention heads.
        norm: Normalise before each part (`pre`) or after adding it (`post`). [inferred]
        cross_residual: Add the retrieved knowledge to the feature, rather than replace it by it. [inferred]
        scaling: Divide attention scores by the root of a head's width. [inferred]
    """

    def __init__(
        self,
        width: int,
        slot_dim: int,
        heads: int = 8,
        norm: BlockNorm = "pre",
        cross_residual: bool = True,
        scaling: bool = True,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm = norm
        self.cross_residual = cross_residual
        self.scale = (width // heads) ** -0.5 if scaling else 1.0
        self.self_norm = nn.LayerNorm(width)
        self.self_qkv = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.cross_norm = nn.LayerNorm(width)
        self.cross_query = nn.Linear(width, width)
        self.cross_key_value = nn.Linear(slot_dim, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.ffn_norm = nn.LayerNorm(width)
        self.ffn = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        def split(x: Tensor) -> Tensor:
            parts: Tensor = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            return parts

        attended: Tensor = F.scaled_dot_product_attention(split(query), split(key), split(value), scale=self.scale)
        joined: Tensor = attended.transpose(1, 2).flatten(2)
        return joined

    def attend_self(self, x: Tensor) -> Tensor:
        """Self-attention of (B, L, width)."""
        attended: Tensor = self.self_out(self._attend(*self.self_qkv(x).chunk(3, dim=-1)))
        return attended

    def attend_affinity(self, x: Tensor, affinity_feature: Tensor) -> Tensor:
        """Cross-attention of (B, L, width) over (B, N, slot_dim)."""
        key, value = self.cross_key_value(affinity_feature).chunk(2, dim=-1)
        attended: Tensor = self.cross_out(self._attend(self.cross_query(x), key, value))
        return attended

    def forward(self, x: Tensor, affinity_feature: Tensor) -> Tensor:
        """Task feature (B, L, width), task-affinity feature (B, N, slot_dim) to the refined feature (B, L, width)."""
        if self.norm == "pre":
            x = x + self.attend_self(self.self_norm(x))
            found = self.attend_affinity(self.cross_norm(x), affinity_feature)
            x = x + found if self.cross_residual else found
            widened: Tensor = self.ffn(self.ffn_norm(x))
            return x + widened
        x = self.self_norm(x + self.attend_self(x))
        found = self.attend_affinity(x, affinity_feature)
        x = self.cross_norm(x + found if self.cross_residual else found)
        refined: Tensor = self.ffn_norm(x + self.ffn(x))
        return refined


class KnowledgeRetrievalTransformer(nn.Module):
    """A stack of `RetrievalBlock`, shared by all tasks; every block reads the same task-affinity feature.

    Args:
        num_blocks: Blocks.
        width: See `RetrievalBlock`.
        slot_dim: See `RetrievalBlock`.
        heads: See `RetrievalBlock`.
        norm: See `RetrievalBlock`.
        cross_residual: See `RetrievalBlock`.
        scaling: See `RetrievalBlock`.
    """

    def __init__(
        self,
        num_blocks: int,
        width: int,
        slot_dim: int,
        heads: int = 8,
        norm: BlockNorm = "pre",
        cross_residual: bool = True,
        scaling: bool = True,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            RetrievalBlock(width, slot_dim, heads, norm, cross_residual, scaling) for _ in range(num_blocks)
        )

    def forward(self, x: Tensor, affinity_feature: Tensor) -> Tensor:
        """(B, L, width), (B, N, slot_dim) to (B, L, width)."""
        for block in self.blocks:
            x = block(x, affinity_feature)
        return x
