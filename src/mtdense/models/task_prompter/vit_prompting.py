"""Prompts on their way through a vision transformer, as in TaskPrompter."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.backbones.vit import VisionTransformer
from mtdense.core.errors import ConfigError
from mtdense.models.task_prompter.channel_attention import ViTChannelAttention
from mtdense.models.task_prompter.options import PromptOptions
from mtdense.models.task_prompter.swin_prompting import PromptedLevel, initialise, new_prompts

__all__ = ["ViTPrompting"]


class ViTPrompting(nn.Module):
    """A vision transformer in whose blocks prompts and image attend to each other.

    Prompts have no position. Norms, attention and perceptron of a block serve prompts and image alike; what attention
    to channels needs beside them is held here.

    Args:
        backbone: A ViT without class token whose last map is that of its last block, normalised.
        num_tasks: Number of tasks.
        options: See `PromptOptions`.
        affinity: Give the scores of prompts for prompts too.

    Raises:
        ConfigError: A backbone of another form, or options that do not fit it.
    """

    def __init__(
        self, backbone: VisionTransformer, num_tasks: int, options: PromptOptions, affinity: bool = False
    ) -> None:
        super().__init__()
        if backbone.prefix_tokens or not isinstance(backbone.network.norm, nn.LayerNorm):
            raise ConfigError(
                "prompts in a ViT with a class token or without its last norm",
                "set `backbone_options: {class_token: false}` and leave out `output_norm` and late `out_blocks`.",
            )
        blocks: list[Any] = list(backbone.blocks)
        if any(getattr(block.attn, "gate", None) is not None for block in blocks):
            raise ConfigError("prompts in a ViT with gated attention", "choose another ViT.")
        self.backbone = backbone
        self.options = options
        self.affinity = affinity
        self.num_prompts = num_tasks * options.prompts_per_task
        self.channels = backbone.channels
        self.heads = tuple(int(blocks[number - 1].attn.num_heads) for number in backbone.out_blocks)
        self.prompts = new_prompts(self.num_prompts, backbone.channels[0])
        # `pixels` is made for the grid of the position table.
        self.channel = nn.ModuleList(
            ViTChannelAttention(
                backbone.channels[0],
                options,
                backbone.grid,
                updates=block is not blocks[-1],
                scored=i + 1 in backbone.out_blocks,
            )
            for i, block in enumerate(blocks)
            if options.channel
        )
        for module in self.channel.modules():
            initialise(module)

    def forward(self, image: Tensor) -> list[PromptedLevel]:
        """Normalised images (B, 3, H, W) to a level for each of the backbone's `out_blocks`, all of its stride."""
        tokens, grid = self.backbone.embed(image)
        x = tokens.unflatten(1, grid)
        prompts = self.prompts.repeat(x.shape[0], 1, 1)
        levels: list[PromptedLevel] = []
        last = self.backbone.out_blocks[-1]
        for number in range(1, last + 1):
            level = PromptedLevel(*self.backbone.run_part(self.run_block, number, x, prompts))
            x, prompts = level.x, level.prompts
            if number == last:
                level.x = self.backbone.network.norm(x)
            if number in self.backbone.out_blocks:
                levels.append(level)
        return levels

    def run_block(
        self, number: int, x: Tensor, prompts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """Block `number`, from 1, on features (B, h, w, C) and prompts (B, P, C); the fields of `PromptedLevel`."""
        block: Any = self.backbone.blocks[number - 1]
        goes_on, count = number < self.backbone.out_blocks[-1], prompts.shape[1]
        size = (x.shape[1], x.shape[2])
        y, z = block.norm1(x), block.norm1(prompts)
        changes: list[Tensor] = []
        spatial: Tensor | None = None
        channel: Tensor | None = None
        affinity: Tensor | None = None
        if self.options.spatial:
            scored = number in self.backbone.out_blocks
            attended, scores = self._attend(block.attn, torch.cat([z, y.flatten(1, 2)], dim=1), count, scored)
            changes.append(attended[:, :count])
            attended = attended[:, count:]
            if scores is not None:
                spatial = scores[..., count:].unflatten(-1, size)
                affinity = scores[..., :count] if self.affinity else None
        else:
            attended, _ = self._attend(block.attn, y.flatten(1, 2), 0, False)
        if self.options.channel:
            change, channel = cast(ViTChannelAttention, self.channel[number - 1])(y, z)
            changes += [] if change is None else [change]
        x = x + block.drop_path1(block.ls1(attended.unflatten(1, size)))
        x = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
        if goes_on:
            prompts = prompts + block.drop_path1(block.ls1(torch.stack(changes).sum(0)))
            prompts = prompts + block.drop_path2(block.ls2(block.mlp(block.norm2(prompts))))
        return x, prompts, spatial, channel, affinity

    def _attend(self, attn: Any, tokens: Tensor, count: int, scored: bool) -> tuple[Tensor, Tensor | None]:
        """Attention of all tokens to all, and the scores of the first `count` of them for all."""
        qkv = attn.qkv(tokens).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        query, key = attn.q_norm(query), attn.k_norm(key)
        dropout = attn.attn_drop.p if self.training else 0.0
        out = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        out = attn.proj_drop(attn.proj(attn.norm(out.transpose(1, 2).flatten(2))))
        if not scored:
            return out, None
        scores = query[:, :, :count] @ key.transpose(-2, -1)
        if self.options.attention_maps != "raw":
            scores = scores * attn.scale
        if self.options.attention_maps == "softmax":
            scores = scores.softmax(-1)
        return out, scores
