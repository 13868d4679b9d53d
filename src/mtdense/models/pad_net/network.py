"""The PAD-Net network: shared map, first predictions, distillation, final predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.backbones import Backbone
from mtdense.models.layers import Bottleneck, BranchFusion, TaskDistillation
from mtdense.models.outputs import Outputs

__all__ = ["PADNetNetwork", "SharedMap"]

SharedMap = Literal["fused", "deepest"]


class PADNetNetwork(nn.Module):
    """PAD-Net (Xu et al., CVPR 2018) in the form of V-MTL's survey.

    Args:
        backbone: Any pyramid.
        num_outputs: {task: channels of its heads}.
        width: Channels of the task features.
        shared_map: Decoders read all maps of the backbone, `fused` at the finest of them, or its `deepest` one.
        stride: Input pixels per pixel of the shared map, to which it is resized; null leaves it as it is.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_outputs: Mapping[str, int],
        width: int = 256,
        shared_map: SharedMap = "fused",
        stride: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.stride = stride
        self.fusion = BranchFusion(backbone.channels) if shared_map == "fused" else None
        channels = backbone.channels[-1] if self.fusion is None else self.fusion.channels
        self.initial = nn.ModuleDict(
            {name: nn.Sequential(Bottleneck(channels, width), Bottleneck(width, width)) for name in num_outputs}
        )
        self.initial_heads = nn.ModuleDict({name: nn.Conv2d(width, n, 1) for name, n in num_outputs.items()})
        self.distillation = TaskDistillation(list(num_outputs), width)
        self.refinement = nn.ModuleDict(
            {name: nn.Sequential(Bottleneck(width, width), Bottleneck(width, width)) for name in num_outputs}
        )
        self.heads = nn.ModuleDict({name: nn.Conv2d(width, n, 1) for name, n in num_outputs.items()})

    def shared(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """The map that all decoders read, of an image of `size`."""
        x: Tensor = maps[-1] if self.fusion is None else self.fusion(maps)
        if self.stride is None:
            return x
        grid = (-(-size[0] // self.stride), -(-size[1] // self.stride))
        return F.interpolate(x, size=grid, mode="bilinear", align_corners=False)

    def forward(self, image: Tensor) -> Outputs:
        """Normalised images (B, 3, H, W) to logits at the shared map's stride; `preliminary` are the first ones."""
        shared = self.shared(self.backbone(image), (image.shape[-2], image.shape[-1]))
        features = {name: layers(shared) for name, layers in self.initial.items()}
        first = {name: head(features[name]) for name, head in self.initial_heads.items()}
        distilled = self.distillation(features)
        final = {name: head(self.refinement[name](distilled[name])) for name, head in self.heads.items()}
        return Outputs(final=final, preliminary=[first])
