"""Building a backbone by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import timm

from mtdense.backbones.base import Backbone
from mtdense.backbones.dcnv3 import DCNv3Backend
from mtdense.backbones.hrnet import HRNet
from mtdense.backbones.internimage import InternImage
from mtdense.backbones.names import PAPER_BACKBONES, Family, Variant, family_of
from mtdense.backbones.swin import Swin
from mtdense.backbones.timm_backbone import TimmBackbone
from mtdense.backbones.tiny import TinyBackbone
from mtdense.backbones.vit import VisionTransformer
from mtdense.backbones.weights import load_backbone_weights, weights_will_follow
from mtdense.core.errors import ConfigError
from mtdense.core.suggest import did_you_mean

__all__ = ["backbone_family", "create_backbone"]

# Options that a family knows, beside its weights, `checkpointing` and `overrides`.
_OPTIONS: dict[Family, tuple[str, ...]] = {
    "timm": ("output_stride", "drop_path_rate"),
    "vit": ("out_blocks", "output_norm", "class_token", "position_antialias", "drop_path_rate"),
    "hrnet": ("fusion",),
    "swin": ("output_norm", "drop_path_rate"),
    "internimage": ("drop_path_rate", "dcn_backend"),
}


def create_backbone(
    name: str,
    pretrained: bool = False,
    checkpoint: str | None = None,
    img_size: tuple[int, int] | None = None,
    *,
    out_blocks: Sequence[int] | None = None,
    output_norm: bool | Literal["last"] | None = None,
    class_token: bool | None = None,
    position_antialias: bool | None = None,
    fusion: Literal["bilinear", "nearest"] | None = None,
    output_stride: int | None = None,
    drop_path_rate: float | None = None,
    checkpointing: bool | None = None,
    dcn_backend: DCNv3Backend | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Backbone:
    """Builds a backbone by name; inside `weights_follow` neither downloads nor reads weights.

    None is the default of the name: the papers' setting for their names, the class's own for other timm names.

    Args:
        name: `tiny`, a name of the papers' tables (`PAPER_BACKBONES`), or a timm name with or without a tag.
        pretrained: Download timm's weights (the tag of `PAPER_BACKBONES` where the name has none).
        checkpoint: Local file of weights instead; see `load_backbone_weights`.
        img_size: Input (height, width), for networks of a fixed input size.
        out_blocks: ViT: blocks, counted from 1, whose outputs are the maps.
        output_norm: ViT: LayerNorm on the last map; Swin: a LayerNorm on each map, or `last`.
        class_token: ViT: run with a class token (it is never in a map).
        position_antialias: ViT: see `resize_position_embedding`.
        fusion: HRNet: how coarser branches are enlarged.
        output_stride: ResNets: 8 or 16, dilated behind that stride.
        drop_path_rate: All but HRNet: rate of stochastic depth at the last block.
        checkpointing: Compute each block again in the backward pass; see `Backbone.set_checkpointing`.
        dcn_backend: InternImage: see `mtdense.backbones.dcnv3.dcnv3`.
        overrides: Arguments of the network's constructor in place of its own (`depth`, `depths`, `embed_dim`), for
            small networks of the same kind.

    Raises:
        ConfigError: Unknown name, an option that this network does not have, or weights that cannot be had.
        CheckpointError: `checkpoint` does not fit.
    """
    options = {
        "out_blocks": out_blocks,
        "output_norm": output_norm,
        "class_token": class_token,
        "position_antialias": position_antialias,
        "fusion": fusion,
        "output_stride": output_stride,
        "drop_path_rate": drop_path_rate,
        "dcn_backend": dcn_backend,
    }
    given = {key: value for key, value in options.items() if value is not None}
    if name == "tiny":
        if pretrained or checkpoint is not None:
            raise ConfigError("the backbone 'tiny' has no weights to load", "set `pretrained: false`.")
        if given or overrides:
            raise ConfigError(f"the backbone 'tiny' has no option {[*given, *(overrides or {})]}", "leave it out.")
        tiny = TinyBackbone()
        tiny.set_checkpointing(bool(checkpointing))
        return tiny
    variant = _variant(name)
    unknown = [key for key in given if key not in _OPTIONS[variant.family]]
    if unknown:
        raise ConfigError(
            f"the backbone '{name}' has no option {unknown}",
            f"it knows {', '.join(_OPTIONS[variant.family])}, checkpointing and overrides.",
        )
    follow = weights_will_follow()
    download = pretrained and checkpoint is None and not follow
    backbone = _build(name, variant, download, img_size, {**variant.options, **given}, overrides or {})
    backbone.set_checkpointing(bool(checkpointing))
    if checkpoint is not None and not follow:
        load_backbone_weights(backbone, checkpoint)
    return backbone


def backbone_family(name: str) -> Family | None:
    """The family that a name of `create_backbone` belongs to; none is that of `tiny`.

    Raises:
        ConfigError: Unknown name.
    """
    return None if name == "tiny" else _variant(name).family


def _variant(name: str) -> Variant:
    if name in PAPER_BACKBONES:
        return PAPER_BACKBONES[name]
    if not timm.is_model(name):
        near = did_you_mean(name, [*PAPER_BACKBONES, *timm.list_models()], limit=3)
        raise ConfigError(
            f"unknown backbone '{name}'",
            f"{near}Use tiny, {', '.join(PAPER_BACKBONES)}, or a name of `timm.list_models()`.",
        )
    family = family_of(name)
    # A bare timm name is timm's network: no norms and no fusion of ours.
    plain: dict[Family, dict[str, Any]] = {"swin": {"output_norm": False}, "hrnet": {"fusion": "nearest"}}
    return Variant(family, name, plain.get(family, {}))


def _build(
    name: str,
    variant: Variant,
    pretrained: bool,
    img_size: tuple[int, int] | None,
    options: Mapping[str, Any],
    overrides: Mapping[str, Any],
) -> Backbone:
    timm_name = variant.timm_name
    if variant.family == "timm":
        return TimmBackbone(timm_name, pretrained, img_size, overrides=overrides, **options)
    if variant.family == "vit":
        return VisionTransformer(timm_name, pretrained, img_size, overrides=overrides, **options)
    if variant.family == "hrnet":
        return HRNet(timm_name, pretrained, overrides=overrides, **options)
    if variant.family == "swin":
        return Swin(timm_name, pretrained, overrides=overrides, **options)
    if pretrained:
        raise ConfigError(
            f"timm has no weights of '{name}'",
            "download the checkpoint from OpenGVLab/InternImage and name it in `backbone_checkpoint`.",
        )
    arguments = {**variant.arguments, **options, **overrides}
    try:
        return InternImage(**arguments)
    except TypeError as error:
        raise ConfigError(f"'{name}' cannot be built with {sorted(overrides)}: {error}", "see InternImage.") from error
