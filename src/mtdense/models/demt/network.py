"""The DeMT network: one shared map, a deformable mixer per task, attention between tasks at each place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from mtdense.backbones import Backbone
from mtdense.models.demt.attention import PlaceAttention
from mtdense.models.demt.mixer import DeformableMixer
from mtdense.models.layers import concat_pyramid, logit_heads, task_convolutions
from mtdense.models.outputs import Outputs

__all__ = ["DeMTNetwork", "Interaction"]

Interaction = Literal["own_token", "tasks"]


class DeMTNetwork(nn.Module):
    """Backbone, and DeMT's decoder on its maps.

    Args:
        backbone: Some maps, the finest first.
        num_outputs: {task: channels of its head}.
        width: Channels of tokens and mixers.
        num_heads: Attention heads.
        mixer_depth: Deformable mixers of a task, one after the other.
        fusion_width: Channels that a head reads; None: an eighth of the backbone's channels together.
        interaction: See `DeMT`.
        absolute_offsets: See `ChannelOffsets`.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_outputs: Mapping[str, int],
        width: int = 256,
        num_heads: int = 4,
        mixer_depth: int = 1,
        fusion_width: int | None = None,
        interaction: Interaction = "own_token",
        absolute_offsets: bool = True,
    ) -> None:
        super().__init__()
        channels = sum(backbone.channels)
        fusion_width = fusion_width or max(1, channels // 8)
        self.interaction = interaction
        self.backbone = backbone
        self.reduce = _linear_norm(channels, width)
        self.mixers = nn.ModuleDict(
            {
                name: nn.Sequential(*(DeformableMixer(width, absolute_offsets) for _ in range(mixer_depth)))
                for name in num_outputs
            }
        )
        self.interact = PlaceAttention(width, num_heads)
        self.interact_linear = _linear_norm(width, width)
        self.query = nn.ModuleDict({name: PlaceAttention(width, num_heads) for name in num_outputs})
        self.query_linear = nn.ModuleDict({name: _linear_norm(width, width) for name in num_outputs})
        self.task_convolutions = task_convolutions(num_outputs, width, fusion_width)
        self.heads = logit_heads(num_outputs, fusion_width)

    def forward(self, image: Tensor) -> Outputs:
        """Normalised images (B, 3, H, W) to logits at the finest map's resolution."""
        maps = self.backbone(image)
        size = (int(maps[0].shape[-2]), int(maps[0].shape[-1]))
        shared = self.reduce(concat_pyramid(maps, size).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        own = {name: mixer(shared).flatten(2).transpose(1, 2).contiguous() for name, mixer in self.mixers.items()}
        places = size[0] * size[1]
        together = torch.cat(list(own.values()), dim=1)
        reach = together.shape[1] if self.interaction == "own_token" else places
        together = self.interact_linear(self.interact(together, together, together, reach))
        final = {}
        for name, tokens in own.items():
            asked = self.query_linear[name](self.query[name](tokens, together, together, places))
            feature = (tokens + asked).transpose(1, 2).unflatten(2, size)
            final[name] = self.heads[name](self.task_convolutions[name](feature))
        return Outputs(final=final)


def _linear_norm(in_channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_channels, width), nn.LayerNorm(width))
