"""Cross-Stitch: each task's feature is a weighted sum of all tasks' features."""

from __future__ import annotations

from mtdense.models.cross_stitch.module import PRESETS, CrossStitch
from mtdense.models.cross_stitch.network import CrossStitchUnit

__all__ = ["PRESETS", "CrossStitch", "CrossStitchUnit"]
