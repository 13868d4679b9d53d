"""Pictures that a page carries inside it, of bounded size."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mtdense.core.errors import DataError
from mtdense.data.io import read_image
from mtdense.reports.paper_tables.shown import ShownBlock

__all__ = ["SHEET", "Picture", "embedded", "run_sheets"]

SHEET = "contact_sheet.png"
"""Name of the contact sheet in a run's folder."""

_WIDEST, _LARGEST = 1800, 700_000


@dataclass(frozen=True)
class Picture:
    """A picture of a page.

    Args:
        caption: What it shows.
        alt: The same for those who do not see it.
        data: As a data URI.
        width: In pixels.
        height: In pixels.
    """

    caption: str
    alt: str
    data: str
    width: int
    height: int


def embedded(path: Path, caption: str, alt: str) -> Picture:
    """A picture's file as a data URI of at most 700 kB or so, at most 1800 pixels wide.

    Raises:
        DataError: It is no picture, or cannot be read.
    """
    image = Image.fromarray(read_image(path))
    if image.width > _WIDEST:
        image = image.resize((_WIDEST, max(1, round(image.height * _WIDEST / image.width))), Image.Resampling.LANCZOS)
    quality = 88
    while True:
        file = io.BytesIO()
        image.save(file, format="JPEG", quality=quality, optimize=True)
        if file.tell() <= _LARGEST or quality <= 40:
            break
        quality -= 12
    while file.tell() > _LARGEST and image.width > 2:
        image = image.resize((max(1, image.width * 2 // 3), max(1, image.height * 2 // 3)), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        image.save(file, format="JPEG", quality=quality, optimize=True)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return Picture(caption, alt, f"data:image/jpeg;base64,{data}", image.width, image.height)


def run_sheets(block: ShownBlock) -> tuple[list[Picture], list[str]]:
    """The contact sheets that lie in the folders of a block's runs, of each row the first seed's.

    Returns:
        Pictures, and notes on those that could not be read.
    """
    pictures, notes = [], []
    for row in block.rows:
        for source in row.sources:
            path = source.run.folder / SHEET
            if source.run.seed != row.sources[0].run.seed or not path.is_file():
                continue
            what = f"{row.row.label}{f', {source.run.task}' if source.run.task else ''}, seed {source.run.seed}"
            try:
                pictures.append(embedded(path, what, f"Test images, targets and predictions of {what}"))
            except DataError as error:
                notes.append(f"No contact sheet of {what}: {error.problem}.")
    return pictures, notes
