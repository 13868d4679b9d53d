"""MQTransformer as a LightningModule."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from mtdense.models.base import DenseModule
from mtdense.models.mq_transformer.network import MQTransformerNetwork
from mtdense.models.mq_transformer.options import LocalResidual, MQTransformerOptions, PresetName, TokenReach

__all__ = ["MQTransformer"]


class MQTransformer(DenseModule):
    """Multi-task learning with a multi-query transformer (Xu et al., TCSVT 2023, arXiv:2205.14354).

    Defaults are the public code's; the README of this folder says where it and the printed counts part.

    Args:
        preset: `paper`; `small` is 128 wide, `tiny` 16 wide with 4 queries, for tests.
        width: Channels of tokens and queries; null: the preset's, 256 for `paper`.
        num_queries: Queries of a task; null: the preset's, 64 for `paper`.
        num_heads: Attention heads.
        rounds: Encoder, interaction and decoder so many times, each with weights and queries of its own.
        encoder_ffn_ratio: Hidden width of the encoder's feed-forward layer over `width`.
        interaction_ffn_ratio: The same for the queries of all tasks together.
        decoder_ffn_ratio: The same for both feed-forward layers of the decoder.
        token_reach: What a token reads in the decoder's self-attention: `own_token` itself only, which is what remains
            of the public code's attention with one image per device; `map` all tokens of the image, nearer the text,
            at a cost that grows with the square of the pixels. [ours]
        local_residual: What the self-attention's result is added to: the `input` of the decoder, as in the public
            code, or what was `previous`. [ours]
        fusion_width: Channels that a head reads; null: a quarter of `width`.
        drop_path: Stochastic depth of encoder and decoder, by image.
        query_drop_path: The same of the interaction, by query.
        query_dropout: Dropout of attention weights in the interaction.
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: An option of unknown value or out of range, or heads that do not divide the width.
    """

    method: ClassVar[str] = "mq_transformer"

    def __init__(
        self,
        preset: PresetName = "paper",
        width: int | None = None,
        num_queries: int | None = None,
        num_heads: int = 4,
        rounds: int = 1,
        encoder_ffn_ratio: int = 1,
        interaction_ffn_ratio: int = 1,
        decoder_ffn_ratio: int = 3,
        token_reach: TokenReach = "own_token",
        local_residual: LocalResidual = "input",
        fusion_width: int | None = None,
        drop_path: float = 0.1,
        query_drop_path: float = 0.5,
        query_dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)

    def build_network(self) -> nn.Module:
        """The network of `preset` and options on the chosen backbone."""
        options = MQTransformerOptions.of(self.hparams)
        outputs = {name: task.num_outputs for name, task in self.tasks.items()}
        return MQTransformerNetwork(self.build_backbone(), outputs, options)
