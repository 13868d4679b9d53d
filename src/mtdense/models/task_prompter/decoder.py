"""TaskPrompter's decoders: what prompts saw makes the shared features into those of a task."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.models.task_prompter.swin_prompting import PromptedLevel

__all__ = ["CrossTaskReweighting", "HeadShape", "LevelDecoder", "task_head"]

HeadShape = Literal["conv", "deconv"]


class LevelDecoder(nn.Module):
    """A task's features at one level.

    Spatial: the channels fall into as many groups as the task has maps of scores (heads x prompts); each group is
    multiplied by its map. Channel: each channel is multiplied by its score. To both products the features are added;
    each is projected, both are put together and pass two convolutions.

    Args:
        channels: Channels of the level.
        width: Channels that each product is projected to.
        out_channels: Channels of the result.
        spatial: Whether there are scores of places.
        channel: Whether there are scores of channels.
        enlarge: Double the resolution behind the projections; bilinear enlarging and a 1x1 convolution commute, so
            this is what the public code gives, which enlarges first.
        last_kernel: Size of the last convolution: 3 on Swin, 1 on ViT.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        out_channels: int,
        spatial: bool = True,
        channel: bool = True,
        enlarge: bool = False,
        last_kernel: int = 3,
    ) -> None:
        super().__init__()
        self.enlarge = enlarge
        self.spatial = nn.Conv2d(channels, width, 1) if spatial else None
        self.channel = nn.Conv2d(channels, width, 1) if channel else None
        self.fuse = nn.Sequential(
            nn.Conv2d((spatial + channel) * width, out_channels, 1),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.GELU(),
            nn.Conv2d(out_channels, out_channels, last_kernel, padding=last_kernel // 2),
        )

    def forward(self, level: PromptedLevel, first: int, count: int) -> Tensor:
        """Features of the task whose prompts are `first` to `first + count - 1`: (B, out_channels, h, w) or twice so.

        Of several prompts of a task the mean of their scores of channels counts.
        """
        x = level.x.permute(0, 3, 1, 2)
        own = slice(first, first + count)
        parts: list[Tensor] = []
        if self.spatial is not None:
            assert level.spatial is not None
            maps = level.spatial[:, :, own].flatten(1, 2)
            parts.append(self.spatial((x.unflatten(1, (maps.shape[1], -1)) * maps[:, :, None]).flatten(1, 2) + x))
        if self.channel is not None:
            assert level.channel is not None
            weights = level.channel[:, own].mean(1)
            if weights.shape[-1] > 1:
                weights = F.interpolate(weights, size=x.shape[-2:], mode="nearest")
            parts.append(self.channel(weights * x + x))
        both = torch.cat(parts, dim=1)
        if self.enlarge:
            both = F.interpolate(both, size=(2 * x.shape[2], 2 * x.shape[3]), mode="bilinear", align_corners=False)
        out: Tensor = self.fuse(both)
        return out


class CrossTaskReweighting(nn.Module):
    """Features of a task as a sum of all tasks', weighed by how its prompt scores theirs.

    Args:
        heads: Attention heads.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Conv2d(heads, heads, 1), nn.GELU(), nn.Conv2d(heads, 1, 1))

    def forward(self, affinity: Tensor, features: Tensor) -> Tensor:
        """Weighted sum.

        Args:
            affinity: Scores of the task's prompt for all prompts (B, heads, T).
            features: All tasks' features (B, T, C, h, w).

        Returns:
            (B, C, h, w).
        """
        weights = self.weigh(affinity[:, :, None])[:, 0, 0]
        return torch.einsum("bt,btchw->bchw", weights, features)


def task_head(shape: HeadShape, channels: int, outputs: int) -> nn.Sequential:
    """A task's head: a 3x3 convolution (`conv`), or one behind a doubling of the resolution (`deconv`), then 1x1."""
    hidden: list[nn.Conv2d | nn.ConvTranspose2d]
    if shape == "conv":
        width, hidden = channels, [nn.Conv2d(channels, channels, 3, padding=1)]
    else:
        width = channels // 2
        hidden = [nn.ConvTranspose2d(channels, width, 2, stride=2), nn.Conv2d(width, width, 3, padding=1)]
    last = nn.Conv2d(width, outputs, 1)
    for conv in (*hidden, *((last,) if shape == "deconv" else ())):
        nn.init.trunc_normal_(conv.weight, std=0.02)
    units: list[nn.Module] = []
    for conv in hidden:
        units += [conv, nn.BatchNorm2d(width), nn.GELU()]
    return nn.Sequential(*units, last)
