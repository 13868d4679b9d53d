"""Training curves of a block's rows, read from the runs' CSV logs and drawn as SVG."""

from __future__ import annotations

import csv
import math
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from mtdense.reports.paper_tables.shown import ShownBlock, ShownRow
from mtdense.reports.paper_tables.structure import METRIC_NAMES

__all__ = ["Chart", "block_charts", "draw", "read_log"]

Points = list[tuple[float, float]]

_LARGEST_LOG = 1 << 26
_MOST_POINTS = 80
_WIDTH, _HEIGHT = 420, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 30
WINDOW = 6
"""A point of a curve is the mean of the sixth part of the training around it."""
COLOURS = 8
"""Of lines; further ones begin again with another dash."""
_DASHES = ("", "6 3", "2 3", "9 3 2 3")


@dataclass(frozen=True)
class Chart:
    """Lines of one logged figure.

    Args:
        title: What is drawn.
        lines: {label: one list of (step, value) per run}.
        places: {label: number of its colour and dash, the same in all charts of a block}.
    """

    title: str
    lines: Mapping[str, Sequence[Points]]
    places: Mapping[str, int]


def read_log(run: Path) -> dict[str, Points]:
    """{figure: (step, value) in order of steps} of a training, its continuations included.

    Args:
        run: Folder of the run; logs lie in `logs/fit`, `logs/fit-2` and so on.

    Raises:
        OSError: A log cannot be read.
        ValueError: A log is no table of numbers, or too large.
    """
    found: dict[str, dict[float, float]] = {}
    for path in sorted((run / "logs").glob("fit*/metrics.csv"), key=_order):
        if path.stat().st_size > _LARGEST_LOG:
            raise ValueError(f"{path} has more than {_LARGEST_LOG >> 20} MiB")
        with path.open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                for name, text in line.items():
                    # A continuation may repeat steps after its checkpoint; the later ones were kept.
                    if name not in (None, "step", "epoch") and isinstance(text, str) and text:
                        value = float(text)
                        if math.isfinite(value):
                            found.setdefault(name, {})[float(line["step"])] = value
    return {name: sorted(points.items()) for name, points in found.items()}


def _order(path: Path) -> tuple[int, str]:
    number = path.parent.name.rpartition("-")[2]
    return (int(number) if number.isdigit() else 1), path.parent.name


def block_charts(block: ShownBlock) -> tuple[list[Chart], list[str]]:
    """Charts of a block: of each task the loss in training, and its score in validation where it was taken repeatedly.

    Returns:
        Charts, and notes on logs that could not be read.
    """
    notes: list[str] = []
    logs = {row.row.id: list(_logs(row, notes)) for row in block.rows if row.sources}
    labels = _labels([row for row in block.rows if row.row.id in logs])
    places = {label: place for place, label in enumerate(labels.values())}
    charts = []
    for column in block.block.columns:
        metric = METRIC_NAMES[column.metric][0]
        wanted = (
            (f"{column.task}: loss in training", f"train/{column.task}/loss"),
            (f"{column.task}: {metric} in validation", f"val/{column.task}/{metric}"),
        )
        for title, key in wanted:
            lines = {
                labels[name]: [
                    log[key] for task, log in found if task in (None, column.task) and len(log.get(key, [])) > 1
                ]
                for name, found in logs.items()
            }
            lines = {label: runs for label, runs in lines.items() if runs}
            if lines:
                charts.append(Chart(title, lines, places))
    return charts, notes


def _logs(row: ShownRow, notes: list[str]) -> Iterator[tuple[str | None, dict[str, Points]]]:
    for source in row.sources:
        try:
            yield source.run.task, read_log(source.run.folder)
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            notes.append(f"No curve of {row.row.label}, seed {source.run.seed}: its log is damaged: {error}.")


def _labels(rows: Sequence[ShownRow]) -> dict[str, str]:
    """{row id: its label, with its id where two share one}."""
    labels = [row.row.label for row in rows]
    return {
        row.row.id: row.row.label if labels.count(row.row.label) == 1 else f"{row.row.label} ({row.row.id})"
        for row in rows
    }


