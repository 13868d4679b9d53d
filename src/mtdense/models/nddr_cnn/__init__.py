"""NDDR-CNN: each task's feature is a 1x1 convolution of all tasks' features."""

from __future__ import annotations

from mtdense.models.nddr_cnn.module import NDDRCNN
from mtdense.models.nddr_cnn.network import NDDRLayer

__all__ = ["NDDRCNN", "NDDRLayer"]
