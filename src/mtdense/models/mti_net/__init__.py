"""MTI-Net: distillation between tasks at four scales."""

from __future__ import annotations

from mtdense.models.mti_net.module import PRESETS, MTINet
from mtdense.models.mti_net.network import FeaturePropagation, MTINetNetwork

__all__ = ["PRESETS", "FeaturePropagation", "MTINet", "MTINetNetwork"]
