"""A transformer layer whose tokens may begin with prompts, and the scores of these prompts over the other tokens."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PromptLayer"]


class PromptLayer(nn.Module):
    """Pre-norm transformer layer: self-attention and a two-layer perceptron, both residual.

    Queries, keys and values have no bias: that of a key cancels in the softmax and would never be trained.

    Args:
        width: Channels of a token.
        num_heads: Attention heads.
        mlp_ratio: Width of the perceptron's hidden layer over `width`.
    """

    def __init__(self, width: int, num_heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        hidden = int(width * mlp_ratio)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor, prompts: int) -> tuple[Tensor, Tensor]:
        """Runs the layer.

        Args:
            tokens: (B, prompts + L, width).
            prompts: How many of the first tokens are prompts.

        Returns:
            The tokens, and (B, heads, prompts, L): products of the prompts' queries with the keys of all other tokens
            over the root of a head's width, that is, what the softmax of this layer's attention was taken of.
        """
        batch, length, width = tokens.shape
        qkv = self.qkv(self.norm1(tokens)).view(batch, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.proj(mixed.transpose(1, 2).reshape(batch, length, width))
        tokens = tokens + self.mlp(self.norm2(tokens))
        scores = query[:, :, :prompts] @ key[:, :, prompts:].transpose(-2, -1)
        return tokens, scores / (width // self.num_heads) ** 0.5
