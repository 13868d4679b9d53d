"""Reconstruction: triple feature embedding and task prompts fusion, for dense tasks and 3-D detection."""

from __future__ import annotations

from mtdense.models.prompt_fusion.module import PromptFusion
from mtdense.models.prompt_fusion.network import PromptFusionNetwork
from mtdense.models.prompt_fusion.options import PromptFusionOptions

__all__ = ["PromptFusion", "PromptFusionNetwork", "PromptFusionOptions"]
