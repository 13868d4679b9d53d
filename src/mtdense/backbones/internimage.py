"""InternImage-B and -L, the deformable convolutional networks of BridgeNet's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from mtdense.backbones.base import Backbone
from mtdense.backbones.dcnv3 import DCNv3, DCNv3Backend, ToChannelsLast
from mtdense.core.errors import ConfigError

__all__ = ["InternImage"]


class InternImage(Backbone):
    """InternImage with post-norm blocks and layer scale; maps before each down-sampling, at strides 4, 8, 16 and 32.

    W. Wang et al., "InternImage: Exploring Large-Scale Vision Foundation Models with Deformable Convolutions", CVPR
    2023. Parameter names are those of the public code, whose checkpoints load as they are (the classifier is passed
    over). Every strided convolution pads one place, so that a side is halved and rounded up.

    Args:
        channels: Channels of the first level; doubled at each further one. 112 in B, 160 in L.
        depths: Blocks of each level.
        groups: Groups of the deformable convolutions of each level.
        offset_scale: 1.0 in B, 2.0 in L.
        drop_path_rate: Rate of stochastic depth at the last block, rising linearly from 0.
        layer_scale: Initial factor of the residual branches.
        mlp_ratio: Hidden width of the MLPs over the width of the map.
        dcn_backend: See `mtdense.backbones.dcnv3.dcnv3`.

    Raises:
        ConfigError: `depths` and `groups` differ in length, or groups do not divide channels.
    """

    def __init__(
        self,
        channels: int = 112,
        depths: Sequence[int] = (4, 4, 21, 4),
        groups: Sequence[int] = (7, 14, 28, 56),
        offset_scale: float = 1.0,
        drop_path_rate: float = 0.4,
        layer_scale: float = 1.0,
        mlp_ratio: float = 4.0,
        dcn_backend: DCNv3Backend = "auto",
    ) -> None:
        if len(depths) != len(groups):
            raise ConfigError(f"{len(depths)} depths and {len(groups)} groups", "give one of each per level.")
        widths = [channels * 2**i for i in range(len(depths))]
        super().__init__(widths, [4 * 2**i for i in range(len(depths))])
        self.offset_scale = offset_scale
        self.patch_embed = _Stem(channels)
        total = sum(depths)
        rates = [drop_path_rate * i / max(1, total - 1) for i in range(total)]
        self.levels = nn.ModuleList()
        for i, (width, depth, group) in enumerate(zip(widths, depths, groups, strict=True)):
            first = sum(depths[:i])
            blocks = nn.ModuleList(
                _Block(width, group, offset_scale, rate, layer_scale, mlp_ratio, dcn_backend)
                for rate in rates[first : first + depth]
            )
            self.levels.append(_Level(blocks, width, i < len(depths) - 1))
        self.apply(_initialise)
        for module in self.modules():
            if isinstance(module, DCNv3):
                module.reset_parameters()

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) to one map per level."""
        x = self.patch_embed(image)
        maps: list[Tensor] = []
        for level in self.levels:
            assert isinstance(level, _Level)
            for block in level.blocks:
                x = self.run_part(block, x)
            maps.append(x.permute(0, 3, 1, 2))
            if level.downsample is not None:
                x = level.downsample(x)
        return maps

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The public code's names, which are ours."""
        return dict(state)


class _Stem(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels // 2, 3, stride=2, padding=1)
        self.norm1 = nn.Sequential(ToChannelsLast(), nn.LayerNorm(channels // 2, eps=1e-6))
        self.act = nn.GELU()
        self.conv2 = nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1)
        self.norm2 = nn.Sequential(ToChannelsLast(), nn.LayerNorm(channels, eps=1e-6))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, H / 4, W / 4, C)."""
        x = self.act(self.norm1(self.conv1(image)))
        out: Tensor = self.norm2(self.conv2(x.permute(0, 3, 1, 2)))
        return out


class _Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)
        self.norm = nn.Sequential(ToChannelsLast(), nn.LayerNorm(2 * channels, eps=1e-6))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x.permute(0, 3, 1, 2)))
        return out


class _MLP(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class _Block(nn.Module):
    """x + DCN, x + MLP; each branch is normed behind its operator and scaled per channel."""

    def __init__(
        self,
        channels: int,
        groups: int,
        offset_scale: float,
        drop_path: float,
        layer_scale: float,
        mlp_ratio: float,
        backend: DCNv3Backend,
    ) -> None:
        super().__init__()
        self.norm1 = nn.Sequential(nn.LayerNorm(channels, eps=1e-6))
        self.dcn = DCNv3(channels, groups, offset_scale=offset_scale, backend=backend)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.norm2 = nn.Sequential(nn.LayerNorm(channels, eps=1e-6))
        self.mlp = _MLP(channels, int(channels * mlp_ratio))
        self.gamma1 = nn.Parameter(torch.full((channels,), layer_scale))
        self.gamma2 = nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.gamma1 * self.norm1(self.dcn(x)))
        out: Tensor = x + self.drop_path(self.gamma2 * self.norm2(self.mlp(x)))
        return out


class _Level(nn.Module):
    def __init__(self, blocks: nn.ModuleList, channels: int, downsample: bool) -> None:
        super().__init__()
        self.blocks = blocks
        self.downsample = _Downsample(channels) if downsample else None


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
