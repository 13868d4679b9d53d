"""Contact sheets: images with targets and predictions of all tasks side by side, as one picture."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from mtdense.core.errors import ConfigError
from mtdense.data.sample import Batch
from mtdense.reports.access import canvas_of, part_of, picture_of
from mtdense.tasks.label_kind import ArrayAny, LabelKind

__all__ = ["UNLABELLED_GREY", "ContactRow", "contact_sheet", "rows_from_batch"]

Picture = npt.NDArray[np.uint8]

UNLABELLED_GREY = 128
"""Grey level of the tile of a label that does not exist."""
_MARGIN, _GAP, _TASK_GAP, _HEADER, _CAPTION = 12, 4, 16, 46, 18
_BACKGROUND, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (120, 120, 120)
# Small images are enlarged by whole factors until a tile is about this high, larger ones shrunk to twice of it.
_TILE_HEIGHT = 176
_STRUCK, _FADED, _RULING = (190, 40, 40), 0.35, 20


@dataclass
class ContactRow:
    """One image of a contact sheet.

    Args:
        image: (H, W, 3) uint8 RGB.
        targets: {task: label, such as (H, W) or (H, W, 3)}; tasks left out are drawn as unlabelled.
        predictions: {task: prediction of the same layout}.
        id: Written below the image.
        withheld: Tasks whose targets a label mask leaves out: drawn faded and struck through.
        peers: {network: its predictions}: of further networks, whose names head columns of their own.
    """

    image: Picture
    targets: Mapping[str, ArrayAny] = field(default_factory=dict)
    predictions: Mapping[str, ArrayAny] = field(default_factory=dict)
    id: str = ""
    withheld: Collection[str] = ()
    peers: Mapping[str, Mapping[str, ArrayAny]] = field(default_factory=dict)


def rows_from_batch(
    batch: Batch,
    predictions: Mapping[str, Any],
    limit: int | None = None,
    peers: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[ContactRow]:
    """Rows for the images of a batch, padding cut off.

    Targets of another size than the images, such as those of a protocol that scores at its own, are left out.

    Args:
        batch: Images, targets and which of them are labelled.
        predictions: {task: (B, H, W), (B, 3, H, W) or a list} on the same canvas, as `Task.predict_batch` gives them.
        limit: Take only the first images of the batch.
        peers: {network: its predictions, likewise}.
    """
    count = batch["image"].shape[0] if limit is None else min(limit, batch["image"].shape[0])
    rows = []
    for i in range(count):
        content = [int(v) for v in batch["meta"]["content"][i]]
        image = picture_of(batch["image"], i)
        targets = {
            name: part_of(target[i], content)
            for name, target in batch["targets"].items()
            if batch["labelled"][name][i] and canvas_of(target[i]) == image.shape[:2]
        }
        drawn = _parts(predictions, i, content)
        others = {name: _parts(of, i, content) for name, of in (peers or {}).items()}
        top, left, height, width = content
        shown = image[top : top + height, left : left + width]
        rows.append(ContactRow(shown, targets, drawn, batch["id"][i], peers=others))
    return rows


def _parts(predictions: Mapping[str, Any], place: int, content: Sequence[int]) -> dict[str, ArrayAny]:
    return {name: part_of(prediction[place], content) for name, prediction in predictions.items()}


def contact_sheet(rows: Sequence[ContactRow], tasks: Mapping[str, LabelKind], path: Path) -> Path:
    """Draws one line per image: the image, then of each task target, prediction and those of further networks.

    A task's target and predictions share one colour scale. Columns that no row fills are left out, so rows without
    any labels give image and predictions only; a single missing label is a grey tile.

    Args:
        rows: Images with labels and predictions.
        tasks: {name: task} in the order of the columns.
        path: PNG file to write; its folder is made.

    Returns:
        `path`.

    Raises:
        ConfigError: No rows, or a prediction and its target differ in size.
    """
    if not rows:
        raise ConfigError(f"the contact sheet {path} has no images", "give at least one row.")
    columns = _columns(rows, tasks)
    tiles = [_tiles(row, columns, tasks) for row in rows]
    width = max(tile.shape[1] for line in tiles for tile in line)
    sheet, places, tops = _canvas(columns, tiles, width)
    draw = ImageDraw.Draw(sheet)
    _headers(draw, columns, places, width)
    for row, line, top in zip(rows, tiles, tops, strict=True):
        for (name, part), tile, left in zip(columns, line, places, strict=True):
            sheet.paste(Image.fromarray(tile), (left, top))
            centre = (left + tile.shape[1] // 2, top + tile.shape[0] // 2)
            if part == "target" and _is_blank(tile):
                draw.text(centre, "no label", fill=(200, 200, 200), font=_font(11), anchor="mm")
            elif part == "target" and name in row.withheld:
                draw.text(
                    centre, "masked", fill=_STRUCK, font=_font(14), anchor="mm", stroke_width=3, stroke_fill=_BACKGROUND
                )
        bottom = top + max(tile.shape[0] for tile in line)
        draw.text((places[0], bottom + 2), _fit(draw, row.id, width), fill=_FAINT, font=_font(11))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, format="PNG")
    return path


_Column = tuple[str, str]


def _columns(rows: Sequence[ContactRow], tasks: Mapping[str, LabelKind]) -> list[_Column]:
    """(task, "target", "prediction" or a network) of each column after the image's, which is ("", "image")."""
    columns: list[_Column] = [("", "image")]
    for name in tasks:
        if any(name in row.targets for row in rows):
            columns.append((name, "target"))
        if any(name in row.predictions for row in rows):
            columns.append((name, "prediction"))
        peers = dict.fromkeys(peer for row in rows for peer, drawn in row.peers.items() if name in drawn)
        columns += [(name, peer) for peer in peers]
    return columns


