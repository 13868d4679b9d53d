"""Shared encoder and neck, one convolutional decoder and head per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mtdense.backbones import Backbone
from mtdense.models.layers import BasicBlock, concat_pyramid
from mtdense.models.outputs import Outputs

__all__ = ["SharedEncoderNetwork"]


class SharedEncoderNetwork(nn.Module):
    """The MTL baseline of the ResNet-18 partial-label suite (DiffusionMTL's preliminary network).

    All maps of the pyramid are resized to half the resolution of the finest one (stride 8), concatenated, and reduced
    by one 3x3 convolution without norm or activation; each task then has two BasicBlocks and a 1x1 head.

    Args:
        backbone: Pyramid of strides 4 to 32.
        num_outputs: {task: channels of its head}.
        width: Channels of neck and decoders.
        num_blocks: BasicBlocks of each decoder.
        branches: {task: module that makes outputs of several levels of the backbone's maps from stride 8 on}.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_outputs: Mapping[str, int],
        width: int = 512,
        num_blocks: int = 2,
        branches: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        # A network of branches alone shares nothing but the backbone.
        self.neck = nn.Conv2d(sum(backbone.channels), width, 3, padding=1) if num_outputs else nn.Identity()
        self.decoders = nn.ModuleDict(
            {name: nn.Sequential(*(BasicBlock(width) for _ in range(num_blocks))) for name in num_outputs}
        )
        self.heads = nn.ModuleDict({name: nn.Conv2d(width, channels, 1) for name, channels in num_outputs.items()})
        self.branches = nn.ModuleDict(branches or {})

    def encode(self, image: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to the shared feature (B, width, H/8, W/8)."""
        return self.merge(self.backbone(image))

    def merge(self, maps: Sequence[Tensor]) -> Tensor:
        """The backbone's pyramid to the shared feature (B, width, H/8, W/8)."""
        height, width = maps[0].shape[-2:]
        shared: Tensor = self.neck(concat_pyramid(maps, (max(1, height // 2), max(1, width // 2))))
        return shared

    def forward(self, image: Tensor) -> Outputs:
        """Normalised images (B, 3, H, W) to logits at stride 8."""
        return self.forward_with_deepest(image)[0]

    def forward_with_deepest(self, image: Tensor) -> tuple[Outputs, Tensor]:
        """As `forward`, and the deepest map of the backbone (B, channels[-1], H/32, W/32)."""
        maps = self.backbone(image)
        shared = self.merge(maps) if self.heads else maps[-1]
        features = {name: decoder(shared) for name, decoder in self.decoders.items()}
        final = {name: head(features[name]) for name, head in self.heads.items()}
        final |= {name: branch(maps[1:]) for name, branch in self.branches.items()}
        return Outputs(final=final, features=features), maps[-1]
