"""The Swin Transformer of PromptFusion: triple embedding, prompts of tasks, and their fusion between stages."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.backbones.swin import Swin, cut_windows, join_windows, shift_mask
from mtdense.models.prompt_fusion.fusion import FusionView, PromptFusionModule
from mtdense.models.prompt_fusion.options import PromptFusionOptions
from mtdense.models.prompt_fusion.stem import TripleStem
from mtdense.models.task_prompter.swin_prompting import PromptedLevel, SwinPrompting

__all__ = ["FusedSwin", "PlainSwin"]


class PlainSwin(nn.Module):
    """The backbone behind a triple embedding, without prompts: levels as those of `FusedSwin`.

    Args:
        backbone: A Swin with `output_norm: last`.
        options: See `PromptFusion`.
    """

    def __init__(self, backbone: Swin, options: PromptFusionOptions) -> None:
        super().__init__()
        self.backbone = backbone
        self.stem = _take_stem(backbone, options)
        self.heads = tuple(int(stage.blocks[-1].attn.num_heads) for stage in backbone.network.layers)
        self.channels = (*backbone.channels[1:], backbone.channels[-1])

    def pretrained(self) -> list[nn.Parameter]:
        """The backbone's own parameters."""
        return _pretrained(self)

    def forward(self, image: Tensor) -> list[PromptedLevel]:
        """Normalised images (B, 3, H, W) to levels of strides 8, 16, 32 and 32, with no prompts."""
        x = self.stem(image)
        stages: list[Any] = list(self.backbone.network.layers)
        levels = []
        for index, stage in enumerate(stages):
            mask = shift_mask(stage.blocks, x)
            for block in stage.blocks:
                x = self.backbone.run_part(_run_block, block, x, mask)
            last = index + 1 == len(stages)
            x = self.backbone.network.norm(x) if last else stages[index + 1].downsample(x)
            # Scores of 0 leave channels as they are.
            levels.append(
                PromptedLevel(x, x.new_zeros(len(x), 0, x.shape[-1]), channel=x.new_zeros(len(x), 1, x.shape[-1], 1, 1))
            )
        return levels