def _tiles(row: ContactRow, columns: Sequence[_Column], tasks: Mapping[str, LabelKind]) -> list[Picture]:
    height, width = row.image.shape[:2]
    pictures: dict[_Column, Picture] = {("", "image"): row.image}
    for name, task in tasks.items():
        pictures.update({(name, part): picture for part, picture in _draw_pair(row, name, task).items()})
    blank = np.full((height, width, 3), UNLABELLED_GREY, np.uint8)
    tiles = [_scale(pictures.get(column, blank), height) for column in columns]
    struck = [part == "target" and name in row.withheld and name in row.targets for name, part in columns]
    return [_strike(tile) if out else tile for tile, out in zip(tiles, struck, strict=True)]


def _strike(picture: Picture) -> Picture:
    """Fades a picture and rules it with slanting lines."""
    faded = 255 - ((255 - picture.astype(np.float32)) * _FADED).round().astype(np.uint8)
    rows, columns = np.indices(picture.shape[:2])
    faded[(rows + columns) % _RULING < 2] = _STRUCK
    return faded


def _draw_pair(row: ContactRow, name: str, task: LabelKind) -> dict[str, Picture]:
    target = row.targets.get(name)
    given = {"prediction": row.predictions.get(name), **{peer: drawn.get(name) for peer, drawn in row.peers.items()}}
    for prediction in given.values():
        if target is None or prediction is None:
            continue
        sizes = task.label_size(target), task.label_size(prediction)
        if sizes[0] != sizes[1]:
            raise ConfigError(
                f"{row.id or 'image'}: {name} has a target of size {sizes[0]}, a prediction of {sizes[1]}",
                "bring the prediction to the target's grid first.",
            )
    like = target
    if like is None and row.peers:
        like = next((values for values in given.values() if values is not None), None)
    given["target"] = target
    return {part: task.draw_over(row.image, values, like=like) for part, values in given.items() if values is not None}


def _scale(picture: Picture, height: int) -> Picture:
    """Enlarges by a whole factor (pixels stay squares) or shrinks by one (averaging)."""
    factor = round(_TILE_HEIGHT / height)
    if factor > 1:
        return np.ascontiguousarray(picture.repeat(factor, axis=0).repeat(factor, axis=1))
    shrink = height // (2 * _TILE_HEIGHT)
    if shrink > 1:
        return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).reduce(shrink))
    return np.ascontiguousarray(picture)


def _is_blank(tile: Picture) -> bool:
    return bool((tile == UNLABELLED_GREY).all())


def _canvas(
    columns: Sequence[_Column], tiles: Sequence[Sequence[Picture]], width: int
) -> tuple[Image.Image, list[int], list[int]]:
    """Empty sheet, the left edge of each column and the top of each row."""
    places, left, previous = [], _MARGIN, ""
    for name, _ in columns:
        left += _TASK_GAP - _GAP if name != previous else 0
        places.append(left)
        left, previous = left + width + _GAP, name
    tops, top = [], _HEADER
    for line in tiles:
        tops.append(top)
        top += max(tile.shape[0] for tile in line) + _CAPTION
    return Image.new("RGB", (left - _GAP + _MARGIN, top + _MARGIN // 2), _BACKGROUND), places, tops


def _headers(draw: ImageDraw.ImageDraw, columns: Sequence[_Column], places: Sequence[int], width: int) -> None:
    """Task names over their columns, underlined, and what each column shows."""
    for name in dict.fromkeys(name for name, _ in columns):
        lefts = [left for (task, _), left in zip(columns, places, strict=True) if task == name]
        right = lefts[-1] + width
        if name:
            centre = (lefts[0] + right) // 2
            draw.text((centre, 14), _fit(draw, name, right - lefts[0], 14), fill=_INK, font=_font(14), anchor="mm")
            draw.line([(lefts[0], 25), (right - 1, 25)], fill=(200, 200, 200))
    for (_, part), left in zip(columns, places, strict=True):
        draw.text((left + width // 2, 35), _fit(draw, part, width), fill=_FAINT, font=_font(11), anchor="mm")


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own font: nothing to install, the same on every machine."""
    return ImageFont.load_default(size)


def _fit(draw: ImageDraw.ImageDraw, text: str, width: int, size: int = 11) -> str:
    """Shortens a text from the left (ids differ at their end) until it is at most `width` pixels wide."""
    short = text
    while len(short) > 2 and draw.textlength(short, font=_font(size)) > width:
        short = "…" + short.lstrip("…")[1:]
    return short
