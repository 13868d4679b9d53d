"""Queries, and what makes them and the tasks' maps read each other."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from mtdense.models.mq_transformer.attention import QueryAttention, TokenAttention
from mtdense.models.mq_transformer.options import MQTransformerOptions

__all__ = ["QueryDecoder", "QueryEncoder", "QueryInteraction", "Round", "TaskQueries"]


def _feed_forward(width: int, ratio: int) -> nn.Sequential:
    hidden = ratio * width
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class TaskQueries(nn.Module):
    """Learned queries of one task, and their positions as readers (in the encoder) and as what is read (decoder).

    A position is as wide as an attention head, and all heads get it alike.

    Args:
        options: See `MQTransformer`.
    """

    def __init__(self, options: MQTransformerOptions) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(options.num_queries, options.width))
        self.reading_positions = nn.Parameter(torch.empty(options.num_queries, options.head_width))
        self.read_positions = nn.Parameter(torch.empty(options.num_queries, options.head_width))
        for parameter in self.parameters():
            nn.init.trunc_normal_(parameter, std=0.02)
        self.num_heads = options.num_heads

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, and their positions in encoder and decoder: (Q, width) each."""
        reading, read = (p.repeat(1, self.num_heads) for p in (self.reading_positions, self.read_positions))
        return self.tokens.clone(), reading, read


class QueryEncoder(nn.Module):
    """A task's queries read the task's map; one encoder serves all tasks.

    Args:
        options: See `MQTransformer`.
    """

    def __init__(self, options: MQTransformerOptions) -> None:
        super().__init__()
        self.attention = QueryAttention(options.width, options.num_heads)
        self.mix = nn.Sequential(nn.LayerNorm(options.width), nn.Linear(options.width, options.width, bias=False))
        self.ffn = _feed_forward(options.width, options.encoder_ffn_ratio)
        self.drop_path = DropPath(options.drop_path)

    def forward(self, queries: Tensor, tokens: Tensor, positions: Tensor) -> Tensor:
        """Queries (B, Q, width) and tokens of the map (B, N, width) to queries."""
        queries = queries + self.drop_path(self.attention(queries, tokens, position=positions))
        queries = queries + self.mix(queries)
        out: Tensor = queries + self.drop_path(self.ffn(queries))
        return out


class QueryInteraction(nn.Module):
    """Self-attention over the queries of all tasks together: the one place where tasks meet.

    Args:
        options: See `MQTransformer`.
    """

    def __init__(self, options: MQTransformerOptions) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(
            options.width, options.num_heads, dropout=options.query_dropout, batch_first=True
        )
        self.norm = nn.LayerNorm(options.width)
        self.ffn = _feed_forward(options.width, options.interaction_ffn_ratio)
        self.drop_path = DropPath(options.query_drop_path)

    def forward(self, queries: Tensor) -> Tensor:
        """(B, T Q, width) to the same."""
        queries = queries + self._drop(self.attention(queries, queries, queries, need_weights=False)[0])
        out: Tensor = queries + self._drop(self.ffn(self.norm(queries)))
        return out

    def _drop(self, x: Tensor) -> Tensor:
        # Each query on its own, as the public code does where a device has one image.
        dropped: Tensor = self.drop_path(x.flatten(0, 1)).view_as(x)
        return dropped


class QueryDecoder(nn.Module):
    """A task's map reads the task's queries; one decoder serves all tasks.

    Args:
        options: See `MQTransformer`.
    """

    def __init__(self, options: MQTransformerOptions) -> None:
        super().__init__()
        self.residual = options.local_residual
        self.attention = QueryAttention(options.width, options.num_heads)
        self.ffn = _feed_forward(options.width, options.decoder_ffn_ratio)
        self.local_attention = TokenAttention(options.width, options.num_heads, options.token_reach)
        self.local_ffn = _feed_forward(options.width, options.decoder_ffn_ratio)
        self.drop_path = DropPath(options.drop_path)
        self.activation = nn.GELU()

    def forward(self, tokens: Tensor, queries: Tensor, positions: Tensor) -> Tensor:
        """Tokens of the map (B, N, width) and queries (B, Q, width) to tokens."""
        out = tokens + self.drop_path(self.attention(tokens, queries, read_position=positions))
        out = out + self.drop_path(self.ffn(out))
        start = tokens if self.residual == "input" else out
        out = start + self.drop_path(self.local_attention(out, out, out))
        activated: Tensor = self.activation(out + self.drop_path(self.local_ffn(out)))
        return activated


class Round(nn.Module):
    """Encoder, interaction and decoder once, with queries of their own.

    Args:
        tasks: Names.
        options: See `MQTransformer`.
    """

    def __init__(self, tasks: list[str], options: MQTransformerOptions) -> None:
        super().__init__()
        self.queries = nn.ModuleDict({name: TaskQueries(options) for name in tasks})
        self.encoder = QueryEncoder(options)
        self.interaction = QueryInteraction(options)
        self.decoder = QueryDecoder(options)

    def forward(self, tokens: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """{task: tokens of its map (B, N, width)} to the same, and {task: queries behind the interaction}."""
        own = {name: queries() for name, queries in self.queries.items()}
        encoded = [
            self.encoder(queries.expand(tokens[name].shape[0], -1, -1), tokens[name], reading)
            for name, (queries, reading, _) in own.items()
        ]
        together = self.interaction(torch.cat(encoded, dim=1)).chunk(len(own), dim=1)
        met = dict(zip(own, together, strict=True))
        refined = {name: self.decoder(tokens[name], met[name], read) for name, (_, _, read) in own.items()}
        return refined, met
