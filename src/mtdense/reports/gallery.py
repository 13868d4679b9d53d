"""A page that lays predictions over photographs: works from a folder, offline, by mouse, touch and keyboard."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from mtdense.core.words import counted
from mtdense.reports.canonical import write_atomic
from mtdense.reports.gallery_page import SCRIPT, SCRIPT_HASH, STYLE
from mtdense.reports.picture_sheet import Panel, shrunk
from mtdense.reports.prediction_files import safe_path

__all__ = ["Gallery"]

_QUALITY = 88
_WIDE = 2.2
"""Aspect from which a picture gets a line of its own."""


@dataclass
class _Card:
    """A picture's place on the page: addresses relative to it, or the pictures themselves."""

    id: str
    size: tuple[int, int]
    photo: str
    maps: dict[str, str]
    panels: list[Panel]
    files: dict[str, str] = field(default_factory=dict)


class Gallery:
    """Collects pictures and writes OUT/index.html.

    Every string that comes from outside is escaped, and the page's policy admits its own script only. Photographs lie
    under OUT/gallery, scaled down; in a self-contained page they are part of it.

    Args:
        out: Folder of the page.
        tasks: Names of the tasks, in order.
        about: A line below the heading.
        longest: Longest side of the pictures shown.
        self_contained: Put the pictures into the page.
    """

    def __init__(
        self, out: Path, tasks: Sequence[str], about: str, longest: int = 1280, self_contained: bool = False
    ) -> None:
        self.out = out
        self.tasks = list(tasks)
        self.about = about
        self.longest = longest
        self.self_contained = self_contained
        self._cards: list[_Card] = []
        self._videos: dict[str, dict[str, Path]] = {}

    def add(self, id: str, photo: Panel, maps: Sequence[Panel], files: dict[str, Path]) -> None:
        """Adds a picture.

        Args:
            id: Its name.
            photo: The photograph.
            maps: Of each task, titled by its name.
            files: {what: file below `out`} to link to.
        """
        height, width = photo.picture.shape[:2]
        shown = {panel.title: self._place(id, panel) for panel in maps}
        links = {what: self._address(path) for what, path in files.items()}
        plain = [Panel(panel.title, panel.picture[:0].copy(), panel.legend) for panel in maps]  # no pixels are kept
        self._cards.append(_Card(id, (height, width), self._place(id, photo), shown, plain, links))

    def add_videos(self, id: str, files: dict[str, Path]) -> None:
        """Adds the videos {task: file} of a source."""
        self._videos[id] = dict(files)

    def write(self) -> Path:
        """Writes the page."""
        page = self.out / "index.html"
        write_atomic(page, self._page())
        return page

    def _place(self, id: str, panel: Panel) -> str:
        image = shrunk(panel.picture, self.longest)
        if self.self_contained:
            return _data_address(image)
        path = safe_path(self.out, f"gallery/{id}", f".{panel.title}.webp")
        image.save(path, format="WEBP", quality=_QUALITY)
        return self._address(path)

    def _address(self, path: Path) -> str:
        return quote(path.relative_to(self.out).as_posix())

    def _page(self) -> str:
        policy = (
            f"default-src 'none'; img-src 'self' file: data:; media-src 'self' file:; "
            f"style-src 'unsafe-inline'; script-src '{SCRIPT_HASH}'"
        )
        cards = "\n".join([*(self._card(i, card) for i, card in enumerate(self._cards)), *self._video_cards()])
        everywhere = "\n".join(
            f'<button type="button" data-all="{escape(task)}">{escape(_title(task))}</button>' for task in self.tasks
        )
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>Predictions: {counted(len(self._cards), "picture")}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>Predictions</h1>
<p>{escape(self.about)}</p>
<noscript><p>The sliders need JavaScript; the files of each picture are linked below it all the same.</p></noscript>
</header>
<main>
<div class="all" style="grid-column: 1 / -1">
<fieldset><legend>All pictures</legend>
{everywhere}
<button type="button" data-cut="100">photograph</button>
<button type="button" data-cut="50">half and half</button>
<button type="button" data-cut="0">prediction</button>
</fieldset>
</div>
{cards}
</main>
<footer>Drag over a picture, or use the arrow keys on it, to move between photograph and prediction.</footer>
<script>{SCRIPT}</script>
</body>
</html>
"""

    def _card(self, number: int, card: _Card) -> str:
        name = escape(card.id)
        height, width = card.size
        maps, choices, keys = [], [], []
        for place, panel in enumerate(card.panels):
            task, title = escape(panel.title), escape(_title(panel.title))
            hidden = "" if place == 0 else " hidden"
            maps.append(
                f'<img class="map" data-task="{task}" src="{escape(card.maps[panel.title])}" loading="lazy" '
                f'alt="{title} of {name}{escape(_said(panel))}" decoding="async" draggable="false"{hidden}>'
            )
            checked = " checked" if place == 0 else ""
            choices.append(
                f'<label class="choice"><input type="radio" name="task{number}" value="{task}"{checked}>'
                f"<span>{title}</span></label>"
            )
            entries = "".join(
                f'<li><i style="background: rgb({r} {g} {b})"></i>{escape(text)}</li>'
                for text, (r, g, b) in panel.legend[:24]
            )
            keys.append(f'<ul class="key" data-task="{task}" aria-label="colours of {title}"{hidden}>{entries}</ul>')
        links = " ".join(f'<a href="{escape(address)}">{escape(what)}</a>' for what, address in card.files.items())
        wide = ' class="wide"' if width > _WIDE * height else ""
        return f"""<article aria-labelledby="name{number}"{wide}>
<h2 id="name{number}">{name} <small>{width} × {height}</small></h2>
<div class="stage" style="aspect-ratio: {width} / {height}">
<img class="photo" src="{escape(card.photo)}" alt="photograph {name}" loading="lazy" decoding="async" draggable="false">
{chr(10).join(maps)}
<div class="bar"></div>
<input type="range" min="0" max="100" value="50" aria-label="Percent of {name} that show the photograph">
</div>
<div class="below">
<fieldset><legend hidden>Prediction shown</legend>{"".join(choices)}</fieldset>
{"".join(keys)}
<p class="files">Files: {links}</p>
</div>
</article>"""

    def _video_cards(self) -> list[str]:
        cards = []
        for id, files in self._videos.items():
            for task, path in files.items():
                title = escape(f"{_title(task)} of {id}")
                cards.append(
                    f'<article><h2>{title}</h2><video controls loop muted playsinline preload="metadata" '
                    f'src="{escape(self._address(path))}" aria-label="{title}"></video></article>'
                )
        return cards


def _title(task: str) -> str:
    return task.replace("_", " ")


def _said(panel: Panel) -> str:
    """The first entries of a legend in words, for those who cannot see the picture."""
    names = [text for text, _ in panel.legend[:5]]
    return f": {', '.join(names)}" if names else ""


def _data_address(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, format="WEBP", quality=_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
