"""Feature pyramids: timm's networks and a tiny one for tests."""

from __future__ import annotations

from mtdense.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone
from mtdense.backbones.timm_backbone import TimmBackbone
from mtdense.backbones.tiny import TinyBackbone
from mtdense.backbones.weights import load_backbone_weights, weights_follow, weights_will_follow
from mtdense.core.errors import ConfigError

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Backbone",
    "TimmBackbone",
    "TinyBackbone",
    "create_backbone",
    "load_backbone_weights",
    "weights_follow",
    "weights_will_follow",
]


def create_backbone(
    name: str,
    pretrained: bool = False,
    checkpoint: str | None = None,
    img_size: tuple[int, int] | None = None,
) -> Backbone:
    """Builds a backbone by name; inside `weights_follow` neither downloads nor reads weights.

    Args:
        name: `tiny`, a timm name, or a paper's name for one (`hrnet_w18`).
        pretrained: Download timm's weights.
        checkpoint: Local file of weights instead.
        img_size: Input (height, width), for networks of a fixed input size.

    Raises:
        ConfigError: Unknown name, or weights that cannot be had.
        CheckpointError: `checkpoint` does not fit.
    """
    if name == "tiny":
        if pretrained or checkpoint is not None:
            raise ConfigError("the backbone 'tiny' has no weights to load", "set `pretrained: false`.")
        return TinyBackbone()
    if weights_will_follow():
        return TimmBackbone(name, img_size=img_size)
    return TimmBackbone(name, pretrained, checkpoint, img_size)
