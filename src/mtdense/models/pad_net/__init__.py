"""PAD-Net: first predictions, then distillation between all tasks."""

from __future__ import annotations

from mtdense.models.pad_net.module import PRESETS, PADNet
from mtdense.models.pad_net.network import PADNetNetwork

__all__ = ["PRESETS", "PADNet", "PADNetNetwork"]
