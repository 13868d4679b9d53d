"""What every backbone is: an image in, a feature pyramid out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Backbone"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module, ABC):
    """A network that turns images into a pyramid of feature maps, finest first.

    Args:
        channels: Channels of each map.
        strides: Input pixels per map pixel of each map, increasing.
        mean: RGB mean that the weights were trained with, on [0, 1] images.
        std: RGB standard deviation that the weights were trained with.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.mean = tuple(mean)
        self.std = tuple(std)

    @abstractmethod
    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) to maps [(B, channels[i], ~H / strides[i], ~W / strides[i])]."""
