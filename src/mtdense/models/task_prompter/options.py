"""What the prompts of TaskPrompter can be told, as one checked value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from mtdense.core.errors import ConfigError
from mtdense.models.agreement import check_choice, check_whole

__all__ = ["AttentionMaps", "ChannelAttentionKind", "ChannelOutput", "PromptOptions"]

ChannelAttentionKind = Literal["pooled", "pixels"]
ChannelOutput = Literal["used", "discarded"]
AttentionMaps = Literal["raw", "scaled", "softmax"]


@dataclass(frozen=True)
class PromptOptions:
    """How prompts go through a transformer and what they leave behind.

    Args:
        prompts_per_task: Prompts of each task; 1 in the paper.
        spatial: Prompts attend to places, and these scores become maps.
        channel: Prompts attend to channels, and these scores become weights of channels.
        channel_attention: What a channel is described by: its values at all places (`pixels`, as published; the network
            then knows one input size only), or averaged to `channel_grid` (`pooled`: any size).
        channel_grid: Rows and columns of `pooled`.
        channel_width: Numbers that a channel and a prompt are compared by, on Swin.
        channel_heads: Heads of channel attention, a square number n * n: each has a window of the n x n that a map
            falls into.
        channel_output: Whether prompts get what channel attention gathers (`used`), or only their own projected
            queries (`discarded`, what the public code does on ViT).
        attention_maps: What maps and weights of channels are made of: products of queries and keys (`raw`, as
            published), these over the root of their width (`scaled`), or shares of attention (`softmax`).
        unused_parts: Hold what the public code holds and does not use.

    Raises:
        ConfigError: An option of unknown value or out of range.
    """

    prompts_per_task: int = 1
    spatial: bool = True
    channel: bool = True
    channel_attention: ChannelAttentionKind = "pooled"
    channel_grid: tuple[int, int] = (16, 16)
    channel_width: int = 256
    channel_heads: int = 1
    channel_output: ChannelOutput = "used"
    attention_maps: AttentionMaps = "raw"
    unused_parts: bool = False

    def __post_init__(self) -> None:
        check_choice("channel_attention", self.channel_attention, get_args(ChannelAttentionKind))
        check_choice("channel_output", self.channel_output, get_args(ChannelOutput))
        check_choice("attention_maps", self.attention_maps, get_args(AttentionMaps))
        for name in ("prompts_per_task", "channel_width", "channel_heads"):
            check_whole(name, getattr(self, name))
        if len(self.channel_grid) != 2:
            raise ConfigError(f"channel_grid is {list(self.channel_grid)}", "give rows and columns.")
        for side in self.channel_grid:
            check_whole("a side of channel_grid", side)
        if math.isqrt(self.channel_heads) ** 2 != self.channel_heads:
            raise ConfigError(f"channel_heads is {self.channel_heads}", "give a square number: 1, 4, 16.")
        if not (self.spatial or self.channel):
            raise ConfigError(
                "prompts without spatial and without channel attention leave nothing behind",
                "leave `spatial_prompts` or `channel_prompts` on.",
            )

    @property
    def windows(self) -> int:
        """Windows of channel attention along a side."""
        return math.isqrt(self.channel_heads)
