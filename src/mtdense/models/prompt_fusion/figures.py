"""Pictures of what prompts see and of what their fusion reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mtdense.models.prompt_fusion.fusion import FusionView
from mtdense.tasks.colours import draw_scale

__all__ = ["draw_fusions", "draw_places"]

Picture = npt.NDArray[np.uint8]

_HEIGHT, _GAP, _LINE = 80, 6, 16
_INK = (30, 30, 30)


def draw_places(scores: Sequence[Tensor], tasks: Sequence[str]) -> Picture:
    """A row per level and a column per task: mean scores of places, each map from its lowest to its highest.

    Args:
        scores: (heads, P, h, w) of each level; the prompts of a task side by side.
        tasks: Names, in the order of the prompts.
    """
    rows = [
        (f"level {number}", [(_draw(x.mean(0)), "") for x in level.float().mean(0).chunk(len(tasks))])
        for number, level in enumerate(scores, start=1)
    ]
    return _table(rows, tasks)


def draw_fusions(image: Tensor, views: Mapping[str, FusionView], tasks: Sequence[str]) -> Picture:
    """Fusions below each other, a column per branch: what is read, and where each task's prompt looks.

    Below a map of attention stand the share of the attention that goes to prompts, and the prompt's weight of the
    branch.

    Args:
        image: (3, H, W) in [0, 1].
        views: {where: what that fusion reads}.
        tasks: Names, in the order of the prompts.
    """
    rows: list[tuple[str, list[tuple[Picture, str]]]] = []
    for where, view in views.items():
        branches = list(view.read)
        rows.append((f"{where}: read", [(_draw(x.norm(dim=0)), "") for x in view.read.values()]))
        # Several prompts of a task: their mean.
        maps = {name: x.unflatten(0, (len(tasks), -1)).mean(1) for name, x in view.attention.items()}
        shares = {name: x.unflatten(0, (len(tasks), -1)).mean(1) for name, x in view.on_prompts.items()}
        weights = view.weights.unflatten(0, (len(tasks), -1)).mean(1)
        for i, task in enumerate(tasks):
            told = [
                f"prompts {shares[name][i].item():.0%}, weight {weights[i, place].item():.2f}"
                for place, name in enumerate(branches)
            ]
            rows.append((task, [(_draw(maps[name][i]), text) for name, text in zip(branches, told, strict=True)]))
    shown = (image.detach().float().cpu().permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    first = Image.fromarray(shown).resize(_size(image.shape[-2:]), Image.Resampling.BILINEAR)
    return _table([("image", [(np.asarray(first), "")]), *rows], list(next(iter(views.values())).read))


def _table(rows: Sequence[tuple[str, Sequence[tuple[Picture, str]]]], columns: Sequence[str]) -> Picture:
    """Rows of pictures with their names to the left, what heads the columns above, and what is told below a picture."""
    font = ImageFont.load_default(12)
    left = 2 * _GAP + max(int(font.getlength(name)) for name, _ in rows)
    side = max([picture.shape[1] for _, cells in rows for picture, _ in cells])
    side = max([side, *(int(font.getlength(text)) for _, cells in rows for _, text in cells)]) + _GAP
    heights = [_HEIGHT + (_LINE if any(text for _, text in cells) else 0) + _GAP for _, cells in rows]
    sheet = Image.new("RGB", (left + side * len(columns), _LINE + sum(heights)), (255, 255, 255))
    pencil = ImageDraw.Draw(sheet)
    for place, name in enumerate(columns):
        pencil.text((left + place * side, _LINE / 2), name, fill=_INK, font=font, anchor="lm")
    top = _LINE
    for (name, cells), height in zip(rows, heights, strict=True):
        pencil.text((left - _GAP, top + _HEIGHT / 2), name, fill=_INK, font=font, anchor="rm")
        for place, (picture, text) in enumerate(cells):
            sheet.paste(Image.fromarray(picture), (left + place * side, top))
            pencil.text((left + place * side, top + _HEIGHT + _LINE / 2), text, fill=_INK, font=font, anchor="lm")
        top += height
    return np.asarray(sheet)


def _draw(values: Tensor) -> Picture:
    """A map (h, w) from its lowest value, dark, to its highest, bright, enlarged to one height."""
    values = values.detach().float().cpu()
    low, high = values.min(), values.max()
    scaled = (values - low) / (high - low).clamp_min(1e-12)
    width, height = _size(scaled.shape)
    grown = F.interpolate(scaled[None, None], size=(height, width), mode="nearest")[0, 0].numpy()
    return draw_scale(grown, np.ones(grown.shape, dtype=bool))


def _size(shape: Sequence[int]) -> tuple[int, int]:
    """Width and height at the height of all pictures."""
    return max(1, round(_HEIGHT * shape[-1] / shape[-2])), _HEIGHT
