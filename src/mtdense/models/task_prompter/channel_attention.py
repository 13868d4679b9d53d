"""Attention of prompts to channels, as TaskPrompter has it on Swin and on ViT."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.core.errors import ConfigError
from mtdense.models.task_prompter.options import PromptOptions

__all__ = ["SwinChannelAttention", "ViTChannelAttention"]


class _ChannelAttention(nn.Module):
    """What both have in common: what describes a channel, and the attention itself.

    Args:
        options: See `PromptOptions`.
        grid: Rows and columns of the map that `channel_attention: pixels` is made for.
        updates: Whether prompts go on: in the network's last block they do not.
        scored: Whether the weights of channels are asked for: those of a stage's last block are.

    Raises:
        ConfigError: `pixels` without a size.
    """

    def __init__(
        self, options: PromptOptions, grid: tuple[int, int] | None, updates: bool = True, scored: bool = True
    ) -> None:
        super().__init__()
        self.options = options
        self.updates, self.scored = updates, scored
        # Whether prompts get what is gathered.
        self.values = updates and options.channel_output == "used"
        if options.channel_attention == "pixels":
            if grid is None:
                raise ConfigError(
                    "`channel_attention: pixels` without the size of the images",
                    "set `model.input_size`, or use `pooled`.",
                )
            self.grid = grid
        else:
            self.grid = options.channel_grid

    @property
    def positions(self) -> int:
        """Numbers that describe a channel."""
        return self.grid[0] * self.grid[1]

    def describe(self, x: Tensor) -> Tensor:
        """A map (B, h, w, C) to the values of its channels (B, C, positions)."""
        x = x.permute(0, 3, 1, 2)
        if self.options.channel_attention == "pooled":
            x = F.adaptive_avg_pool2d(x, self.grid)
        elif tuple(x.shape[-2:]) != tuple(self.grid):
            raise ConfigError(
                f"channel attention was made for a map of {self.grid[0]} x {self.grid[1]} and got one of "
                f"{x.shape[-2]} x {x.shape[-1]}",
                "give images of `model.input_size`, or use `channel_attention: pooled`.",
            )
        return x.flatten(2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor | None, sides: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Attention of prompts to channels.

        Args:
            query: (B, P, sides[0] * sides[1]).
            key: (B, C, sides[0] * sides[1]).
            value: As `key`; none: prompts get nothing.
            sides: Rows and columns that the windows of the heads are cut out of.

        Returns:
            What the prompts get, (B, P, sides[0] * sides[1]), the query where there is no value; and the map of
            weights of channels, (B, P, C, n, n).
        """
        n = self.options.windows
        q, k = _windows(query, sides, n), _windows(key, sides, n)
        products = q @ k.transpose(-2, -1)
        scores = products * k.shape[-1] ** -0.5
        shares = scores.softmax(-1)
        out = query if value is None else _whole(shares @ _windows(value, sides, n), sides, n)
        chosen = {"raw": products, "scaled": scores, "softmax": shares}[self.options.attention_maps]
        return out, chosen.unflatten(1, (n, n)).permute(0, 3, 4, 1, 2)


class SwinChannelAttention(_ChannelAttention):
    """Channel attention of a Swin block: own projections, of what spatial attention gives.

    Args:
        width: Channels.
        options: See `PromptOptions`.
        grid: Rows and columns of the map that `channel_attention: pixels` is made for.
        kwargs: `updates`: whether prompts go on, which they do not in the network's last block; `scored`: whether the
            weights of channels are asked for, as those of a stage's last block are.

    Raises:
        ConfigError: `channel_width` cannot be cut into the windows of the heads.
    """

    def __init__(self, width: int, options: PromptOptions, grid: tuple[int, int] | None, **kwargs: bool) -> None:
        super().__init__(options, grid, **kwargs)
        own = options.channel_width
        side = round(own**0.5)
        self.sides = (1, own) if options.windows == 1 else (side, side)
        if options.windows > 1 and (side * side != own or side % options.windows):
            raise ConfigError(
                f"{options.channel_heads} heads of channel attention over {own} numbers",
                "give a `channel_width` that is the square of a multiple of the root of `channel_heads`.",
            )
        self.reduce = nn.Linear(width, own)
        self.query = nn.Linear(own, own)
        self.key_value: nn.Linear | None = None
        if self.values or self.scored:
            self.key_value = nn.Linear(self.positions, own * (2 if self.values or options.unused_parts else 1))
        self.project = nn.Linear(own, own) if self.updates else None
        self.expand = nn.Linear(own, width) if self.updates else None

    def forward(self, x: Tensor, prompts: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Runs it.

        Args:
            x: Output of spatial attention, (B, h, w, C).
            prompts: Un-normalised, (B, P, C).

        Returns:
            What is added to the prompts (none where they do not go on), and the weights of channels (B, P, C, n, n)
            (none where nothing is compared).
        """
        out, weights = self.query(self.reduce(prompts)), None
        if self.key_value is not None:
            both = self.key_value(self.describe(x))
            own = self.options.channel_width
            value = both[..., own:] if self.values else None
            out, weights = self.attend(out, both[..., :own], value, self.sides)
        if self.project is None or self.expand is None:
            return None, weights
        return self.expand(self.project(out)), weights


class ViTChannelAttention(_ChannelAttention):
    """Channel attention of a ViT block: channels are compared as they are, prompts are brought to places and back.

    Args:
        width: Channels.
        options: See `PromptOptions`.
        grid: See `SwinChannelAttention`.
        kwargs: See `SwinChannelAttention`.

    Raises:
        ConfigError: The grid does not fall into the windows of the heads.
    """

    def __init__(self, width: int, options: PromptOptions, grid: tuple[int, int] | None, **kwargs: bool) -> None:
        super().__init__(options, grid, **kwargs)
        if self.grid[0] % options.windows or self.grid[1] % options.windows:
            raise ConfigError(
                f"{options.channel_heads} heads of channel attention on a grid of {self.grid[0]} x {self.grid[1]}",
                "give a `channel_heads` whose root divides both sides, or another `channel_grid` or `input_size`.",
            )
        self.query = nn.Linear(width, self.positions)
        self.expand = nn.Linear(self.positions, width) if self.updates or options.unused_parts else None
        if not self.updates and self.expand is not None:
            self.expand.requires_grad_(False)

    def forward(self, x: Tensor, prompts: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Runs it.

        Args:
            x: Normalised map (B, h, w, C).
            prompts: Normalised, (B, P, C).

        Returns:
            See `SwinChannelAttention.forward`.
        """
        out, weights = self.query(prompts), None
        if self.values or self.scored:
            channels = self.describe(x)
            out, weights = self.attend(out, channels, channels if self.values else None, self.grid)
        return (self.expand(out) if self.updates and self.expand is not None else None), weights


def _windows(rows: Tensor, sides: Sequence[int], n: int) -> Tensor:
    """(B, R, height * width) to (B, n * n, R, positions of a window)."""
    tiles: Tensor = rows.unflatten(2, (n, sides[0] // n, n, sides[1] // n))
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(4).flatten(1, 2)


def _whole(windows: Tensor, sides: Sequence[int], n: int) -> Tensor:
    """The inverse of `_windows`."""
    tiles: Tensor = windows.unflatten(1, (n, n)).unflatten(4, (sides[0] // n, sides[1] // n))
    return tiles.permute(0, 3, 1, 4, 2, 5).flatten(2)
