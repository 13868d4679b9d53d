"""Any timm network that can give features, as a `Backbone`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import timm
from torch import Tensor

from mtdense.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone
from mtdense.backbones.weights import load_backbone_weights
from mtdense.core.errors import ConfigError
from mtdense.core.suggest import did_you_mean

__all__ = ["TimmBackbone"]


@dataclass(frozen=True)
class _Variant:
    """How a paper's backbone is asked from timm."""

    timm_name: str
    options: dict[str, Any] = field(default_factory=dict)


# Names of the papers' tables that differ from timm's, or need other feature maps than timm's default.
_VARIANTS = {
    # The papers' "HRNet-W18" is the small v2 network; its branch maps sit before timm's classification head.
    "hrnet_w18": _Variant("hrnet_w18_small_v2", {"feature_location": "", "out_indices": (1, 2, 3, 4)}),
    "hrnet_w48": _Variant("hrnet_w48", {"feature_location": "", "out_indices": (1, 2, 3, 4)}),
}


class TimmBackbone(Backbone):
    """Wraps `timm.create_model(name, features_only=True)`; the last four maps, channels first.

    Args:
        name: A timm name (`resnet18`, `swin_tiny_patch4_window7_224`), or a paper's (`hrnet_w18`).
        pretrained: Download timm's default weights of this name.
        checkpoint: Local weights instead; see `load_backbone_weights`.
        img_size: Input height and width, for networks of a fixed input size (Swin, ViT).

    Raises:
        ConfigError: timm has no such network, it gives no features, or its weights cannot be downloaded.
        CheckpointError: `checkpoint` does not fit.
    """

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        checkpoint: str | None = None,
        img_size: tuple[int, int] | None = None,
    ) -> None:
        variant = _VARIANTS.get(name, _Variant(name))
        if not timm.is_model(variant.timm_name):
            near = did_you_mean(name, [*_VARIANTS, *timm.list_models()], limit=3)
            raise ConfigError(f"unknown backbone '{name}'", f"{near}Use tiny, or a name of `timm.list_models()`.")
        options = dict(variant.options)
        if img_size is not None and _has_fixed_size(variant.timm_name):
            options["img_size"] = img_size
        network = _create(variant.timm_name, pretrained and checkpoint is None, options)
        info = network.feature_info
        # Five-map networks start at stride 2; dense decoders are built on strides 4 to 32.
        keep = [i for i, stride in enumerate(info.reduction()) if stride >= 4][-4:]
        config = timm.get_pretrained_cfg(variant.timm_name, allow_unregistered=True)
        super().__init__(
            [info.channels()[i] for i in keep],
            [info.reduction()[i] for i in keep],
            IMAGENET_MEAN if config is None else config.mean,
            IMAGENET_STD if config is None else config.std,
        )
        self.network = network
        self._keep = keep
        # Swin gives (B, H, W, C).
        self._channels_last = str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC")
        if checkpoint is not None:
            load_backbone_weights(network, checkpoint)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) to at most four maps at strides 4 to 32, channels first."""
        maps = self.network(image)
        chosen = [maps[i] for i in self._keep]
        return [x.permute(0, 3, 1, 2) for x in chosen] if self._channels_last else chosen


def _has_fixed_size(name: str) -> bool:
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return config is not None and config.fixed_input_size


def _create(name: str, pretrained: bool, options: dict[str, Any]) -> Any:
    try:
        return timm.create_model(name, pretrained=pretrained, features_only=True, **options)
    except (RuntimeError, OSError, ValueError, AttributeError) as error:
        if pretrained:
            raise ConfigError(
                f"the pretrained weights of '{name}' could not be fetched: {error}",
                "train without network access by `pretrained: false`, or give a local file in `backbone_checkpoint`.",
            ) from error
        raise ConfigError(f"timm's '{name}' gives no feature pyramid: {error}", "choose another backbone.") from error
