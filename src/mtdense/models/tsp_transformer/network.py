"""TSP-Transformer's network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mtdense.backbones import VisionTransformer
from mtdense.core.errors import ConfigError
from mtdense.models.agreement import check_choice, check_whole
from mtdense.models.invpt.network import InvPTNetwork
from mtdense.models.outputs import Outputs

__all__ = ["Placement", "PromptPlan", "TSPNetwork"]

Placement = Literal["late", "early"]


@dataclass(frozen=True)
class PromptPlan:
    """Where the prompts of a task go.

    Args:
        tokens: Prompts of a task in a block.
        layers: Blocks with prompts; None is half of them.
        placement: Whether these are the last blocks (`late`) or the first (`early`).
        std: Standard deviation that prompts begin with. Prompts that begin equal stay equal: they have no position, so
            that all of a block get one gradient.
        share_blocks: Run blocks before the first prompt once for all tasks.

    Raises:
        ConfigError: A value that makes no sense.
    """

    tokens: int = 5
    layers: int | None = None
    placement: Placement = "late"
    std: float = 0.02
    share_blocks: bool = True

    def __post_init__(self) -> None:
        check_whole("prompts_per_task", self.tokens)
        if self.layers is not None:
            check_whole("prompt_layers", self.layers)
        check_choice("prompt_placement", self.placement, ("late", "early"))
        if not 0 <= self.std < float("inf"):
            raise ConfigError(f"prompt_std is {self.std}", "give a number of 0 or more.")

    def blocks(self, depth: int) -> range:
        """Blocks with prompts, counted from 0.

        Raises:
            ConfigError: More than there are.
        """
        layers = max(1, depth // 2) if self.layers is None else self.layers
        if layers > depth:
            raise ConfigError(f"prompts in {layers} of {depth} blocks", f"give a `prompt_layers` of at most {depth}.")
        return range(layers) if self.placement == "early" else range(depth - layers, depth)


class TSPNetwork(InvPTNetwork):
    """A ViT that is run once per task, with the task's prompts in some blocks, and InvPT's decoders.

    In a block with prompts they stand behind the image's tokens and are dropped after it: each block has its own. The
    tasks' maps go to their preliminary decoders; the stages, which take maps that all tasks share, get their means.

    Args:
        backbone: A ViT of four maps.
        num_outputs: {task: channels of its prediction}.
        width: Channels of a task's preliminary feature.
        preliminary_width: Channels between the convolutions of a preliminary decoder.
        widths: Channels of a task at each stage, coarsest first.
        plan: Where prompts go.
        unused_parts: Hold what the official code holds and does not use.

    Raises:
        ConfigError: The plan does not fit the depth.
    """

    backbone: VisionTransformer

    def __init__(
        self,
        backbone: VisionTransformer,
        num_outputs: Mapping[str, int],
        width: int,
        preliminary_width: int,
        widths: Sequence[int],
        plan: PromptPlan,
        unused_parts: bool = False,
    ) -> None:
        super().__init__(backbone, num_outputs, width, preliminary_width, widths, unused_parts, shared=False)
        self.prompted = plan.blocks(len(backbone.blocks))
        self.plan = plan
        shape = (len(self.prompted), plan.tokens, backbone.channels[-1])
        self.prompts = nn.ParameterDict({name: nn.Parameter(torch.randn(shape) * plan.std) for name in num_outputs})

    def forward(self, image: Tensor) -> Outputs:
        """Normalised images (B, 3, H, W) to logits at stride 4, and preliminary ones at stride 32."""
        maps = self.task_maps(image)
        generic = [x.mean(1) for x in maps[:-1]]
        return self.decode(image.shape[-2:], maps[-1].flatten(1, 2), [*generic, maps[-1]])

    def task_maps(self, image: Tensor) -> list[Tensor]:
        """All tasks' maps (B, T, C, h, w), or one for all (B, 1, C, h, w), of each of the backbone's `out_blocks`."""
        vit, tasks = self.backbone, len(self.tasks)
        tokens, grid = vit.embed(image)
        batch, length = tokens.shape[:2]
        # Tasks along the batch: (T * B, L, C).
        prompts = torch.stack([self.prompts[name] for name in self.tasks]).repeat_interleave(batch, dim=0)
        parted = not self.plan.share_blocks
        if parted:
            tokens = tokens.repeat(tasks, 1, 1)
        maps: list[Tensor] = []
        last = vit.out_blocks[-1]
        for index in range(last):
            if index in self.prompted:
                if not parted:
                    tokens, parted = tokens.repeat(tasks, 1, 1), True
                own = prompts[:, index - self.prompted.start]
                tokens = vit.run_block(index, torch.cat([tokens, own], dim=1))[:, :length]
            else:
                tokens = vit.run_block(index, tokens)
            if index + 1 in vit.out_blocks:
                x = vit.to_map(vit.network.norm(tokens) if index + 1 == last else tokens, grid)
                maps.append(x.unflatten(0, (-1, batch)).transpose(0, 1))
        return maps
