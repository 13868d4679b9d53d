"""TIF: multi-task learning without task interaction (ACM MM 2024)."""

from __future__ import annotations

from mtdense.models.tif.distances import attention_divergence, task_distance
from mtdense.models.tif.lthd import LowToHighDiffusion, resize_attention
from mtdense.models.tif.module import TIF
from mtdense.models.tif.network import TaskDecoder, TIFNetwork
from mtdense.models.tif.options import PRESETS, TIFOptions
from mtdense.models.tif.pyramid import DeconvolutionPyramid
from mtdense.models.tif.saff import ScaleAttentiveFusion
from mtdense.models.tif.sfd import SelfFeatureDistillation

__all__ = [
    "PRESETS",
    "TIF",
    "DeconvolutionPyramid",
    "LowToHighDiffusion",
    "ScaleAttentiveFusion",
    "SelfFeatureDistillation",
    "TIFNetwork",
    "TIFOptions",
    "TaskDecoder",
    "attention_divergence",
    "resize_attention",
    "task_distance",
]
