"""The MTI-Net network: predictions from coarse to fine, distillation at every scale, one fusion per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.backbones import Backbone
from mtdense.core.errors import ConfigError
from mtdense.models.layers import BranchFusion, ResidualBlock, TaskDistillation
from mtdense.models.outputs import Outputs

__all__ = ["AttentionGroups", "FeaturePropagation", "MTINetNetwork", "SqueezeExcitation"]

AttentionGroups = Literal["consecutive", "tasks"]


class SqueezeExcitation(nn.Module):
    """Channels weighted by a two-layer function of their means (Hu et al., 2018).

    Args:
        channels: Channels in and out.
        reduction: Channels over hidden units, of which there is at least one.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.layers = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same."""
        weighted: Tensor = x * self.layers(x.mean(dim=(-2, -1)))[:, :, None, None]
        return weighted


class FeaturePropagation(nn.Module):
    """What the next finer scale gets from this one: the tasks' features, mixed, reduced and weighted per task.

    Args:
        tasks: Names of the tasks.
        channels: Channels of each task's feature.
        groups: Over which channels of the task-major concatenation the softmax runs: as many `consecutive` ones as
            there are tasks (the public code), or the same channel of all `tasks` (the paper).
    """

    def __init__(self, tasks: Sequence[str], channels: int, groups: AttentionGroups = "consecutive") -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.groups = groups
        together = len(self.tasks) * channels
        hidden = together // 4
        self.attention = nn.Sequential(
            ResidualBlock(together, hidden), ResidualBlock(hidden, hidden), nn.Conv2d(hidden, together, 1)
        )
        self.reduction = ResidualBlock(together, channels)
        self.excitation = nn.ModuleDict({name: SqueezeExcitation(channels) for name in self.tasks})

    def weights(self, scores: Tensor) -> Tensor:
        """Scores (B, T * C, H, W) to weights of the same shape, which add up to 1 in each group of T channels."""
        number = len(self.tasks)
        together = self.groups == "consecutive"
        groups: Tensor = scores.unflatten(1, (-1, number) if together else (number, -1))
        return groups.softmax(dim=2 if together else 1).flatten(1, 2)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{task: (B, channels, H, W)} to the same."""
        together = torch.cat([features[name] for name in self.tasks], dim=1)
        shared = self.reduction(together * self.weights(self.attention(together)))
        return {name: self.excitation[name](shared) + features[name] for name in self.tasks}


class ScaleDecoder(nn.Module):
    """First predictions at one scale: two residual blocks and a 1x1 convolution per task.

    Args:
        num_outputs: {task: channels of its head}.
        in_channels: Channels of the backbone's map and, save at the coarsest scale, of what is propagated.
        channels: Channels of each task's feature.
    """

    def __init__(self, num_outputs: Mapping[str, int], in_channels: int, channels: int) -> None:
        super().__init__()
        self.refinement = nn.ModuleDict(
            {
                name: nn.Sequential(ResidualBlock(in_channels, channels), ResidualBlock(channels, channels))
                for name in num_outputs
            }
        )
        self.heads = nn.ModuleDict({name: nn.Conv2d(channels, n, 1) for name, n in num_outputs.items()})

    def forward(
        self, x: Tensor, propagated: Mapping[str, Tensor] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The backbone's map and coarser features to {task: feature} and {task: logits}, at the map's size."""
        features = {}
        for name, layers in self.refinement.items():
            joined = x
            if propagated is not None:
                coarser = F.interpolate(propagated[name], size=x.shape[-2:], mode="bilinear", align_corners=False)
                joined = torch.cat([x, coarser], dim=1)
            features[name] = layers(joined)
        return features, {name: head(features[name]) for name, head in self.heads.items()}


class MTINetNetwork(nn.Module):
    """MTI-Net (Vandenhende et al., ECCV 2020) as its authors published it, on any four maps.

    Args:
        backbone: Four maps.
        num_outputs: {task: channels of its heads}.
        widths: Channels of the task features at each scale, the finest first; null: those of the backbone.
        groups: See `FeaturePropagation`.

    Raises:
        ConfigError: The backbone does not give four maps, or there are not four widths.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_outputs: Mapping[str, int],
        widths: Sequence[int] | None = None,
        groups: AttentionGroups = "consecutive",
    ) -> None:
        super().__init__()
        tasks, given = list(num_outputs), backbone.channels
        widths = given if widths is None else tuple(widths)
        if len(given) != 4:
            raise ConfigError(f"MTI-Net on a backbone of {len(given)} maps", "take one that gives four.")
        if len(widths) != 4 or min(widths) < 4:
            raise ConfigError(f"widths {list(widths)}", "give four numbers of at least 4, for the finest scale first.")
        self.backbone = backbone
        self.scales = nn.ModuleList(
            ScaleDecoder(num_outputs, given[i] + (widths[i + 1] if i < 3 else 0), widths[i]) for i in range(4)
        )
        # The finest scale propagates to none.
        self.propagation = nn.ModuleList(FeaturePropagation(tasks, widths[i], groups) for i in (1, 2, 3))
        self.distillation = nn.ModuleList(TaskDistillation(tasks, width) for width in widths)
        self.fusion = nn.ModuleDict({name: BranchFusion(widths) for name in tasks})
        self.heads = nn.ModuleDict({name: nn.Conv2d(sum(widths), n, 1) for name, n in num_outputs.items()})

    def forward(self, image: Tensor) -> Outputs:
        """Normalised images (B, 3, H, W) to logits at the finest map's stride.

        `preliminary` holds the first predictions, `features["distilled"]` {task: feature} of each scale, the finest
        scale first.
        """
        maps = self.backbone(image)
        features: list[dict[str, Tensor]] = [{}] * 4
        first: list[dict[str, Tensor]] = [{}] * 4
        propagated = None
        for i in (3, 2, 1, 0):
            features[i], first[i] = self.scales[i](maps[i], propagated)
            if i > 0:
                propagated = self.propagation[i - 1](features[i])
        distilled = [layer(x) for layer, x in zip(self.distillation, features, strict=True)]
        final = {name: head(self.fusion[name]([x[name] for x in distilled])) for name, head in self.heads.items()}
        return Outputs(final=final, preliminary=first, features={"distilled": distilled})
