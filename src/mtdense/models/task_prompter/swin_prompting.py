"""Prompts on their way through a Swin Transformer, as in TaskPrompter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.backbones.base import pad_to_multiple
from mtdense.backbones.swin import Swin, cut_windows, join_windows, shift_mask
from mtdense.core.errors import ConfigError
from mtdense.models.task_prompter.channel_attention import SwinChannelAttention
from mtdense.models.task_prompter.options import PromptOptions

__all__ = ["PromptCarrier", "PromptedLevel", "SwinPrompting", "initialise", "new_prompts"]


@dataclass
class PromptedLevel:
    """What a transformer gives to the decoders at one level.

    Args:
        x: Features (B, h, w, C).
        prompts: (B, P, C), the prompts of a task side by side.
        spatial: Score of each place for each prompt in each head (B, heads, P, h, w); None without `spatial`.
        channel: Score of each channel for each prompt in n x n windows (B, P, C, n, n); None without `channel`.
        affinity: Score of each prompt for each prompt in each head (B, heads, P, P); None where it is not asked for.
    """

    x: Tensor
    prompts: Tensor
    spatial: Tensor | None = None
    channel: Tensor | None = None
    affinity: Tensor | None = None


class SwinPrompting(nn.Module):
    """A Swin Transformer in whose blocks prompts and image attend to each other.

    The blocks are the backbone's own; what prompts need beside them is held here. In each block, the prompts are put
    into every window, without position, and averaged over the windows afterwards; attention to channels follows; norms
    and perceptron are those of the image. Between stages, prompts and scores are brought to the next size.

    A network that works on features or prompts on the way overrides `embed`, `after_block` or `after_merge`.

    Args:
        backbone: A Swin with `output_norm: last`.
        num_tasks: Number of tasks.
        options: See `PromptOptions`.
        input_size: (height, width) of images; needed by `channel_attention: pixels`.

    Raises:
        ConfigError: A backbone with other norms, or options that do not fit it.
    """

    def __init__(
        self,
        backbone: Swin,
        num_tasks: int,
        options: PromptOptions,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(backbone.network.norm, nn.LayerNorm):
            raise ConfigError("prompts in a Swin without its last norm", "set `backbone_options: {output_norm: last}`.")
        self.backbone = backbone
        self.options = options
        self.num_prompts = num_tasks * options.prompts_per_task
        self.prompts = new_prompts(self.num_prompts, backbone.channels[0])
        stages: list[Any] = list(backbone.network.layers)
        self.heads = tuple(int(stage.blocks[-1].attn.num_heads) for stage in stages)
        self.channels = (*backbone.channels[1:], backbone.channels[-1])
        """Channels of each level."""
        grids = _grids(input_size, backbone.patch_size, len(stages))
        self.channel = nn.ModuleList()
        for stage, width, grid in zip(stages, backbone.channels, grids, strict=True):
            if options.channel:
                last = [i == len(stage.blocks) - 1 for i in range(len(stage.blocks))]
                ends = [end and stage is stages[-1] for end in last]
                kinds = zip(ends, last, strict=True)
                self.channel.append(
                    nn.ModuleList(
                        SwinChannelAttention(width, options, grid, updates=not end, scored=scored)
                        for end, scored in kinds
                    )
                )
        self.carriers = nn.ModuleList(
            PromptCarrier(width, heads * self.num_prompts if options.spatial else 0, options.channel)
            for width, heads in zip(backbone.channels[:-1], self.heads[:-1], strict=True)
        )
        for module in (*self.channel.modules(), *self.carriers.modules()):
            initialise(module)

    # ---- what a network built on this may change -------------------------------------------------------------------
    def embed(self, image: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to the features that the first block reads (B, h, w, C)."""
        x: Tensor = self.backbone.network.patch_embed(pad_to_multiple(image, self.backbone.patch_size))
        return x

    def after_block(self, stage: int, block: int, x: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """What goes on behind a block, numbered from 0: features (B, h, w, C) and prompts (B, P, C)."""
        return x, prompts

    def after_merge(self, stage: int, level: PromptedLevel) -> PromptedLevel:
        """What goes on behind a stage: the input of the next one, or behind the last one normalised features."""
        return level

    # ---- the way ---------------------------------------------------------------------------------------------------
    def forward(self, image: Tensor) -> list[PromptedLevel]:
        """Normalised images (B, 3, H, W) to levels of strides 8, 16, 32 and 32: each stage's, merged for the next."""
        x = self.embed(image)
        prompts = self.prompts.repeat(x.shape[0], 1, 1)
        stages: list[Any] = list(self.backbone.network.layers)
        levels: list[PromptedLevel] = []
        for index in range(len(stages)):
            level = self.run_stage(index, x, prompts)
            if index + 1 < len(stages):
                level = self.carriers[index](level, stages[index + 1].downsample)
            else:
                level.x = self.backbone.network.norm(level.x)
            level = self.after_merge(index, level)
            levels.append(level)
            x, prompts = level.x, level.prompts
        return levels

    def run_stage(self, stage: int, x: Tensor, prompts: Tensor) -> PromptedLevel:
        """All blocks of a stage; the scores are those of its last block."""
        blocks = self.backbone.network.layers[stage].blocks
        mask = shift_mask(blocks, x)
        level = PromptedLevel(x, prompts)
        for index in range(len(blocks)):
            arguments = stage, index, level.x, level.prompts, mask
            x, prompts, spatial, channel = self.backbone.run_part(self.run_block, *arguments)
            x, prompts = self.after_block(stage, index, x, prompts)
            level = PromptedLevel(x, prompts, spatial, channel)
        return level

    def run_block(
        self, stage: int, index: int, x: Tensor, prompts: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """One block.

        Args:
            stage: Number of the stage, from 0.
            index: Number of the block in it, from 0.
            x: Features (B, h, w, C).
            prompts: (B, P, C).
            mask: See `shift_mask`; shifted blocks use it.

        Returns:
            Features, prompts, and the scores of `PromptedLevel.spatial` and `.channel`; the former of a stage's last
            block only.
        """
        blocks = self.backbone.network.layers[stage].blocks
        block: Any = blocks[index]
        last = index == len(blocks) - 1
        goes_on = not (last and stage == len(self.heads) - 1)
        size = (x.shape[1], x.shape[2])
        windows = cut_windows(block, block.norm1(x))
        mask = mask if any(block.shift_size) else None
        spatial: Tensor | None = None
        changes: list[Tensor] = []
        if self.options.spatial:
            windows, gathered, scores = self._attend(block.attn, windows, block.norm1(prompts), mask, last)
            changes.append(gathered)
            if scores is not None:
                maps = join_windows(block, scores.flatten(1, 2).transpose(1, 2), size)
                spatial = maps.permute(0, 3, 1, 2).unflatten(1, (-1, prompts.shape[1]))
        else:
            windows = block.attn(windows, mask)
        attended = join_windows(block, windows, size)
        channel: Tensor | None = None
        if self.options.channel:
            attention = cast(SwinChannelAttention, cast(nn.ModuleList, self.channel[stage])[index])
            change, channel = attention(attended, prompts)
            changes += [] if change is None else [change]
        x = x + block.drop_path1(attended)
        x = x + block.drop_path2(block.mlp(block.norm2(x)))
        if goes_on:
            prompts = prompts + block.drop_path1(torch.stack(changes).sum(0))
            prompts = prompts + block.drop_path2(block.mlp(block.norm2(prompts)))
        return x, prompts, spatial, channel

    def _attend(
        self, attn: Any, windows: Tensor, prompts: Tensor, mask: Tensor | None, scored: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Attention within windows (B * N, positions, C) that hold the prompts (B, P, C) too."""
        batch, number = prompts.shape[:2]
        count = windows.shape[0] // batch
        tokens = torch.cat([prompts.repeat_interleave(count, dim=0), windows], dim=1)
        qkv = attn.qkv(tokens).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        places = windows.shape[1]
        table = attn.relative_position_bias_table[attn.relative_position_index.flatten()]
        bias = table.view(places, places, -1).permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(batch, 1, 1, 1)
        bias = F.pad(bias, (number, 0, number, 0))
        dropout = attn.attn_drop.p if self.training else 0.0
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        out = attn.proj_drop(attn.proj(out.transpose(1, 2).flatten(2)))
        scores = None
        if scored:
            scores = query[:, :, :number] @ key.transpose(-2, -1)
            if self.options.attention_maps != "raw":
                scores = scores * attn.scale
            if self.options.attention_maps == "softmax":
                scores = scores.softmax(-1)
            scores = scores[..., number:]
        return out[:, number:], out[:, :number].unflatten(0, (-1, count)).mean(1), scores


class PromptCarrier(nn.Module):
    """Brings prompts and scores to the size of the next stage, as merging does with features.

    Args:
        width: Channels of the stage; the next one has twice as many.
        maps: Maps of scores of places (heads x prompts); 0: there are none.
        channel: Whether there are scores of channels.
    """

    def __init__(self, width: int, maps: int, channel: bool) -> None:
        super().__init__()
        self.prompts = nn.Linear(width, 2 * width, bias=False)
        self.channel = nn.Linear(width, 2 * width, bias=False) if channel else None
        self.spatial = nn.Conv2d(maps, maps, 3, stride=2, padding=1) if maps else None

    def forward(self, level: PromptedLevel, merging: nn.Module) -> PromptedLevel:
        """The level as the next stage sees it; `merging` is the backbone's own."""
        spatial, channel = level.spatial, level.channel
        if self.spatial is not None and spatial is not None:
            spatial = self.spatial(spatial.flatten(1, 2)).unflatten(1, spatial.shape[1:3])
        if self.channel is not None and channel is not None:
            channel = self.channel(channel.transpose(2, -1)).transpose(2, -1)
        return PromptedLevel(merging(level.x), self.prompts(level.prompts), spatial, channel)


def new_prompts(number: int, width: int) -> nn.Parameter:
    """Prompts (number, width) as the public code begins them: normal of mean 1 and deviation 1, cut at +-2."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(number, width), mean=1.0, std=1.0))


def initialise(module: nn.Module) -> None:
    """Linear layers begin as in the public code; convolutions as torch begins them."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _grids(input_size: tuple[int, int] | None, patch: tuple[int, int], stages: int) -> list[tuple[int, int] | None]:
    """Rows and columns of the map in each stage."""
    if input_size is None:
        return [None] * stages
    rows, columns = -(-input_size[0] // patch[0]), -(-input_size[1] // patch[1])
    return [(-(-rows // 2**i), -(-columns // 2**i)) for i in range(stages)]
