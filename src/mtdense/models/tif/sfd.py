"""Self-feature distillation (SFD): self-attention of one task at one low scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtdense.models.tif.layers import FeedForward, to_map, to_tokens
from mtdense.models.tif.options import TIFOptions

__all__ = ["SelfFeatureDistillation"]


class SelfFeatureDistillation(nn.Module):
    """SFD (equations 6 to 10), or its cross-task variant.

    With Z the normalised tokens of the task's map: K = V = sum over n of Z W_n, Q = Z W_q, A = Q K^T / sqrt(d / heads),
    R = softmax(A) V + tokens, then a feed-forward layer with residual. In the cross-task variant the n-th map W_n reads
    the tokens of task n.

    One map may stand for the sum: made by `fold`, or by `options.folded`, where the weights of an unfolded module are
    added up when loaded.

    Args:
        num_tasks: Tasks of the network.
        options: See `TIFOptions`.
    """

    def __init__(self, num_tasks: int, options: TIFOptions) -> None:
        super().__init__()
        width, bias = options.width, options.linear_bias
        self.num_heads = options.num_heads
        self.scale = (width // options.num_heads) ** -0.5 if options.attention_scaling else 1.0
        normed = options.token_norm != "none"
        self.norm = nn.LayerNorm(width) if normed else nn.Identity()
        self.query_norm = nn.LayerNorm(width) if options.token_norm == "separate" else None
        self.query = nn.Linear(width, width, bias=bias)
        self.key_values = nn.ModuleList(nn.Linear(width, width, bias=bias) for _ in range(options.key_maps(num_tasks)))
        self.ffn = FeedForward(width, options.sfd_ffn_ratio, options.ffn_norm)
        if options.folded:
            self.register_load_state_dict_pre_hook(_add_up)  # type: ignore[no-untyped-call]

    def attend(
        self, x: Tensor, sources: Sequence[Tensor] | None = None, query: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attention scores before the softmax, and values.

        Args:
            x: The task's map (B, width, h, w).
            sources: The maps of all tasks, for the cross-task variant; null: the task's own for every W_n.
            query: Map that queries are made from; null: the task's own.

        Returns:
            (B, heads, h * w, h * w) and (B, heads, h * w, width / heads).
        """
        own = self.norm(to_tokens(x))
        inputs = [own] * len(self.key_values) if sources is None else [self.norm(to_tokens(s)) for s in sources]
        values = [linear(z) for linear, z in zip(self.key_values, inputs, strict=True)]
        value = self._heads(sum(values[1:], values[0]))
        if query is not None or self.query_norm is not None:
            tokens = to_tokens(x if query is None else query)
            own = (self.query_norm or self.norm)(tokens)
        return self._heads(self.query(own)) @ value.transpose(-2, -1) * self.scale, value

    def forward(
        self, x: Tensor, sources: Sequence[Tensor] | None = None, query: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The refined map, of the size of `x`, and the scores of `attend`; see there."""
        scores, value = self.attend(x, sources, query)
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2) + to_tokens(x)
        return to_map(self.ffn(mixed), (x.shape[-2], x.shape[-1])), scores

    @torch.no_grad()
    def fold(self) -> None:
        """Puts one map in place of the sum; outputs stay the same. Not for the cross-task variant."""
        for name, parameter in self.key_values[0].named_parameters():
            parameter.copy_(_total([dict(linear.named_parameters())[name] for linear in self.key_values]))
        self.key_values = self.key_values[:1]

    def _heads(self, tokens: Tensor) -> Tensor:
        split: Tensor = tokens.unflatten(2, (self.num_heads, -1))
        return split.transpose(1, 2)


def _total(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([part.detach().double() for part in parts]).sum(0).to(parts[0].dtype)


def _add_up(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    start = f"{prefix}key_values."
    for name in ("weight", "bias"):
        keys = sorted(key for key in state if key.startswith(start) and key.endswith(f".{name}"))
        if len(keys) > 1:
            total = _total([state.pop(key) for key in keys])
            state[f"{start}0.{name}"] = total
