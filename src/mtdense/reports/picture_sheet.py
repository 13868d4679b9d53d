"""One sheet for a photograph: the photograph and what the network says of it, side by side, with their legends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

__all__ = ["Panel", "picture_sheet", "shrunk"]

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

_WIDTH, _MARGIN, _GAP, _TITLE, _LINE, _ENTRIES = 400, 20, 14, 30, 20, 8
_BACKGROUND, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (110, 110, 110)


@dataclass(frozen=True)
class Panel:
    """A picture with its title and what its colours mean.

    Args:
        title: Name of the task, or "photograph".
        picture: (H, W, 3).
        legend: [(text, colour)].
    """

    title: str
    picture: Picture
    legend: Sequence[tuple[str, Colour]] = ()


def shrunk(picture: Picture, longest: int) -> Image.Image:
    """The picture with sides of at most so many pixels; averaged, never enlarged."""
    image = Image.fromarray(picture)
    scale = longest / max(image.size)
    if scale >= 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX)


def picture_sheet(panels: Sequence[Panel], name: str, path: Path) -> Path:
    """Draws the panels in rows of at most four and writes a PNG.

    Args:
        panels: The photograph first; all of one size.
        name: Written above.
        path: File to write, whose folder exists.

    Returns:
        `path`.
    """
    tiles = [_tile(panel.picture) for panel in panels]
    width, height = max(_WIDTH // 2, tiles[0].width), tiles[0].height
    columns = min(4, len(panels))
    lines = max((min(len(panel.legend), _ENTRIES) + 1) // 2 for panel in panels)
    step = _TITLE + height + 8 + lines * _LINE + _GAP
    rows = -(-len(panels) // columns)
    size = (2 * _MARGIN + columns * width + (columns - 1) * _GAP, 2 * _MARGIN + _TITLE + rows * step)
    sheet = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), _fit(draw, name, size[0] - 2 * _MARGIN, 18), fill=_INK, font=_font(18))
    for place, (panel, tile) in enumerate(zip(panels, tiles, strict=True)):
        left = _MARGIN + place % columns * (width + _GAP)
        top = _MARGIN + _TITLE + place // columns * step
        draw.text((left, top + 8), _fit(draw, panel.title, width, 15), fill=_INK, font=_font(15))
        sheet.paste(tile, (left, top + _TITLE))
        _legend(draw, panel.legend, left, top + _TITLE + height + 8, width)
    sheet.save(path, format="PNG", optimize=False)
    return path


def _tile(picture: Picture) -> Image.Image:
    """About `_WIDTH` wide, at most 1.5 times as high; small ones enlarged by whole factors."""
    longest = _WIDTH if picture.shape[1] * 1.5 >= picture.shape[0] else _WIDTH * 3 // 2
    image = shrunk(picture, longest)
    factor = max(1, longest // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _legend(draw: ImageDraw.ImageDraw, entries: Sequence[tuple[str, Colour]], left: int, top: int, width: int) -> None:
    """Two columns of colours with their names; what does not fit is counted."""
    shown: list[tuple[str, Colour | None]] = list(entries[:_ENTRIES])
    if len(entries) > _ENTRIES:
        shown = [*entries[: _ENTRIES - 1], (f"and {len(entries) - _ENTRIES + 1} more", None)]
    half = -(-len(shown) // 2)
    for place, (text, colour) in enumerate(shown):
        x, y = left + place // max(half, 1) * (width // 2), top + place % max(half, 1) * _LINE
        if colour is not None:
            draw.rectangle((x, y + 2, x + 13, y + 15), fill=colour, outline=_FAINT)
        draw.text((x + 20, y + 1), _fit(draw, text, width // 2 - 28, 13), fill=_FAINT, font=_font(13))


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _fit(draw: ImageDraw.ImageDraw, text: str, width: int, size: int) -> str:
    """The text on one line, its end cut off where it is too wide."""
    short = " ".join(text.split())
    while len(short) > 1 and draw.textlength(short, font=_font(size)) > width:
        short = short.rstrip("…")[:-1] + "…"
    return short
