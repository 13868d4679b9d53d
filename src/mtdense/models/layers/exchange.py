"""Networks in which tasks exchange features by a unit: behind one shared encoder, or between an encoder per task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from mtdense.backbones import Backbone
from mtdense.core.errors import ConfigError
from mtdense.models.layers.deeplab import DeepLabHead
from mtdense.models.layers.fcn import logit_heads, task_convolutions
from mtdense.models.layers.fusion import concat_pyramid
from mtdense.models.outputs import Outputs

__all__ = ["ExchangeUnit", "SeparateEncoders", "SharedEncoder", "backbone_stages"]

ExchangeUnit = Callable[[Sequence[str], int], nn.Module]
"""Tasks and channels to a module that turns {task: (B, channels, H, W)} into the same."""


class SharedEncoder(nn.Module):
    """One encoder; ATRC's plain decoder with the unit between its convolutions and its heads.

    Args:
        backbone: Any pyramid; its maps are resized to the finest and concatenated.
        num_outputs: {task: channels of its head}.
        unit: What exchanges the features.
        max_width: The most channels of a task's feature, which has a quarter of the backbone's otherwise.
    """

    def __init__(
        self, backbone: Backbone, num_outputs: Mapping[str, int], unit: ExchangeUnit, max_width: int | None = None
    ) -> None:
        super().__init__()
        inputs = sum(backbone.channels)
        width = inputs // 4 if max_width is None else min(inputs // 4, max_width)
        self.backbone = backbone
        self.task_convolutions = task_convolutions(num_outputs, inputs, width)
        self.exchange = unit(list(num_outputs), width)
        self.heads = logit_heads(num_outputs, width)

    def forward(self, image: Tensor) -> Outputs:
        """Normalised images (B, 3, H, W) to logits at the finest map's stride."""
        maps = self.backbone(image)
        x = concat_pyramid(maps, (maps[0].shape[-2], maps[0].shape[-1]))
        features = self.exchange({name: layer(x) for name, layer in self.task_convolutions.items()})
        return Outputs(final={name: head(features[name]) for name, head in self.heads.items()})


class SeparateEncoders(nn.Module):
    """An encoder and a DeepLab head per task, with a unit behind each stage of the encoders.

    Args:
        backbones: {task: its encoder}, all alike.
        num_outputs: {task: channels of its head}.
        unit: What exchanges the features.
        head_width: Channels of the heads.
        behind_stem: Put a unit behind the encoders' stems, too.
    """

    def __init__(
        self,
        backbones: Mapping[str, Backbone],
        num_outputs: Mapping[str, int],
        unit: ExchangeUnit,
        head_width: int = 256,
        behind_stem: bool = False,
    ) -> None:
        super().__init__()
        self.backbones = nn.ModuleDict(dict(backbones))
        tasks = list(num_outputs)
        channels = [width for width, _ in backbone_stages(backbones[tasks[0]])]
        # A stem is what comes before the four stages.
        self.exchanges = nn.ModuleDict(
            {str(i): unit(tasks, width) for i, width in enumerate(channels) if behind_stem or i >= len(channels) - 4}
        )
        self.heads = nn.ModuleDict(
            {name: DeepLabHead(channels[-1], outputs, head_width) for name, outputs in num_outputs.items()}
        )

    def forward(self, image: Tensor) -> Outputs:
        """Normalised images (B, 3, H, W) to logits at the deepest map's stride."""
        encoders = self._encoders()
        stages = {name: backbone_stages(backbone) for name, backbone in encoders.items()}
        features = dict.fromkeys(stages, image)
        for i in range(len(next(iter(stages.values())))):
            for name, parts in stages.items():
                for layer in parts[i][1]:
                    features[name] = encoders[name].run_stage(layer, features[name])
            if str(i) in self.exchanges:
                features = self.exchanges[str(i)](features)
        return Outputs(final={name: head(features[name]) for name, head in self.heads.items()})

    def _encoders(self) -> dict[str, Backbone]:
        return {name: backbone for name, backbone in self.backbones.items() if isinstance(backbone, Backbone)}


def backbone_stages(backbone: Backbone) -> list[tuple[int, list[nn.Module]]]:
    """A ResNet's stem (with its pooling) and four stages, or the four stages of `tiny`, as [(channels, layers)].

    Raises:
        ConfigError: The backbone is neither.
    """
    network = getattr(backbone, "network", None)
    stages = getattr(backbone, "stages", None)
    if isinstance(stages, nn.ModuleList) and len(stages) == len(backbone.channels) == 4:
        return list(zip(backbone.channels, ([stage] for stage in stages), strict=True))
    parts = dict(network.named_children()) if isinstance(network, nn.Module) else {}
    layers = [f"layer{i}" for i in range(1, 5)]
    stem = [layer for name, layer in parts.items() if name not in layers]
    if network is None or "maxpool" not in parts or any(name not in parts for name in layers):
        raise ConfigError(
            f"units between the stages of {type(backbone).__name__}",
            "take a ResNet, whose stages run one by one, or the form with one shared encoder.",
        )
    widths = [network.feature_info.channels()[0], *backbone.channels]
    return list(zip(widths, [stem, *([parts[name]] for name in layers)], strict=True))
