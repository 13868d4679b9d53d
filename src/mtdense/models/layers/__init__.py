"""Blocks that two architectures or more are built of."""

from __future__ import annotations

from mtdense.models.layers.basic_block import BasicBlock
from mtdense.models.layers.conv_norm import conv_norm_relu
from mtdense.models.layers.deeplab import DeepLabHead
from mtdense.models.layers.deformable_conv import ModulatedDeformableConv2d, deformable_conv2d
from mtdense.models.layers.detection_head import DetectionBranch, DetectionHead, DetectionPyramid
from mtdense.models.layers.exchange import SeparateEncoders, SharedEncoder
from mtdense.models.layers.fcn import logit_heads, task_convolutions
from mtdense.models.layers.fusion import concat_pyramid
from mtdense.models.layers.hrnet_decoder import BranchFusion
from mtdense.models.layers.inverted_pyramid import (
    FinalDecoders,
    LevelCollector,
    MixProjection,
    PreliminaryDecoders,
    UnusedParts,
    UpEmbed,
)
from mtdense.models.layers.joint_attention import MLP, InvPTBlock
from mtdense.models.layers.residual import Bottleneck, ResidualBlock
from mtdense.models.layers.task_distillation import GatedMessage, TaskDistillation
from mtdense.models.layers.task_maps import TaskDropPath, TaskLayerNorm, norm_channels, resize

__all__ = [
    "MLP",
    "BasicBlock",
    "Bottleneck",
    "BranchFusion",
    "DeepLabHead",
    "DetectionBranch",
    "DetectionHead",
    "DetectionPyramid",
    "FinalDecoders",
    "GatedMessage",
    "InvPTBlock",
    "LevelCollector",
    "MixProjection",
    "ModulatedDeformableConv2d",
    "PreliminaryDecoders",
    "ResidualBlock",
    "SeparateEncoders",
    "SharedEncoder",
    "TaskDistillation",
    "TaskDropPath",
    "TaskLayerNorm",
    "UnusedParts",
    "UpEmbed",
    "concat_pyramid",
    "conv_norm_relu",
    "deformable_conv2d",
    "logit_heads",
    "norm_channels",
    "resize",
    "task_convolutions",
]
