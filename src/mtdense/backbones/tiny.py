"""A backbone of a few thousand parameters, for tests and smoke runs."""

from __future__ import annotations

from torch import Tensor, nn

from mtdense.backbones.base import Backbone

__all__ = ["TinyBackbone"]


class TinyBackbone(Backbone):
    """Four stages of one strided convolution each; strides 4, 8, 16 and 32, like a ResNet's.

    Not a network of any paper: it exists so that a test of everything around the backbone takes seconds.
    """

    def __init__(self) -> None:
        channels = (8, 12, 16, 24)
        super().__init__(channels, (4, 8, 16, 32))
        widths = (3, *channels)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(widths[i], widths[i + 1], 3, stride=4 if i == 0 else 2, padding=1, bias=False),
                nn.BatchNorm2d(widths[i + 1]),
                nn.ReLU(),
            )
            for i in range(4)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) to four maps at strides 4, 8, 16 and 32."""
        maps: list[Tensor] = []
        x = image
        for stage in self.stages:
            x = self.run_part(stage, x)
            maps.append(x)
        return maps
