"""The MQTransformer network: a map per task, and queries that carry messages between tasks."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mtdense.backbones import Backbone
from mtdense.models.layers import concat_pyramid, logit_heads, task_convolutions
from mtdense.models.mq_transformer.options import MQTransformerOptions
from mtdense.models.mq_transformer.parts import Round
from mtdense.models.outputs import Outputs

__all__ = ["MQTransformerNetwork"]


class MQTransformerNetwork(nn.Module):
    """Backbone, and MQTransformer's decoder on its maps.

    Args:
        backbone: Some maps, the finest first.
        num_outputs: {task: channels of its head}.
        options: See `MQTransformer`.
    """

    def __init__(self, backbone: Backbone, num_outputs: Mapping[str, int], options: MQTransformerOptions) -> None:
        super().__init__()
        fusion_width = options.fusion_width or max(1, options.width // 4)
        self.options = options
        self.backbone = backbone
        self.reduce = nn.ModuleDict({name: nn.Linear(sum(backbone.channels), options.width) for name in num_outputs})
        self.rounds = nn.ModuleList(Round(list(num_outputs), options) for _ in range(options.rounds))
        self.task_convolutions = task_convolutions(num_outputs, options.width, fusion_width)
        self.heads = logit_heads(num_outputs, fusion_width)

    def forward(self, image: Tensor) -> Outputs:
        """Normalised images (B, 3, H, W) to logits at the finest map's resolution.

        `features` hold `queries`: {task: (B, Q, width)} behind the last interaction.
        """
        maps = self.backbone(image)
        size = (int(maps[0].shape[-2]), int(maps[0].shape[-1]))
        shared = concat_pyramid(maps, size).flatten(2).transpose(1, 2)
        tokens = {name: layer(shared) for name, layer in self.reduce.items()}
        queries: dict[str, Tensor] = {}
        for stage in self.rounds:
            tokens, queries = stage(tokens)
        final = {}
        for name, own in tokens.items():
            final[name] = self.heads[name](self.task_convolutions[name](own.transpose(1, 2).unflatten(2, size)))
        return Outputs(final=final, features={"queries": queries})