def draw(chart: Chart, name: str) -> Markup:
    """An inline SVG: for each label the mean over its runs, smoothed; see `WINDOW`.

    Args:
        chart: What to draw.
        name: Unique in its page.
    """
    smooth = {label: _thin(_smooth(_mean(runs))) for label, runs in chart.lines.items()}
    points = [point for line in smooth.values() for point in line]
    right = max(step for step, _ in points)
    low, high = _range([value for _, value in points])

    def place(point: tuple[float, float]) -> str:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * point[0] / (right or 1)
        y = _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - point[1]) / (high - low)
        return f"{x:.1f},{y:.1f}"

    parts = []
    for label, line in smooth.items():
        number = chart.places[label]
        body = _line(map(place, line), f'class="mean {_look(number)}"{_dash(number)}')
        parts.append(Markup("<g><title>{}</title>{}</g>").format(label, body))
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-labelledby="{}-title"><title id="{}-title">{}</title>'
        '<clipPath id="{}-clip"><rect x="{}" y="{}" width="{}" height="{}"/></clipPath>{}'
        '<g clip-path="url(#{}-clip)">{}</g></svg>'
    ).format(
        *(_WIDTH, _HEIGHT, name, name, _told(chart), name),
        *(_LEFT, _TOP, _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM, _frame(low, high, right), name),
        Markup("").join(parts),
    )


def swatch(place: int) -> Markup:
    """The line of a label, for a legend."""
    return Markup(
        f'<svg class="swatch" viewBox="0 0 30 8" aria-hidden="true">'
        f'<path class="mean {_look(place)}"{_dash(place)} d="M0,4L30,4"/></svg>'
    )


def _look(place: int) -> str:
    return f"c{place % COLOURS}"


def _dash(place: int) -> str:
    """Neighbours differ in dash as well as in colour, and so does the second round of colours."""
    dash = _DASHES[(place + place // COLOURS) % len(_DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _told(chart: Chart) -> str:
    """The picture in words."""
    last = (f"{label} ends at {_short(_smooth(_mean(runs))[-1][1])}" for label, runs in chart.lines.items())
    return f"{chart.title}, over optimiser steps: {'; '.join(last)}"


# Markup here and below is of numbers and constants alone; labels go through `escape` or `format`.
def _line(places: Iterable[str], attributes: str) -> Markup:
    return Markup(f'<path {attributes} d="M{"L".join(places)}"/>')


def _mean(runs: Sequence[Points]) -> Points:
    """Mean over runs at the steps that all of them logged; at all steps where they share none."""
    steps = set.intersection(*({step for step, _ in run} for run in runs))
    if not steps:
        return max(runs, key=len)
    values: dict[float, list[float]] = {}
    for run in runs:
        for step, value in run:
            if step in steps:
                values.setdefault(step, []).append(value)
    return [(step, statistics.fmean(values[step])) for step in sorted(values)]


def _smooth(run: Points) -> Points:
    """Each point's value becomes the mean of those around it."""
    half = len(run) // (2 * WINDOW)
    values = [value for _, value in run]
    return [(step, statistics.fmean(values[max(0, i - half) : i + half + 1])) for i, (step, _) in enumerate(run)]


def _thin(run: Points) -> Points:
    """At most `_MOST_POINTS` points: means of neighbours."""
    size = math.ceil(len(run) / _MOST_POINTS)
    groups = [run[i : i + size] for i in range(0, len(run), size)]
    return [(statistics.fmean(s for s, _ in group), statistics.fmean(v for _, v in group)) for group in groups]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest value, and a little more."""
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
    return low - margin, high + margin


def _frame(low: float, high: float, right: float) -> Markup:
    """Grid lines with their numbers."""
    bottom, edge = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for value in _ticks(low, high):
        y = _TOP + (bottom - _TOP) * (high - value) / (high - low)
        parts.append(
            f'<path class="grid" d="M{_LEFT},{y:.1f}L{edge},{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>'
        )
    for value in _ticks(0, right or 1):
        x = _LEFT + (edge - _LEFT) * value / (right or 1)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{_short(value)}</text>')
    parts.append(f'<text class="tick" x="{edge}" y="{_HEIGHT - 2}" text-anchor="end">optimiser steps</text>')
    return Markup("".join(parts))


def _ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers between the ends."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step)
    return [k * step for k in range(first, math.floor(high / step) + 1)]


def _short(value: float) -> str:
    return str(escape(re.sub(r"^-", "−", f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}".replace(",", " "))))
