"""Plain vision transformers: several depths of one stride-16 grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.backbones.base import Backbone, pad_to_multiple
from mtdense.backbones.timm_network import create_timm, statistics_of
from mtdense.backbones.weights import bare_names, fill_backbone
from mtdense.core.errors import CheckpointError, ConfigError

__all__ = ["VisionTransformer", "resize_position_embedding"]


def resize_position_embedding(
    embedding: Tensor, old: tuple[int, int], new: tuple[int, int], prefix: int = 1, antialias: bool = False
) -> Tensor:
    """A table of learned positions on another grid, bicubic, in float32.

    Args:
        embedding: (1, prefix + old tokens, channels).
        old: Rows and columns of the table.
        new: Rows and columns wanted.
        prefix: Leading entries that stand for no place (class token); kept as they are.
        antialias: False is what the papers' code does (timm 0.5: cubic coefficient -0.75); True is timm since 0.8
            (coefficient -0.5, low-pass when the grid shrinks). The two differ even when the grid grows.
    """
    if old == new:
        return embedding
    first, grid = embedding[:, :prefix], embedding[:, prefix:]
    grid = grid.float().reshape(1, *old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=new, mode="bicubic", align_corners=False, antialias=antialias)
    grid = grid.permute(0, 2, 3, 1).flatten(1, 2).to(embedding.dtype)
    return torch.cat([first, grid], dim=1)


class VisionTransformer(Backbone):
    """A timm `VisionTransformer`; its maps all have the stride of the patches.

    Images are padded with zeros to whole patches. Another size than `img_size` is allowed: the positions are then
    resized for it in each call. `embed`, `blocks` and `to_map` are there for architectures that work between blocks.

    Args:
        name: A timm name, with or without a tag.
        pretrained: Download timm's weights of this tag.
        img_size: Input (height, width) that the position table is made for; None is the size of the weights.
        out_blocks: Blocks, counted from 1, whose outputs are the maps; None is every quarter of the depth. Later blocks
            are removed.
        output_norm: The final LayerNorm acts on the last map, if that is the output of the last block (the other maps
            stay un-normed, as in InvPT and BridgeNet). False removes it.
        class_token: False runs without class token; its place in the position table goes with it.
        position_antialias: See `resize_position_embedding`.
        drop_path_rate: Rate of stochastic depth at the last block, rising linearly from 0.
        overrides: Further arguments of timm's constructor (`depth`, `embed_dim`, `num_heads`).

    Raises:
        ConfigError: timm knows no such option, `out_blocks` are not blocks, or the weights cannot be downloaded.
    """

    # timm's class, whose parts it types loosely.
    network: Any

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        img_size: tuple[int, int] | None = None,
        out_blocks: Sequence[int] | None = None,
        output_norm: bool = True,
        class_token: bool = True,
        position_antialias: bool = False,
        drop_path_rate: float | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        options: dict[str, Any] = {"num_classes": 0, "dynamic_img_size": True}
        if img_size is not None:
            options["img_size"] = img_size
        if drop_path_rate is not None:
            options["drop_path_rate"] = drop_path_rate
        if not class_token:
            options |= {"class_token": False, "global_pool": ""}
        options |= overrides or {}
        if img_size is not None:
            # timm rounds the grid down; a padded image needs it rounded up.
            patch = int(options.get("patch_size", 0)) or _patch_size(name)
            options["img_size"] = tuple(math.ceil(side / patch) * patch for side in img_size)
        network = create_timm(name, False, options)
        taps = _check_taps(out_blocks, len(network.blocks))
        keep_norm = output_norm and taps[-1] == len(network.blocks)
        network.prune_intermediate_layers([taps[-1] - 1], prune_norm=not keep_norm, prune_head=True)
        patch_size = network.patch_embed.patch_size
        mean, std = statistics_of(name)
        super().__init__([network.embed_dim] * len(taps), [max(patch_size)] * len(taps), mean, std)
        self.network = network
        self.out_blocks = taps
        self.grid = (int(network.patch_embed.grid_size[0]), int(network.patch_embed.grid_size[1]))
        self.patch_size = (int(patch_size[0]), int(patch_size[1]))
        self.position_antialias = position_antialias
        if pretrained:
            # At its own size: what timm would do to the positions at ours is not what the papers' code does.
            source = create_timm(name, True, {"num_classes": 0, **(overrides or {})})
            fill_backbone(self, bare_names(source.state_dict()), name)

    @property
    def blocks(self) -> nn.Sequential:
        """The transformer blocks up to the last map: tokens (B, L, C) to tokens."""
        blocks: nn.Sequential = self.network.blocks
        return blocks

    @property
    def prefix_tokens(self) -> int:
        """Tokens before the image's: class token and registers."""
        return int(self.network.num_prefix_tokens)

    def embed(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Normalised images (B, 3, H, W) to tokens with positions (B, prefix + h * w, C) and the grid (h, w)."""
        net = self.network
        patches = net.patch_embed(pad_to_multiple(image, self.patch_size))
        grid = (int(patches.shape[1]), int(patches.shape[2]))
        tokens = patches.flatten(1, 2)
        first = [token.expand(tokens.shape[0], -1, -1) for token in (net.cls_token, net.reg_token) if token is not None]
        position = net.pos_embed
        if position is not None:
            covered = 0 if net.no_embed_class else self.prefix_tokens
            position = resize_position_embedding(position, self.grid, grid, covered, self.position_antialias)
            if net.no_embed_class:
                tokens = torch.cat([*first, tokens + position], dim=1)
            else:
                tokens = torch.cat([*first, tokens], dim=1) + position
        elif first:
            tokens = torch.cat([*first, tokens], dim=1)
        return net.norm_pre(net.pos_drop(tokens)), grid

    def run_block(self, index: int, tokens: Tensor) -> Tensor:
        """Block `index` (counted from 0), recomputed in the backward pass if `checkpointing`."""
        out: Tensor = self.run_part(self.blocks[index], tokens)
        return out

    def to_map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens (B, prefix + h * w, C) to a map (B, C, h, w)."""
        laid: Tensor = tokens[:, self.prefix_tokens :].transpose(1, 2).unflatten(2, grid)
        return laid

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) to one map (B, C, ceil(H / 16), ceil(W / 16)) for each of `out_blocks`."""
        tokens, grid = self.embed(image)
        maps: list[Tensor] = []
        last = self.out_blocks[-1]
        for number in range(1, last + 1):
            tokens = self.run_block(number - 1, tokens)
            if number in self.out_blocks:
                maps.append(self.to_map(self.network.norm(tokens) if number == last else tokens, grid))
        return maps

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Names of timm; positions resized to `img_size`, parts that this backbone has removed left out."""
        own = self.state_dict()
        ours = any(key.startswith("network.") for key in state)
        named = {key if ours else "network." + key: value for key, value in state.items()}
        named = {key: value for key, value in named.items() if key in own or not self._removed(key)}
        key = "network.pos_embed"
        if key in own and key in named:
            named[key] = self._fit_positions(named[key], ours)
        return named

    def _removed(self, key: str) -> bool:
        if key.startswith("network.blocks."):
            return int(key.split(".")[2]) >= self.out_blocks[-1]
        return key.startswith(("network.norm.", "network.cls_token"))

    def _fit_positions(self, table: Tensor, ours: bool) -> Tensor:
        """A table for this grid, with this many leading entries, from one for this grid or for square images."""
        prefix = 0 if self.network.no_embed_class else self.prefix_tokens
        wanted = self.grid[0] * self.grid[1]
        for leading in dict.fromkeys((prefix, 1)):
            places = table.shape[1] - leading
            side = math.isqrt(max(0, places))
            # 24 x 24 and 16 x 36 have as many places: a published table is square, one saved here is for this grid.
            square = side * side == places and not (ours and places == wanted)
            if leading >= prefix and (square or places == wanted):
                old = (side, side) if square else self.grid
                table = table[:, leading - prefix :]
                return resize_position_embedding(table, old, self.grid, prefix, self.position_antialias)
        raise CheckpointError(
            f"the position table has {table.shape[1]} entries: neither {wanted + prefix}, nor those of a square image",
            f"give weights made for {self.grid[0]} x {self.grid[1]} patches or for square images.",
        )


def _patch_size(name: str) -> int:
    # The name says it (`vit_base_patch16_384`); a network on no device costs nothing where it does not.
    with torch.device("meta"):
        return int(max(create_timm(name, False, {"num_classes": 0}).patch_embed.patch_size))


def _check_taps(out_blocks: Sequence[int] | None, depth: int) -> tuple[int, ...]:
    taps = (
        tuple(out_blocks) if out_blocks is not None else tuple(sorted({max(1, depth * k // 4) for k in (1, 2, 3, 4)}))
    )
    if not taps or list(taps) != sorted(set(taps)) or taps[0] < 1 or taps[-1] > depth:
        raise ConfigError(
            f"out_blocks {list(taps)} are not increasing numbers of the {depth} blocks", f"count from 1 to {depth}."
        )
    return taps
