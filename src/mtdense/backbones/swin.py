"""Swin Transformers with the window rule of the public segmentation code, for images of any size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import window_partition, window_reverse
from torch import Tensor, nn

from mtdense.backbones.base import Backbone, pad_to_multiple
from mtdense.backbones.timm_network import create_timm, statistics_of
from mtdense.backbones.weights import bare_names, fill_backbone

__all__ = ["Swin", "cut_windows", "join_windows", "shift_mask"]

# Names of mmsegmentation's Swin (and DeMT's, TIF's) beside timm's; patterns are tried in turn on the whole name.
_PUBLIC_NAMES = (
    (r"patch_embed\.projection\.(.*)", r"network.patch_embed.proj.\1"),
    (r"stages\.(\d+)\.blocks\.(\d+)\.attn\.w_msa\.(.*)", r"network.layers.\1.blocks.\2.attn.\3"),
    (r"stages\.(\d+)\.blocks\.(\d+)\.ffn\.layers\.0\.0\.(.*)", r"network.layers.\1.blocks.\2.mlp.fc1.\3"),
    (r"stages\.(\d+)\.blocks\.(\d+)\.ffn\.layers\.1\.(.*)", r"network.layers.\1.blocks.\2.mlp.fc2.\3"),
    (r"stages\.(\d+)\.blocks\.(\d+)\.(norm\d\..*)", r"network.layers.\1.blocks.\2.\3"),
    (r"norm(\d)\.(weight|bias)", r"norms.\1.\2"),
)
_BUFFERS = ("relative_position_index", "attn_mask")


class Swin(Backbone):
    """A timm Swin Transformer (v1) run as the public segmentation code runs it.

    Images are padded to whole patches; each stage's map is padded to whole windows before it is shifted (timm shifts
    first, so that windows at the border mix places that its mask does not know of); windows never shrink; an odd map is
    padded before it is halved. 425 x 560 gives 107 x 140, 54 x 70, 27 x 35 and 14 x 18. All padding is below and right.

    Args:
        name: A timm name, with or without a tag.
        pretrained: Download timm's weights of this tag.
        output_norm: A LayerNorm of its own on each map (the public segmentation code). Weights of a classifier have
            none, and leave them at their initial values. `last` is the classifier's own LayerNorm on the last map only.
        drop_path_rate: Rate of stochastic depth at the last block, rising linearly from 0.
        overrides: Further arguments of timm's constructor (`depths`, `embed_dim`, `num_heads`).

    Raises:
        ConfigError: timm knows no such option, or the weights cannot be downloaded.
    """

    optional_weights = ("norms.",)
    # timm's class, whose parts it types loosely.
    network: Any

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        output_norm: bool | Literal["last"] = True,
        drop_path_rate: float | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        options: dict[str, Any] = {"num_classes": 0, "always_partition": True, "dynamic_img_size": True}
        if drop_path_rate is not None:
            options["drop_path_rate"] = drop_path_rate
        network = create_timm(name, False, {**options, **(overrides or {})})
        if output_norm != "last":
            network.norm = nn.Identity()
        channels = [int(info["num_chs"]) for info in network.feature_info]
        strides = [int(info["reduction"]) for info in network.feature_info]
        super().__init__(channels, strides, *statistics_of(name))
        self.network = network
        own_norms = output_norm is True
        self.norms = nn.ModuleList(nn.LayerNorm(width) if own_norms else nn.Identity() for width in channels)
        self.patch_size = (int(network.patch_embed.patch_size[0]), int(network.patch_embed.patch_size[1]))
        if pretrained:
            source = create_timm(name, True, {"num_classes": 0, **(overrides or {})})
            fill_backbone(self, bare_names(source.state_dict()), name)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) to one map per stage, at strides 4, 8, 16 and 32."""
        x: Tensor = self.network.patch_embed(pad_to_multiple(image, self.patch_size))
        maps: list[Tensor] = []
        for stage, norm in zip(self.network.layers, self.norms, strict=True):
            x = stage.downsample(x)
            mask = shift_mask(stage.blocks, x)
            for block in stage.blocks:
                x = self.run_part(_run_block, block, x, mask)
            last = len(maps) == len(self.norms) - 1
            maps.append(norm(self.network.norm(x) if last else x).permute(0, 3, 1, 2))
        return maps

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Names of timm, of the original Swin code, or mmsegmentation."""
        if any(key.startswith("network.") for key in state):
            return dict(state)
        own = self.state_dict()
        kept = {key: value for key, value in state.items() if not key.endswith(_BUFFERS)}
        if any(key.startswith("stages.") for key in kept):
            return dict(_from_public(key, value) for key, value in kept.items())
        # The original halves at the end of a stage, timm at the beginning of the next.
        original = "layers.0.downsample.reduction.weight" in kept
        named: dict[str, Tensor] = {}
        for key, value in kept.items():
            found = re.fullmatch(r"layers\.(\d+)\.downsample\.(.*)", key) if original else None
            norm = re.fullmatch(r"norm(\d)\.(.*)", key)
            if found:
                named[f"network.layers.{int(found[1]) + 1}.downsample.{found[2]}"] = value
            elif norm:
                named[f"norms.{norm[1]}.{norm[2]}"] = value
            elif not key.startswith("norm.") or "network." + key in own:
                named["network." + key] = value
        return named


def cut_windows(block: Any, x: Tensor) -> Tensor:
    """A map (B, H, W, C), padded and shifted as a block of a Swin wants it, in windows (B * number, positions, C)."""
    rows, columns = block.window_size
    down, right = block.shift_size
    x = F.pad(x, (0, 0, 0, -x.shape[2] % columns, 0, -x.shape[1] % rows))
    if down or right:
        x = torch.roll(x, (-down, -right), (1, 2))
    windows: Tensor = window_partition(x, (rows, columns)).flatten(1, 2)
    return windows


def join_windows(block: Any, windows: Tensor, size: tuple[int, int]) -> Tensor:
    """What `cut_windows` has cut of a map of this height and width, put together again."""
    (rows, columns), (down, right), (height, width) = block.window_size, block.shift_size, size
    padded = height + -height % rows, width + -width % columns
    x: Tensor = window_reverse(windows.unflatten(1, (rows, columns)), (rows, columns), *padded)
    if down or right:
        x = torch.roll(x, (down, right), (1, 2))
    return x[:, :height, :width]


def _run_block(block: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    """One block on (B, H, W, C)."""
    windows = block.attn(cut_windows(block, block.norm1(x)), mask if any(block.shift_size) else None)
    x = x + block.drop_path1(join_windows(block, windows, (x.shape[1], x.shape[2])))
    out: Tensor = x + block.drop_path2(block.mlp(block.norm2(x)))
    return out


def shift_mask(blocks: nn.Sequential, x: Tensor) -> Tensor | None:
    """What the shifted blocks of a stage add to their scores: -100 between places that the shift brought together."""
    every: list[Any] = list(blocks)
    shifted = next((block for block in every if any(block.shift_size)), None)
    if shifted is None:
        return None
    rows, columns = shifted.window_size
    # Only the shape counts.
    like = F.pad(x[:1, :, :, :1], (0, 0, 0, -x.shape[2] % columns, 0, -x.shape[1] % rows))
    mask: Tensor = shifted.get_attn_mask(like)
    return mask


def _from_public(key: str, value: Tensor) -> tuple[str, Tensor]:
    merging = re.fullmatch(r"stages\.(\d+)\.downsample\.(norm|reduction)\.(weight|bias)", key)
    if merging:
        # There the four neighbours of a channel lie together, row by row; here the channels of a neighbour, column
        # by column.
        channels = value.shape[-1] // 4
        value = value.unflatten(-1, (channels, 2, 2)).transpose(-2, -1).movedim(-3, -1).flatten(-3)
        return f"network.layers.{int(merging[1]) + 1}.downsample.{merging[2]}.{merging[3]}", value
    for pattern, name in _PUBLIC_NAMES:
        if re.fullmatch(pattern, key):
            return re.sub(pattern, name, key), value
    return "network." + key, value