class FusedSwin(SwinPrompting):
    """TaskPrompter's Swin behind a triple embedding, with prompt fusion; see `PromptFusion`.

    With `prompt_entry: gated` places attend to each other as in the backbone, and what they get from prompts, in an
    attention of its own, is multiplied by the hyperbolic tangent of a number of each head that begins at 0, as in
    LLaMA-Adapter (Zhang et al., ICLR 2024).

    Args:
        backbone: A Swin with `output_norm: last`.
        num_tasks: Number of tasks.
        options: See `PromptFusion`.
        input_size: (height, width) of images; needed by `channel_attention: pixels`.
    """

    def __init__(
        self,
        backbone: Swin,
        num_tasks: int,
        options: PromptFusionOptions,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(backbone, num_tasks, options.prompt_options, input_size)
        self.stem = _take_stem(backbone, options)
        self.entry, self.place = options.prompt_entry, options.fusion_place
        stages: list[Any] = list(backbone.network.layers)
        if self.entry == "gated" and options.spatial_prompts:
            for stage, heads in zip(stages, self.heads, strict=True):
                for block in stage.blocks:
                    block.attn.prompt_gate = nn.Parameter(torch.zeros(heads))
        self.fusions = nn.ModuleDict()
        if options.fusion:
            merged = self.place == "after_merge"
            for index, (stage, heads) in enumerate(zip(stages, self.heads, strict=True)):
                width = self.channels[index] if merged else backbone.channels[index]
                blocks = range(len(stage.blocks)) if self.place == "block" else (len(stage.blocks) - 1,)
                for block in blocks:
                    # Behind the last block, prompts are read by the decoder's gate or by nobody.
                    end = index + 1 == len(stages) and block + 1 == len(stage.blocks)
                    target = options.target_at_end if end else options.fusion_target
                    if target is not None:
                        self.fusions[f"{index}_{block}"] = PromptFusionModule(width, heads, options, target)
        self.last = tuple(len(stage.blocks) - 1 for stage in stages)

    def pretrained(self) -> list[nn.Parameter]:
        """The backbone's own parameters."""
        return _pretrained(self)

    def embed(self, image: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to the triple embedding (B, h, w, C)."""
        x: Tensor = self.stem(image)
        return x

    def after_block(self, stage: int, block: int, x: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Fusion behind a block, if it is there."""
        return (x, prompts) if self.place == "after_merge" else self._fuse(stage, block, x, prompts)

    def after_merge(self, stage: int, level: PromptedLevel) -> PromptedLevel:
        """Fusion behind a stage, if it is there."""
        if self.place == "after_merge":
            level.x, level.prompts = self._fuse(stage, self.last[stage], level.x, level.prompts)
        return level

    @torch.no_grad()
    def fusion_views(self, image: Tensor) -> dict[str, FusionView]:
        """{"stage 1": what the fusion there reads and where its prompts look}, of the first normalised image."""
        views: dict[str, FusionView] = {}

        def look(module: nn.Module, inputs: tuple[Tensor, Tensor]) -> None:
            assert isinstance(module, PromptFusionModule)
            view = module.view(*inputs)
            if view is not None:
                views[names[module]] = view

        names = {module: self._place_name(name) for name, module in self.fusions.items()}
        hooks = [module.register_forward_pre_hook(look) for module in self.fusions.values()]
        try:
            self(image[:1])
        finally:
            for hook in hooks:
                hook.remove()
        return views

    def _place_name(self, name: str) -> str:
        stage, block = (int(number) + 1 for number in name.split("_"))
        return f"stage {stage}, block {block}" if self.place == "block" else f"stage {stage}"

    def _fuse(self, stage: int, block: int, x: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        name = f"{stage}_{block}"
        if name in self.fusions:
            x, prompts = self.fusions[name](x, prompts)
        return x, prompts

    def _attend(
        self, attn: Any, windows: Tensor, prompts: Tensor, mask: Tensor | None, scored: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        if self.entry == "joint":
            return super()._attend(attn, windows, prompts, mask, scored)
        batch = prompts.shape[0]
        count = windows.shape[0] // batch
        heads = attn.num_heads
        query, key, value = attn.qkv(windows).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        own = attn.qkv(prompts).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        own = own.repeat_interleave(count, dim=1)
        places, number = windows.shape[1], prompts.shape[1]
        bias = attn._get_rel_pos_bias()
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(batch, 1, 1, 1)
        dropout = attn.attn_drop.p if self.training else 0.0
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        told = F.scaled_dot_product_attention(query, own[1], own[2], dropout_p=dropout)
        out = out + attn.prompt_gate.tanh()[:, None, None] * told
        everything = torch.cat([own[1], key], dim=2), torch.cat([own[2], value], dim=2)
        gathered = F.scaled_dot_product_attention(own[0], *everything, dropout_p=dropout)
        out, gathered = (attn.proj_drop(attn.proj(x.transpose(1, 2).flatten(2))) for x in (out, gathered))
        scores = None
        if scored:
            scores = own[0] @ everything[0].transpose(-2, -1)
            if self.options.attention_maps != "raw":
                scores = scores * attn.scale
            if self.options.attention_maps == "softmax":
                scores = scores.softmax(-1)
            scores = scores[..., number:]
            assert scores.shape[-1] == places
        return out, gathered.unflatten(0, (batch, count)).mean(1), scores


def _pretrained(encoder: FusedSwin | PlainSwin) -> list[nn.Parameter]:
    own = ("backbone.", "stem.proj.", "stem.norm.")
    return [p for name, p in encoder.named_parameters() if name.startswith(own) and not name.endswith("prompt_gate")]


def _take_stem(backbone: Swin, options: PromptFusionOptions) -> TripleStem:
    """The triple embedding, which takes the backbone's own over."""
    stem = TripleStem(backbone.network.patch_embed, options)
    backbone.network.patch_embed = nn.Identity()
    return stem


def _run_block(block: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    windows = block.attn(cut_windows(block, block.norm1(x)), mask if any(block.shift_size) else None)
    x = x + block.drop_path1(join_windows(block, windows, (x.shape[1], x.shape[2])))
    out: Tensor = x + block.drop_path2(block.mlp(block.norm2(x)))
    return out
