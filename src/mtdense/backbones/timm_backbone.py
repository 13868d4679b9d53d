"""Any timm network that can give features, as a `Backbone`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import timm
from timm.models._features import FeatureListNet
from torch import Tensor, nn

from mtdense.backbones.base import Backbone
from mtdense.backbones.timm_network import create_timm, statistics_of
from mtdense.core.errors import ConfigError

__all__ = ["TimmBackbone"]


class TimmBackbone(Backbone):
    """Wraps `timm.create_model(name, features_only=True)`; the last four maps, channels first.

    Serves the ResNets and whatever has no class of its own here. Public code for dense prediction gives a ResNet's maps
    ceil(H / stride) rows, and so does timm.

    Args:
        name: A timm name, with or without a tag (`resnet50`, `resnet50.tv_in1k`).
        pretrained: Download timm's weights of this tag.
        img_size: Input height and width, for networks of a fixed input size.
        output_stride: 8 or 16: the stages behind that stride are dilated, not strided.
        drop_path_rate: Rate of stochastic depth at the last block; None is timm's default.
        overrides: Further arguments of timm's constructor.

    Raises:
        ConfigError: timm's network gives no features, knows no such option, or its weights cannot be downloaded.
    """

    # timm's class, whose parts it types loosely.
    network: Any

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        img_size: tuple[int, int] | None = None,
        output_stride: int | None = None,
        drop_path_rate: float | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        options: dict[str, Any] = {"features_only": True}
        if img_size is not None and _has_fixed_size(name):
            options["img_size"] = img_size
        if output_stride is not None:
            options["output_stride"] = output_stride
        if drop_path_rate is not None:
            options["drop_path_rate"] = drop_path_rate
        network = create_timm(name, pretrained, {**options, **(overrides or {})})
        info = network.feature_info
        # Five-map networks start at stride 2; dense decoders are built on strides 4 to 32.
        keep = [i for i, stride in enumerate(info.reduction()) if stride >= 4][-4:]
        mean, std = statistics_of(name)
        super().__init__([info.channels()[i] for i in keep], [info.reduction()[i] for i in keep], mean, std)
        self.network = network
        self._keep = keep
        self._name = name
        self._channels_last = str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) to at most four maps at strides 4 to 32, channels first."""
        maps = self._part_by_part(image) if self.checkpointing else self.network(image)
        chosen = [maps[i] for i in self._keep]
        return [x.permute(0, 3, 1, 2) for x in chosen] if self._channels_last else chosen

    def set_checkpointing(self, enabled: bool = True) -> None:
        """See `Backbone`; timm's other wrappers do not show the network's parts."""
        if enabled:
            shown = type(self.network) is FeatureListNet and not self.network.concat
            if not shown or not any(_is_block(x) for child in self.network.values() for x in _blocks(child)):
                raise ConfigError(
                    f"checkpointing in the backbone '{self._name}', which does not show its blocks",
                    "leave it out, or take a ResNet, or another backbone of docs/backbones.md.",
                )
        super().set_checkpointing(enabled)

    def run_stage(self, stage: nn.Module, x: Tensor) -> Tensor:
        """See `Backbone`; single layers, as of a stem, are no blocks."""
        for block in _blocks(stage):
            x = self.run_part(block, x) if _is_block(block) else block(x)
        return x

    def _part_by_part(self, image: Tensor) -> list[Tensor]:
        """What timm's wrapper does, which is to run one child after another."""
        x, maps = image, []
        for name, child in self.network.items():
            x = self.run_stage(child, x)
            if name in self.network.return_layers:
                maps.append(x)
        return maps

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Names of timm; the final norm of a classifier is left out where the pyramid has none."""
        own = self.state_dict()
        # timm wraps some networks in a feature extractor, which puts "model." before every name.
        inner = "network.model." if all(key.startswith("network.model.") for key in own) else "network."
        named = {key if key.startswith("network.") else inner + key: value for key, value in state.items()}
        return {key: value for key, value in named.items() if key in own or not key.startswith(f"{inner}norm.")}


def _blocks(stage: nn.Module) -> Iterable[nn.Module]:
    return stage if isinstance(stage, nn.Sequential) else (stage,)


def _is_block(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _has_fixed_size(name: str) -> bool:
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return config is not None and bool(config.fixed_input_size)
