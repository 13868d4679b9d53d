"""InvPT: attention over all tasks and places at once, from coarse to fine."""

from __future__ import annotations

from mtdense.models.invpt.module import PRESETS, InvPT
from mtdense.models.invpt.network import InvPTNetwork, InvPTStage

__all__ = ["PRESETS", "InvPT", "InvPTNetwork", "InvPTStage"]
