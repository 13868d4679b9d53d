"""Prompt fusion: prompts gather salient features, trends and raw information, and hand them back to the image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.core.errors import ConfigError
from mtdense.models.prompt_fusion.options import FusionKind, FusionSource, FusionTarget, PromptFusionOptions

__all__ = ["FusionView", "PromptFusionModule"]


@dataclass(frozen=True)
class FusionView:
    """What a fusion reads of one image, and where its prompts look.

    Args:
        read: {branch: the image on the grid (C, rows, columns)}.
        attention: {branch: share of attention that each prompt gives each cell (P, rows, columns), mean over heads}.
        on_prompts: {branch: share that it gives the prompts in the memory (P,)}.
        weights: How much of each branch a prompt takes (P, branches).
    """

    read: dict[str, Tensor]
    attention: dict[str, Tensor]
    on_prompts: dict[str, Tensor]
    weights: Tensor


class PromptFusionModule(nn.Module):
    """Prompts Z and a map X, normalised, are read three ways; what prompts gather is added to both.

    | branch | of the prompts | of the image, on a grid |
    |---|---|---|
    | salient | greatest of all prompts | greatest of each cell |
    | trend | mean of all prompts | mean of each cell |
    | raw | every prompt | the nearest pixel |

    `attention` [A12, A13]: each branch's memory is both parts and a learnt vector of the branch; prompts attend to it,
    all branches with one set of weights and no projection behind. With O_i what prompts gather in branch i,
    F = sum of w_i O_i + Linear(all O_i), w the softmax of a linear map of Z. `pool` [A15]: F is a linear map of the
    greatest and the mean of the image, and the prompt itself.

    Written back [A14]: Z + g_z F and X + g_x Linear(a F), a the softmax over prompts of X Z^T / sqrt(C). Both gates
    begin at 0.

    Args:
        width: Channels of prompts and map.
        num_heads: Heads of the attention.
        options: See `PromptFusion`.
        target: What is written back; None: what the options say.

    Raises:
        ConfigError: Channels that cannot be split over the heads.
    """

    def __init__(
        self, width: int, num_heads: int, options: PromptFusionOptions, target: FusionTarget | None = None
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise ConfigError(f"{num_heads} heads on {width} channels", "use a backbone whose heads divide its widths.")
        self.branches = options.fusion_branches
        self.kind: FusionKind = options.fusion_kind
        self.source: FusionSource = options.fusion_source
        self.target: FusionTarget = target or options.fusion_target
        self.grid = options.fusion_grid
        self.num_heads = num_heads
        count = len(self.branches)
        pooled, back = self.kind == "pool", self.target != "prompts"
        reads_image = set(self.branches) != {"raw"} if pooled else self.source != "prompts"
        reads_prompts = "raw" in self.branches or not pooled
        self.norm_image = nn.LayerNorm(width) if reads_image or back else nn.Identity()
        self.norm_prompts = nn.LayerNorm(width) if reads_prompts or back else nn.Identity()
        self.join = nn.Linear(count * width, width)
        if not pooled:
            self.query = nn.Linear(width, width)
            self.key_value = nn.Linear(width, 2 * width)
            self.branch = nn.Parameter(torch.zeros(count, width))
            nn.init.trunc_normal_(self.branch, std=0.02)
            if count > 1:  # the softmax of one is 1
                self.weights = nn.Linear(width, count)
        if self.target != "image":
            self.gate_prompts = nn.Parameter(torch.zeros(width))
        if back:
            self.back = nn.Linear(width, width)
            self.gate_image = nn.Parameter(torch.zeros(width))

    def forward(self, image: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """A map (B, h, w, C) and prompts (B, P, C) to the same."""
        x, z = self.norm_image(image), self.norm_prompts(prompts)
        gathered = self._pooled(x, z) if self.kind == "pool" else self._attended(x, z)
        if self.target != "image":
            prompts = prompts + self.gate_prompts * gathered
        if self.target != "prompts":
            shares = (x @ z[:, None].transpose(-2, -1) * x.shape[-1] ** -0.5).softmax(-1)
            image = image + self.gate_image * self.back(shares @ gathered[:, None])
        return image, prompts

    def view(self, image: Tensor, prompts: Tensor) -> FusionView | None:
        """What is read of a batch's first image, and where its prompts look; None without attention to the image.

        Args:
            image: As `forward`.
            prompts: As `forward`.
        """
        if self.kind == "pool" or self.source == "prompts":
            return None
        x, z = self.norm_image(image[:1]), self.norm_prompts(prompts[:1])
        query = self._heads(self.query(z))
        cells = self.grid[0] * self.grid[1]
        read, attention, on_prompts = {}, {}, {}
        for place, name in enumerate(self.branches):
            memory = self._memory(name, x, z)
            key = self._heads(self.key_value(memory + self.branch[place]).chunk(2, dim=-1)[0])
            # With values that are rows of the identity, attention gives its own shares.
            each = torch.eye(memory.shape[1], dtype=key.dtype, device=key.device).expand(1, self.num_heads, -1, -1)
            shares = F.scaled_dot_product_attention(query, key, each).mean(1)[0]
            read[name] = memory[0, -cells:].T.unflatten(1, self.grid)
            attention[name] = shares[:, -cells:].unflatten(1, self.grid)
            on_prompts[name] = shares[:, :-cells].sum(1)
        count = len(self.branches)
        weights = self.weights(z)[0].softmax(-1) if count > 1 else z.new_ones(z.shape[1], 1)
        return FusionView(read, attention, on_prompts, weights)

    def _pooled(self, x: Tensor, z: Tensor) -> Tensor:
        parts = []
        for name in self.branches:
            if name == "raw":
                parts.append(z)
            else:
                whole = x.amax((1, 2)) if name == "salient" else x.mean((1, 2))
                parts.append(whole[:, None].expand_as(z))
        joined: Tensor = self.join(torch.cat(parts, dim=-1))
        return joined

    def _attended(self, x: Tensor, z: Tensor) -> Tensor:
        query = self._heads(self.query(z))
        found = []
        for place, name in enumerate(self.branches):
            memory = self._memory(name, x, z) + self.branch[place]
            key, value = self.key_value(memory).chunk(2, dim=-1)
            read = F.scaled_dot_product_attention(query, self._heads(key), self._heads(value))
            found.append(read.transpose(1, 2).flatten(2))
        joined: Tensor = self.join(torch.cat(found, dim=-1))
        if len(found) == 1:
            return joined + found[0]
        weights = self.weights(z).softmax(-1)
        chosen: Tensor = (torch.stack(found, dim=-1) * weights[:, :, None]).sum(-1)
        return joined + chosen

    def _memory(self, name: str, x: Tensor, z: Tensor) -> Tensor:
        parts = []
        if self.source != "image":
            own = {"salient": z.amax(1, keepdim=True), "trend": z.mean(1, keepdim=True), "raw": z}
            parts.append(own[name])
        if self.source != "prompts":
            channels_first = x.permute(0, 3, 1, 2)
            if name == "salient":
                pooled = F.adaptive_max_pool2d(channels_first, self.grid)
            elif name == "trend":
                pooled = F.adaptive_avg_pool2d(channels_first, self.grid)
            else:
                pooled = F.interpolate(channels_first, size=self.grid, mode="nearest")
            parts.append(pooled.flatten(2).transpose(1, 2))
        return torch.cat(parts, dim=1)

    def _heads(self, x: Tensor) -> Tensor:
        split: Tensor = x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        return split
