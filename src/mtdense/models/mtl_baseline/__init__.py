"""MTL baseline: shared encoder, one decoder per task."""

from __future__ import annotations

from mtdense.models.mtl_baseline.module import PRESETS, MTLBaseline
from mtdense.models.mtl_baseline.network import SharedEncoderNetwork

__all__ = ["PRESETS", "MTLBaseline", "SharedEncoderNetwork"]
