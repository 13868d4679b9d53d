"""Two ways to make one shared map into a map per task by learned prompts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.core.errors import ConfigError
from mtdense.models.prompted_baseline.layers import PromptLayer

__all__ = ["Gate", "Prompter", "PrompterOptions", "TSPPrompter", "TaskPrompter"]

Gate = Literal["scores", "sigmoid"]


@dataclass(frozen=True)
class PrompterOptions:
    """What both prompters can be told; see `PromptedBaseline`.

    Raises:
        ConfigError: A number that is not positive, or an unknown gate.
    """

    num_prompts: int = 1
    num_layers: int = 2
    num_heads: int = 8
    mlp_ratio: float = 4.0
    prompt_std: float = 0.02
    spatial_attention: bool = True
    channel_attention: bool = True
    gate: Gate = "scores"

    def __post_init__(self) -> None:
        for name in ("num_prompts", "num_layers", "num_heads", "mlp_ratio", "prompt_std"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", "give a number above 0.")
        if self.gate not in ("scores", "sigmoid"):
            raise ConfigError(f"unknown gate '{self.gate}'", "use scores or sigmoid.")


class Prompter(nn.Module, ABC):
    """Layers over the positions of a map and prompts.

    Args:
        tasks: Tasks, in order.
        width: Channels of the map.
        options: See `PrompterOptions`.

    Raises:
        ConfigError: `width` cannot be split over the heads.
    """

    def __init__(self, tasks: Sequence[str], width: int, options: PrompterOptions) -> None:
        super().__init__()
        if width % options.num_heads:
            raise ConfigError(
                f"{options.num_heads} attention heads on a feature of {width} channels",
                "give a `num_heads` that divides the channels of the backbone's last map.",
            )
        self.tasks = tuple(tasks)
        self.options = options
        self.layers = nn.ModuleList(
            PromptLayer(width, options.num_heads, options.mlp_ratio) for _ in range(options.num_layers)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    @abstractmethod
    def forward(self, shared: Tensor) -> dict[str, Tensor]:
        """The shared map (B, width, h, w) to a map of the same size for each task."""


class TaskPrompter(Prompter):
    """One pass with the prompts of all tasks; each task's prompts then weigh positions and channels of the result.

    With x the normalised positions after the last layer:

    * spatial: the channels are split into heads * prompts groups, and each group is multiplied by the map of scores
      that one prompt of the task has over the positions in one head of the last layer;
    * channel: the task's prompts attend to the positions once more, and what they gather, averaged over the prompts,
      multiplies the channels.

    Both products are added to x, concatenated and reduced by a 1x1 convolution of the task.

    Args:
        tasks: Tasks, in order.
        width: Channels of the map.
        options: See `PrompterOptions`.

    Raises:
        ConfigError: No attention is left, or `width` cannot be split over heads and prompts.
    """

    def __init__(self, tasks: Sequence[str], width: int, options: PrompterOptions) -> None:
        super().__init__(tasks, width, options)
        parts = options.spatial_attention + options.channel_attention
        if parts == 0:
            raise ConfigError(
                "prompts without spatial and without channel attention change no task's feature",
                "leave `spatial_attention` or `channel_attention` on.",
            )
        groups = options.num_heads * options.num_prompts
        if options.spatial_attention and width % groups:
            raise ConfigError(
                f"{options.num_heads} heads of {options.num_prompts} prompts on a feature of {width} channels",
                "give `num_heads` and `num_prompts` whose product divides the channels of the backbone's last map.",
            )
        self.prompts = nn.Parameter(torch.randn(len(self.tasks), options.num_prompts, width) * options.prompt_std)
        if options.channel_attention:
            self.channel_query = nn.Linear(width, width, bias=False)
        self.fuse = nn.ModuleDict({task: nn.Conv2d(parts * width, width, 1) for task in self.tasks})

    def forward(self, shared: Tensor) -> dict[str, Tensor]:
        """The shared map (B, width, h, w) to a map of the same size for each task."""
        batch, width, height, columns = shared.shape
        count = len(self.tasks) * self.options.num_prompts
        prompts = self.prompts.flatten(0, 1)[None].expand(batch, -1, -1)
        tokens = torch.cat([prompts, shared.flatten(2).transpose(1, 2)], dim=1)
        for layer in self.layers:
            tokens, scores = layer(tokens, count)
        tokens = self.norm(tokens)
        positions = tokens[:, count:]
        x = positions.transpose(1, 2).reshape(batch, width, height, columns)
        parts: dict[str, list[Tensor]] = {task: [] for task in self.tasks}
        if self.options.spatial_attention:
            # (B, heads, tasks * prompts, L) to one map per group of channels for each task.
            maps = scores.unflatten(2, (len(self.tasks), -1)).unflatten(-1, (height, columns))
            for i, task in enumerate(self.tasks):
                gate = self._gate(maps[:, :, i].flatten(1, 2))
                parts[task].append(x + x * gate.repeat_interleave(width // gate.shape[1], dim=1))
        if self.options.channel_attention:
            gathered = self.channel_scores(tokens[:, :count], positions).unflatten(1, (len(self.tasks), -1)).mean(2)
            for i, task in enumerate(self.tasks):
                parts[task].append(x + x * self._gate(gathered[:, i])[:, :, None, None])
        return {task: fuse(torch.cat(parts[task], dim=1)) for task, fuse in self.fuse.items()}

    def channel_scores(self, prompts: Tensor, positions: Tensor) -> Tensor:
        """(B, prompts, width): mean of positions (B, L, width), weighted for each prompt by one head's attention."""
        query = self.channel_query(prompts)
        return F.scaled_dot_product_attention(query[:, None], positions[:, None], positions[:, None])[:, 0]

    def _gate(self, scores: Tensor) -> Tensor:
        return scores.sigmoid() if self.options.gate == "sigmoid" else scores


class TSPPrompter(Prompter):
    """One pass per task with its own prompts, other ones in each layer, dropped after the layer.

    The layers' weights are shared by all tasks; `spatial_attention`, `channel_attention` and `gate` have no part.

    Args:
        tasks: Tasks, in order.
        width: Channels of the map.
        options: See `PrompterOptions`.
    """

    def __init__(self, tasks: Sequence[str], width: int, options: PrompterOptions) -> None:
        super().__init__(tasks, width, options)
        shape = (options.num_layers, len(self.tasks), options.num_prompts, width)
        self.prompts = nn.Parameter(torch.randn(shape) * options.prompt_std)

    def forward(self, shared: Tensor) -> dict[str, Tensor]:
        """The shared map (B, width, h, w) to a map of the same size for each task."""
        batch, width, height, columns = shared.shape
        count = self.options.num_prompts
        # All passes at once, tasks along the batch: (T * B, L, width).
        positions = shared.flatten(2).transpose(1, 2).repeat(len(self.tasks), 1, 1)
        for layer, own in zip(self.layers, self.prompts, strict=True):
            prompts = own.repeat_interleave(batch, dim=0)
            tokens, _ = layer(torch.cat([prompts, positions], dim=1), count)
            positions = tokens[:, count:]
        maps = self.norm(positions).transpose(1, 2).reshape(-1, width, height, columns)
        return dict(zip(self.tasks, maps.chunk(len(self.tasks)), strict=True))
