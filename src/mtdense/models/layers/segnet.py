"""SegNet (Badrinarayanan et al., 2017) as MTAN and MTPSL use it for their NYUD-v2 and Cityscapes results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.backbones import Backbone
from mtdense.backbones.base import pad_to_multiple
from mtdense.models.outputs import Outputs

__all__ = ["SEGNET_UNITS", "SegNet", "SegNetNetwork", "init_xavier", "segnet_filters", "unpool"]

SEGNET_UNITS = (2, 2, 3, 3, 3)
"""Convolutions of each stage, in encoder and decoder."""
_FILTERS = (64, 128, 256, 512, 512)


def segnet_filters(width: int) -> tuple[int, ...]:
    """Channels of the five stages: 64, 128, 256, 512, 512 at width 512, in proportion below, and at least 4."""
    return tuple(max(4, channels * width // _FILTERS[-1]) for channels in _FILTERS)


def init_xavier(network: nn.Module) -> None:
    """Glorot's normal distribution for the weights of all convolutions, zero for their biases."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def unpool(x: Tensor, indices: Tensor, size: Sequence[int]) -> Tensor:
    """Undoes a 2x2 max-pooling: (B, C, h, w) to (B, C, *size), each value back where it was the largest, 0 elsewhere.

    Equals `F.max_unpool2d`, which PyTorch counts as not deterministic because windows might overlap; these do not.
    """
    flat = x.new_zeros(*x.shape[:2], size[0] * size[1])
    return flat.scatter(2, indices.flatten(2), x.flatten(2)).view(*x.shape[:2], *size)


class SegNet(Backbone):
    """Encoder and decoder of SegNet without heads; maps at strides 1 (the decoder's) and 32 (the bottleneck).

    Each stage is a chain of 3x3 convolutions with bias, each with BN and ReLU: 2, 2, 3, 3, 3 of them. A 2x2 max-pooling
    ends every encoder stage and remembers where the largest values were; the decoder mirrors the encoder and puts its
    values back there. Images are padded with zeros to multiples of 32, which changes nothing at the published sizes.
    Trained from scratch on images in [0, 1]: its `mean` and `std` are 0 and 1.

    Args:
        filters: Channels of the five stages.
    """

    def __init__(self, filters: Sequence[int] = _FILTERS) -> None:
        super().__init__((filters[0], filters[-1]), (1, 32), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        inputs = (3, *filters[:-1])
        outputs = (filters[0], *filters[:-1])
        self.encoder = nn.ModuleList(_stage(inputs[i], filters[i], SEGNET_UNITS[i]) for i in range(len(SEGNET_UNITS)))
        self.decoder = nn.ModuleList(
            _stage(filters[i], outputs[i], SEGNET_UNITS[i]) for i in reversed(range(len(SEGNET_UNITS)))
        )
        init_xavier(self)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) to [(B, C_1, H, W), (B, C_5, ceil(H / 32), ceil(W / 32))]."""
        x = pad_to_multiple(image, (32, 32))
        memory: list[tuple[Tensor, Sequence[int]]] = []
        for stage in self.encoder:
            x = self.run_part(stage, x)
            size = x.shape[-2:]
            x, indices = F.max_pool2d(x, 2, return_indices=True)
            memory.append((indices, size))
        bottleneck = x
        for stage in self.decoder:
            x = self.run_part(stage, unpool(x, *memory.pop()))
        return [x[..., : image.shape[-2], : image.shape[-1]], bottleneck]


class SegNetNetwork(nn.Module):
    """SegNet with a head per task: 3x3 and 1x1 convolution, nothing between them (MTAN, MTPSL).

    Args:
        num_outputs: {task: channels of its head}.
        filters: See `SegNet`.
    """

    def __init__(self, num_outputs: Mapping[str, int], filters: Sequence[int] = _FILTERS) -> None:
        super().__init__()
        self.backbone = SegNet(filters)
        width = self.backbone.channels[0]
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, channels, 1))
                for name, channels in num_outputs.items()
            }
        )
        init_xavier(self.heads)

    def forward(self, image: Tensor) -> Outputs:
        """Normalised images (B, 3, H, W) to logits at full resolution."""
        return self.forward_with_deepest(image)[0]

    def forward_with_deepest(self, image: Tensor) -> tuple[Outputs, Tensor]:
        """As `forward`, and the encoder's deepest map, the bottleneck (B, C_5, ceil(H / 32), ceil(W / 32))."""
        decoded, bottleneck = self.backbone(image)
        return Outputs(final={name: head(decoded) for name, head in self.heads.items()}), bottleneck


def _stage(channels: int, width: int, units: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(units):
        layers += [
            nn.Conv2d(channels if i == 0 else width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
