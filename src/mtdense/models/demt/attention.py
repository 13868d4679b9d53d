"""Attention between the tokens of several maps at one place."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PlaceAttention"]


class PlaceAttention(nn.MultiheadAttention):
    """Multi-head attention of each token to the tokens of the same place in the same image, and to no others.

    Weights, their names and their initial values are those of PyTorch's layer. The public code gives PyTorch's layer
    tokens of the shapes below and leaves it to take the first axis for the sequence: so it attends along the batch.
    With one image that is what stands here; with more, images see each other, which they do not here.

    Args:
        width: Channels of a token.
        num_heads: Heads; they divide the width.
    """

    counted_as: ClassVar[type[nn.Module]] = nn.MultiheadAttention
    """A counter of modules sees the public code's call, which hides from it how many keys each token has."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__(width, num_heads)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, places: int) -> Tensor:  # type: ignore[override]
        """Tokens of maps, one map after the other.

        Args:
            query: (B, Q x places, width).
            key: (B, S x places, width).
            value: Like `key`.
            places: Tokens of a map. Where a query has one key only, it takes that key's value whatever the two are.

        Returns:
            Like `query`.
        """
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)

        def project(index: int, tokens: Tensor) -> Tensor:
            return F.linear(tokens, weights[index], biases[index])

        def split(tokens: Tensor) -> Tensor:
            return tokens.reshape(tokens.shape[0], -1, places, self.num_heads, self.head_dim)

        values = project(2, value)
        if query.shape[1] == key.shape[1] == places:
            return self._out(values)
        queries, keys = split(project(0, query)), split(project(1, key))
        scores = torch.einsum("bqnhd,bsnhd->bnhqs", queries * self.head_dim**-0.5, keys)
        mixed = torch.einsum("bnhqs,bsnhd->bqnhd", scores.softmax(-1).to(values.dtype), split(values))
        return self._out(mixed.flatten(3).flatten(1, 2))

    def _out(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.out_proj(tokens)
        return out
