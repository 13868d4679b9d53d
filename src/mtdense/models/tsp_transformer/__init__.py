"""TSP-Transformer: a transformer run once per task, each with prompts of its own, in front of InvPT's decoders."""

from __future__ import annotations

from mtdense.models.tsp_transformer.module import PRESETS, TSPTransformer
from mtdense.models.tsp_transformer.network import TSPNetwork

__all__ = ["PRESETS", "TSPNetwork", "TSPTransformer"]
