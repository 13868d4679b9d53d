"""The backbones of the papers' tables: which network, which weights, which settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import timm

__all__ = ["PAPER_BACKBONES", "Family", "Variant", "family_of"]

Family = Literal["timm", "vit", "hrnet", "swin", "internimage"]


@dataclass(frozen=True)
class Variant:
    """How a backbone of a table is built.

    Attributes:
        family: The class that runs it.
        timm_name: timm's name with the tag of the weights that the papers used, or the closest that timm has; empty for
            networks that timm lacks.
        options: Defaults of `create_backbone`'s options.
        arguments: Arguments of the network's own class.
    """

    family: Family
    timm_name: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)


PAPER_BACKBONES: dict[str, Variant] = {
    # torchvision's first ImageNet weights.
    "resnet18": Variant("timm", "resnet18.tv_in1k"),
    "resnet50": Variant("timm", "resnet50.tv_in1k"),
    # [inferred] The only weights that timm had when BridgeNet was written.
    "resnet50d": Variant("timm", "resnet50d.ra2_in1k"),
    # The papers' "HRNet-W18" is the small v2 network.
    "hrnet_w18": Variant("hrnet", "hrnet_w18_small_v2.ms_in1k"),
    "hrnet_w48": Variant("hrnet", "hrnet_w48.ms_in1k"),
    # Augmented ImageNet-21k training, tuned on ImageNet-1k at 384 x 384; statistics 0.5, though the papers' recipes
    # normalise with ImageNet's.
    "vit_base": Variant("vit", "vit_base_patch16_384.augreg_in21k_ft_in1k", {"drop_path_rate": 0.15}),
    "vit_large": Variant("vit", "vit_large_patch16_384.augreg_in21k_ft_in1k", {"drop_path_rate": 0.15}),
    "swin_t": Variant("swin", "swin_tiny_patch4_window7_224.ms_in1k", {"drop_path_rate": 0.1}),
    "swin_s": Variant("swin", "swin_small_patch4_window7_224.ms_in1k", {"drop_path_rate": 0.1}),
    "swin_b": Variant("swin", "swin_base_patch4_window7_224.ms_in22k", {"drop_path_rate": 0.1}),
    "swin_l": Variant("swin", "swin_large_patch4_window7_224.ms_in22k", {"drop_path_rate": 0.1}),
    "internimage_b": Variant(
        "internimage",
        options={"drop_path_rate": 0.4},
        arguments={"channels": 112, "depths": (4, 4, 21, 4), "groups": (7, 14, 28, 56), "offset_scale": 1.0},
    ),
    "internimage_l": Variant(
        "internimage",
        options={"drop_path_rate": 0.4},
        arguments={"channels": 160, "depths": (5, 5, 22, 5), "groups": (10, 20, 40, 80), "offset_scale": 2.0},
    ),
}

_FAMILIES: dict[str, Family] = {
    "timm.models.vision_transformer": "vit",
    "timm.models.hrnet": "hrnet",
    "timm.models.swin_transformer": "swin",
}


def family_of(timm_name: str) -> Family:
    """The class that runs a timm network."""
    return _FAMILIES.get(timm.models.model_entrypoint(timm_name).__module__, "timm")
