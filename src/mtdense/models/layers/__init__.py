"""Blocks that two architectures or more are built of."""

from __future__ import annotations

from mtdense.models.layers.basic_block import BasicBlock
from mtdense.models.layers.fusion import concat_pyramid

__all__ = ["BasicBlock", "concat_pyramid"]
