"""A task's map at one level, of what prompts saw and of what the task's own prompt says."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from mtdense.core.errors import ConfigError
from mtdense.models.prompt_fusion.options import PromptFusionOptions
from mtdense.models.task_prompter.decoder import LevelDecoder
from mtdense.models.task_prompter.swin_prompting import PromptedLevel

__all__ = ["TaskLevel"]


class TaskLevel(nn.Module):
    """TaskPrompter's decoder of a task at a level, with the task's prompt as a gate.

    To the weights of channels sigmoid(Linear(prompt)) is added [A16]. Without prompts the map is decoded as it is.

    Args:
        channels: Channels of the level.
        num_heads: Heads of the level's maps of scores.
        options: See `PromptFusion`.
        enlarge: The map is doubled in size (dense tasks).

    Raises:
        ConfigError: Channels that cannot be split over heads and prompts.
    """

    def __init__(self, channels: int, num_heads: int, options: PromptFusionOptions, enlarge: bool) -> None:
        super().__init__()
        if options.spatial_prompts and channels % (num_heads * options.prompts_per_task):
            raise ConfigError(
                f"{num_heads} heads of {options.prompts_per_task} prompts on a level of {channels} channels",
                "give a `prompts_per_task` so that both divide the widths of the backbone.",
            )
        self.prompted = options.prompts
        self.count = options.prompts_per_task if self.prompted else 1
        by_channels = options.channel_prompts or options.prompt_gate or not options.prompts
        sizes = options.level_width, options.width
        self.decoder = LevelDecoder(channels, *sizes, options.spatial_prompts, by_channels, enlarge)
        self.gate = nn.Linear(channels, channels) if options.prompt_gate else None

    def forward(self, level: PromptedLevel, task: int) -> Tensor:
        """A level and the place of the task to (B, width, h, w), or twice as large."""
        # Without prompts one weight of 0 for every channel serves all tasks.
        first = task * self.count if self.prompted else 0
        if self.gate is not None:
            own = self.gate(level.prompts[:, first : first + self.count]).sigmoid()[..., None, None]
            weights = own if level.channel is None else level.channel[:, first : first + self.count] + own
            level, first = (
                replace(
                    level,
                    channel=weights,
                    spatial=None if level.spatial is None else level.spatial[:, :, first : first + self.count],
                ),
                0,
            )
        out: Tensor = self.decoder(level, first, self.count)
        return out
