"""TaskPrompter's networks: a prompted transformer, decoders of each task at each level, heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.core.errors import ConfigError
from mtdense.models.outputs import Outputs
from mtdense.models.task_prompter.decoder import CrossTaskReweighting, HeadShape, LevelDecoder, task_head
from mtdense.models.task_prompter.swin_prompting import PromptedLevel, SwinPrompting
from mtdense.models.task_prompter.vit_prompting import ViTPrompting

__all__ = ["TaskPrompterNetwork"]


class TaskPrompterNetwork(nn.Module):
    """TaskPrompter.

    On Swin, the maps of a task of one map are enlarged to stride 4, added up and pass a convolution; those of a task of
    levels stay four and go to its branch. On ViT, they are added up and enlarged to stride 4.

    Args:
        prompting: The prompted transformer.
        num_outputs: {task: channels of its map}.
        branches: {task of levels: module that makes its outputs of four maps of `width` channels}; on Swin only.
        level_width: See `LevelDecoder.width`.
        width: Channels of a task's features.
        head: See `task_head`; null: `deconv` on Swin, `conv` on ViT.
        cross_task: Let tasks' features be weighed and added up at each level; on ViT only.

    Raises:
        ConfigError: Something that this transformer does not offer, or scores that do not fit the channels.
    """

    def __init__(
        self,
        prompting: SwinPrompting | ViTPrompting,
        num_outputs: Mapping[str, int],
        branches: Mapping[str, nn.Module],
        level_width: int,
        width: int,
        head: HeadShape | None = None,
        cross_task: bool = False,
    ) -> None:
        super().__init__()
        pyramid, options = isinstance(prompting, SwinPrompting), prompting.options
        if branches and not pyramid:
            raise ConfigError(
                f"TaskPrompter on a ViT has maps of one stride only, too few for {', '.join(branches)}",
                "use a Swin, or leave it out of `data.tasks`.",
            )
        if cross_task and (pyramid or not options.spatial or options.prompts_per_task > 1):
            raise ConfigError(
                "`cross_task` without one prompt per task that attends to all others",
                "use a ViT, leave `spatial_prompts` on and `prompts_per_task` at 1.",
            )
        self.prompting = prompting
        self.tasks = (*num_outputs, *branches)
        self.decoders = nn.ModuleList()
        for channels, heads in zip(prompting.channels, prompting.heads, strict=True):
            if options.spatial and channels % (heads * options.prompts_per_task):
                raise ConfigError(
                    f"{heads} heads of {options.prompts_per_task} prompts on {channels} channels",
                    "give a `prompts_per_task` with which the heads divide the channels.",
                )
            level = {
                name: LevelDecoder(
                    channels, level_width, width, options.spatial, options.channel,
                    pyramid and name in num_outputs, 3 if pyramid else 1,
                )
                for name in self.tasks
            }  # fmt: skip
            self.decoders.append(nn.ModuleDict(level))
        self.cross_task = nn.ModuleList(
            nn.ModuleDict({name: CrossTaskReweighting(heads) for name in self.tasks})
            for heads in prompting.heads
            if cross_task
        )
        self.merge = nn.ModuleDict({name: nn.Conv2d(width, width, 3, padding=1) for name in num_outputs if pyramid})
        shape: HeadShape = head or ("deconv" if pyramid else "conv")
        self.heads = nn.ModuleDict({name: task_head(shape, width, count) for name, count in num_outputs.items()})
        self.branches = nn.ModuleDict(branches)

    def forward(self, image: Tensor) -> Outputs:
        """Normalised images (B, 3, H, W) to logits at stride 4, or 2 behind a `deconv` head."""
        levels: list[PromptedLevel] = self.prompting(image)
        features = self.decode(levels)
        final: dict[str, object] = {}
        shared = {}
        for name, head in self.heads.items():
            shared[name] = self.combine(name, features[name])
            final[name] = head(shared[name])
        for name, branch in self.branches.items():
            final[name] = branch(features[name])
        return Outputs(final=final, features=shared)

    def decode(self, levels: Sequence[PromptedLevel]) -> dict[str, list[Tensor]]:
        """{task: its features at each level}."""
        count = self.prompting.options.prompts_per_task
        features: dict[str, list[Tensor]] = {name: [] for name in self.tasks}
        for place, level in enumerate(levels):
            decoders = cast(nn.ModuleDict, self.decoders[place])
            own = {name: decoders[name](level, i * count, count) for i, name in enumerate(self.tasks)}
            if self.cross_task:
                assert level.affinity is not None
                weighers = cast(nn.ModuleDict, self.cross_task[place])
                every = torch.stack(list(own.values()), dim=1)
                own = {name: weighers[name](level.affinity[:, :, i], every) for i, name in enumerate(self.tasks)}
            for name, x in own.items():
                features[name].append(x)
        return features

    def combine(self, task: str, maps: Sequence[Tensor]) -> Tensor:
        """A task's features at all levels to one map."""
        if task in self.merge:
            size = maps[0].shape[-2:]
            total = torch.stack([F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in maps])
            merged: Tensor = self.merge[task](total.sum(0))
            return merged
        total = torch.stack(list(maps)).sum(0)
        return F.interpolate(total, scale_factor=4, mode="bilinear", align_corners=False)
