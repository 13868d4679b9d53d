"""Reconstruction: the MTL baseline with learned task prompts, in the manner of TaskPrompter or of TSP-Transformer."""

from __future__ import annotations

from mtdense.models.prompted_baseline.module import PromptedBaseline
from mtdense.models.prompted_baseline.network import PromptedNetwork
from mtdense.models.prompted_baseline.prompters import PrompterOptions, TaskPrompter, TSPPrompter

__all__ = ["PromptedBaseline", "PromptedNetwork", "PrompterOptions", "TSPPrompter", "TaskPrompter"]
