"""Numbers that an architecture gives about its own insides, image by image, and tables of them as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mtdense.data.sample import Batch
from mtdense.models.outputs import Outputs
from mtdense.tasks.colours import draw_scale

__all__ = ["Diagnosed", "Diagnosis", "draw_tables"]

Values = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]

_CELL, _GAP, _TITLE, _LINE = 56, 16, 18, 16
_INK = (30, 30, 30)


@dataclass(frozen=True)
class Diagnosis:
    """A quantity of each image of a batch, by task or by pair of tasks, tasks in the model's order.

    Args:
        about: What it is, in words.
        values: (B, T) or (B, T, T), NaN where an image has none.
    """

    about: str
    values: Tensor


@runtime_checkable
class Diagnosed(Protocol):
    """A `DenseModule` that has such numbers."""

    def diagnostics(self, batch: Batch, outputs: Outputs) -> Mapping[str, Diagnosis]:
        """The numbers of a batch, by name; `/` in a name makes groups, such as `task_distance/cosine/scale_3`."""
        ...


def draw_tables(tables: Mapping[str, Values], tasks: Sequence[str]) -> Picture:
    """Tables side by side on one scale from 0, dark is low, with the numbers in the cells.

    Args:
        tables: {title: (T, T)}; NaN is grey.
        tasks: Names of rows and columns.
    """
    highest = max((float(v) for table in tables.values() for v in table.flat if np.isfinite(v)), default=0.0)
    font = ImageFont.load_default(12)
    left = 8 + max(int(font.getlength(name)) for name in tasks)
    side = _CELL * len(tasks)
    width = left + len(tables) * (side + _GAP)
    sheet = Image.new("RGB", (width, _TITLE + side + _LINE), (255, 255, 255))
    pencil = ImageDraw.Draw(sheet)
    for row, name in enumerate(tasks):
        pencil.text((left - 4, _TITLE + (row + 0.5) * _CELL), name, fill=_INK, font=font, anchor="rm")
    for place, (title, table) in enumerate(tables.items()):
        start = left + place * (side + _GAP)
        pencil.text((start + side / 2, _TITLE / 2), title, fill=_INK, font=font, anchor="mm")
        sheet.paste(Image.fromarray(_draw_table(table, max(highest, 1e-12))), (start, _TITLE))
        for column, name in enumerate(tasks):
            text = name if font.getlength(name) <= _CELL else f"{name[:6]}…"
            middle = (start + (column + 0.5) * _CELL, _TITLE + side + _LINE / 2)
            pencil.text(middle, text, fill=_INK, font=font, anchor="mm")
    return np.asarray(sheet)


def _draw_table(table: Values, highest: float) -> Picture:
    known = np.isfinite(table)
    shares = np.where(known, table, 0) / highest
    grow = (_CELL, _CELL)
    cells = draw_scale(np.kron(shares, np.ones(grow)), np.kron(known, np.ones(grow)).astype(bool))
    image = Image.fromarray(cells)
    pencil = ImageDraw.Draw(image)
    font = ImageFont.load_default(12)
    for (row, column), value in np.ndenumerate(table):
        middle = (column * _CELL + _CELL / 2, row * _CELL + _CELL / 2)
        # Black on the bright half of the scale, white on the dark one.
        ink = (0, 0, 0) if shares[row, column] > 0.6 else (255, 255, 255)
        pencil.text(middle, f"{value:.3g}", fill=ink, font=font, anchor="mm")
    return np.asarray(image)
