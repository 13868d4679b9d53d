"""Layers that several modules of TIF share."""

from __future__ import annotations

from torch import Tensor, nn

from mtdense.models.tif.options import FFNNorm

__all__ = ["FeedForward", "to_map", "to_tokens"]


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, h, w) to (B, h * w, C)."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, h * w, C) to (B, C, h, w)."""
    laid: Tensor = tokens.transpose(1, 2).unflatten(2, size)
    return laid


class FeedForward(nn.Module):
    """Linear, GELU, Linear on tokens, with a LayerNorm before (`pre`) or behind (`post`).

    Args:
        width: Channels in and out.
        ratio: Channels between the layers over `width`.
        norm: Place of the LayerNorm. `post` normalises the sum with the residual.
        residual: Add the input.
        output_bias: Whether a constant may be added to the result: not where a convolution with batch norm follows,
            which takes it away again.
    """

    def __init__(
        self, width: int, ratio: float = 1.0, norm: FFNNorm = "pre", residual: bool = True, output_bias: bool = True
    ) -> None:
        super().__init__()
        hidden = int(width * ratio)
        post = norm == "post"
        self.before = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width, bias=output_bias or post)
        )
        self.behind = nn.LayerNorm(width, bias=output_bias) if post else nn.Identity()
        self.residual = residual

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, width) to the same."""
        y: Tensor = self.layers(self.before(tokens))
        y = self.behind(y + tokens if self.residual else y)
        return y
