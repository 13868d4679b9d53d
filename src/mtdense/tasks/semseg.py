"""Semantic segmentation."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mtdense.tasks.base import ArrayAny
from mtdense.tasks.class_map import IGNORE, ClassMap

__all__ = ["SemanticSegmentation"]


class SemanticSegmentation(ClassMap):
    """Semantic segmentation: cross-entropy without class weights; see `ClassMap` for the arguments."""

    name: ClassVar[str] = "semseg"

    def dominant_share(self, label: ArrayAny) -> float | None:
        """Share of the most frequent class among valid pixels; 1.0 where fewer than two classes are present."""
        counts = np.bincount(label.reshape(-1), minlength=IGNORE + 1)
        counts[IGNORE] = 0
        if np.count_nonzero(counts) < 2:
            return 1.0
        return float(counts.max() / counts.sum())
