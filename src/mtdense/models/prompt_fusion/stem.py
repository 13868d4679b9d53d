"""Triple feature embedding: the backbone's patches, a local and a contour encoder side by side."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.backbones.base import pad_to_multiple
from mtdense.core.errors import ConfigError
from mtdense.models.prompt_fusion.options import ContourOperator, PromptFusionOptions

__all__ = ["CentralDifferenceConv2d", "ContourMaps", "TripleStem"]

_SOBEL_X = [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]
_LAPLACIAN = [[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]


class CentralDifferenceConv2d(nn.Module):
    """A 3x3 convolution of step 2 of which a share acts on differences to the middle pixel.

    * Yu et al. Searching Central Difference Convolutional Networks for Face Anti-Spoofing. CVPR 2020.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        theta: The share: 0 is a plain convolution, 1 does not see what is constant (save at the border).
    """

    def __init__(self, in_channels: int, out_channels: int, theta: float = 0.7) -> None:
        super().__init__()
        self.theta = theta
        self.conv = nn.Conv2d(in_channels, out_channels, 3, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, ceil(H / 2), ceil(W / 2))."""
        out: Tensor = self.conv(x)
        if self.theta == 0:
            return out
        middle = self.conv.weight.sum((2, 3), keepdim=True)
        # Every second pixel is taken first: oneDNN (its issue 6035) writes out of bounds in the backward pass of a 1x1
        # convolution of step 2 on few channels in channels-last order.
        return out - self.theta * F.conv2d(x[..., ::2, ::2], middle)


class ContourMaps(nn.Module):
    """Fixed derivatives of each colour, with the colours behind them.

    Args:
        operator: `sobel` (in x and in y), `laplacian`, both (`all`), or `cdc`: none.
    """

    def __init__(self, operator: ContourOperator) -> None:
        super().__init__()
        sobel = torch.tensor(_SOBEL_X)
        kernels = []
        if operator in ("all", "sobel"):
            kernels += [sobel, sobel.T]
        if operator in ("all", "laplacian"):
            kernels.append(torch.tensor(_LAPLACIAN))
        self.kernels: Tensor
        taken = torch.stack(kernels)[:, None] if kernels else torch.zeros(0, 1, 3, 3)
        self.register_buffer("kernels", taken, persistent=False)
        self.channels = 3 + 3 * len(kernels)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, channels, H, W); derivatives of one colour lie together."""
        if self.channels == 3:
            return image
        padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
        return torch.cat([F.conv2d(padded, self.kernels.repeat(3, 1, 1, 1), groups=3), image], dim=1)


class TripleStem(nn.Module):
    """Global, local and contour features of an image at the backbone's first stride, as its first map.

    * global: the backbone's patch embedding G0, and a depthwise convolution of it, added. [A2]
    * local: two 3x3 convolutions of step 2. [A3]
    * contour: fixed derivatives and colours, a central-difference convolution and a convolution of step 2. [A4]
    * fused, `gated`: LN(G0 + gamma U), U the encoders' maps concatenated, mixed by a 1x1 and a depthwise 3x3
      convolution; gamma begins at 0, so that the backbone begins as it was trained. `concat`: LN(U). `sum`: LN of the
      encoders' sum. [A5]

    With the global encoder alone this is the backbone's own embedding. Without it, `gated` has G0 still.

    Args:
        embedding: timm's patch embedding: `proj` and `norm`.
        options: See `PromptFusion`.

    Raises:
        ConfigError: Patches of another side than a power of 2 from 4 on, or an odd number of channels.
    """

    def __init__(self, embedding: nn.Module, options: PromptFusionOptions) -> None:
        super().__init__()
        proj = embedding.proj
        assert isinstance(proj, nn.Conv2d) and isinstance(embedding.norm, nn.Module)
        patch, width = int(proj.kernel_size[0]), proj.out_channels
        steps = patch.bit_length() - 1
        if patch < 4 or 2**steps != patch or width % 2:
            raise ConfigError(
                f"a triple embedding beside patches of {patch} pixels and {width} channels",
                "use a backbone with patches of 4, 8 or 16 pixels and an even number of channels.",
            )
        self.patch, self.fuse, self.norm = (patch, patch), options.stem_fuse, embedding.norm
        self.encoders = options.encoders
        self.plain = self.encoders == ("global",)
        if self.plain or self.fuse == "gated" or "global" in self.encoders:
            self.proj = proj
        if "global" in self.encoders and options.stem_kernel and not self.plain:
            side = options.stem_kernel
            self.large = nn.Conv2d(width, width, side, padding=side // 2, groups=width)
        if "local" in self.encoders:
            self.local = _encoder(nn.Conv2d(3, width // 2, 3, 2, 1, bias=False), width, steps)
        if "contour" in self.encoders:
            maps = ContourMaps(options.contour_operator)
            theta = options.contour_theta if options.contour_operator in ("all", "cdc") else 0.0
            conv = CentralDifferenceConv2d(maps.channels, width // 2, theta)
            self.contour = nn.Sequential(maps, *_encoder(conv, width, steps))
        if not self.plain and self.fuse != "sum":
            self.mix = nn.Sequential(
                nn.Conv2d(len(self.encoders) * width, width, 1),
                nn.GELU(),
                nn.Conv2d(width, width, 3, padding=1, groups=width),
            )
        if not self.plain and self.fuse == "gated":
            self.gamma = nn.Parameter(torch.zeros(width))

    def forward(self, image: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to (B, h, w, C)."""
        image = pad_to_multiple(image, self.patch)
        first: Tensor | None = self.proj(image) if hasattr(self, "proj") else None
        fused = first
        if not self.plain:
            parts = [self._encode(name, image, first) for name in self.encoders]
            fused = torch.stack(parts).sum(0) if self.fuse == "sum" else self.mix(torch.cat(parts, dim=1))
            if self.fuse == "gated":
                assert first is not None
                fused = first + self.gamma[:, None, None] * fused
        assert fused is not None
        normed = self.norm(fused.permute(0, 2, 3, 1))
        assert isinstance(normed, Tensor)
        return normed

    def _encode(self, name: str, image: Tensor, first: Tensor | None) -> Tensor:
        if name == "global":
            assert first is not None
            return first + self.large(first) if hasattr(self, "large") else first
        encoded: Tensor = getattr(self, name)(image)
        return encoded


def _encoder(first: nn.Module, width: int, steps: int) -> nn.Sequential:
    """A convolution of step 2 to half the width, and as many as are left to the stride."""
    layers: list[nn.Module] = [first, nn.BatchNorm2d(width // 2), nn.GELU()]
    for place in range(1, steps):
        # Every output of step 2 is followed by a norm, save the last.
        last = place == steps - 1
        out = width if last else width // 2
        layers.append(nn.Conv2d(width // 2, out, 3, 2, 1, bias=last))
        if not last:
            layers += [nn.BatchNorm2d(out), nn.GELU()]
    return nn.Sequential(*layers)
