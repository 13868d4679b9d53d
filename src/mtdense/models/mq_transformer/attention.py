"""The two attention layers of MQTransformer: between queries and tokens, and between the tokens of a map."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.models.mq_transformer.options import TokenReach

__all__ = ["QueryAttention", "TokenAttention"]


class QueryAttention(nn.Module):
    """Multi-head attention of some tokens to others, with a norm each for queries, keys and values.

    Positions are added in front of the norms, and not to values.

    Args:
        width: Channels of a token.
        num_heads: Heads; they divide the width.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_norm, self.value_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        # A bias here would move all scores of a query alike, which the softmax does not see.
        self.key_norm = nn.LayerNorm(width, bias=False)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, read: Tensor, position: Tensor | None = None, read_position: Tensor | None = None
    ) -> Tensor:
        """What `x` finds in `read`.

        Args:
            x: (B, N, width).
            read: (B, M, width).
            position: (N, width) of `x`.
            read_position: (M, width) of `read`.

        Returns:
            (B, N, width).
        """
        query = self.query(self.query_norm(x if position is None else x + position))
        key = self.key(self.key_norm(read if read_position is None else read + read_position))
        value = self.value(self.value_norm(read))
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (query, key, value))
        out: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class TokenAttention(nn.MultiheadAttention):
    """Multi-head self-attention of the tokens of a map.

    Weights, their names and their initial values are those of PyTorch's layer. The public code gives that layer tokens
    (B, N, width) and leaves it to take the first axis for the sequence: so each token attends along the batch. With one
    image per device, as it was trained, a token then attends to itself alone; with more, images see each other.

    Args:
        width: Channels of a token.
        num_heads: Heads; they divide the width.
        reach: `own_token`: what the public code does with one image, for every image; `map`: all tokens of the image.
    """

    counted_as: ClassVar[type[nn.Module]] = nn.MultiheadAttention
    """A counter of modules sees the public code's call."""

    def __init__(self, width: int, num_heads: int, reach: TokenReach) -> None:
        super().__init__(width, num_heads)
        self.reach = reach

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:  # type: ignore[override]
        """(B, N, width) each, the same tokens three times, to the same shape."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        mixed = F.linear(value, weights[2], biases[2])
        if self.reach == "map":
            q, k = (F.linear(t, weights[i], biases[i]) for i, t in enumerate((query, key)))
            q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, mixed))
            mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.out_proj(mixed)
        return out
