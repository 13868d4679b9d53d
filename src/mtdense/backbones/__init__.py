"""Feature pyramids: timm's networks, InternImage, and a tiny one for tests."""

from __future__ import annotations

from mtdense.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone
from mtdense.backbones.dcnv3 import DCNv3, dcnv3
from mtdense.backbones.factory import backbone_family, create_backbone
from mtdense.backbones.hrnet import HRNet
from mtdense.backbones.internimage import InternImage
from mtdense.backbones.names import PAPER_BACKBONES
from mtdense.backbones.swin import Swin
from mtdense.backbones.timm_backbone import TimmBackbone
from mtdense.backbones.tiny import TinyBackbone
from mtdense.backbones.vit import VisionTransformer, resize_position_embedding
from mtdense.backbones.weights import load_backbone_weights, weights_follow, weights_will_follow

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "PAPER_BACKBONES",
    "Backbone",
    "DCNv3",
    "HRNet",
    "InternImage",
    "Swin",
    "TimmBackbone",
    "TinyBackbone",
    "VisionTransformer",
    "backbone_family",
    "create_backbone",
    "dcnv3",
    "load_backbone_weights",
    "resize_position_embedding",
    "weights_follow",
    "weights_will_follow",
]
