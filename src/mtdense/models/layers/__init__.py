"""Blocks that two architectures or more are built of."""

from __future__ import annotations

from mtdense.models.layers.basic_block import BasicBlock
from mtdense.models.layers.conv_norm import conv_norm_relu
from mtdense.models.layers.deeplab import DeepLabHead
from mtdense.models.layers.exchange import SeparateEncoders, SharedEncoder
from mtdense.models.layers.fcn import logit_heads, task_convolutions
from mtdense.models.layers.fusion import concat_pyramid
from mtdense.models.layers.hrnet_decoder import BranchFusion
from mtdense.models.layers.residual import Bottleneck, ResidualBlock
from mtdense.models.layers.task_distillation import GatedMessage, TaskDistillation

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "BranchFusion",
    "DeepLabHead",
    "GatedMessage",
    "ResidualBlock",
    "SeparateEncoders",
    "SharedEncoder",
    "TaskDistillation",
    "concat_pyramid",
    "conv_norm_relu",
    "logit_heads",
    "task_convolutions",
]
