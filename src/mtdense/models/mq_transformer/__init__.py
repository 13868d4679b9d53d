"""MQTransformer, the multi-query transformer (TCSVT 2023)."""

from __future__ import annotations

from mtdense.models.mq_transformer.attention import QueryAttention, TokenAttention
from mtdense.models.mq_transformer.module import MQTransformer
from mtdense.models.mq_transformer.network import MQTransformerNetwork
from mtdense.models.mq_transformer.options import MQTransformerOptions
from mtdense.models.mq_transformer.parts import QueryDecoder, QueryEncoder, QueryInteraction, Round, TaskQueries

__all__ = [
    "MQTransformer",
    "MQTransformerNetwork",
    "MQTransformerOptions",
    "QueryAttention",
    "QueryDecoder",
    "QueryEncoder",
    "QueryInteraction",
    "Round",
    "TaskQueries",
    "TokenAttention",
]
