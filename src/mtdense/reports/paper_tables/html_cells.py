"""What stands in the cells of a page's tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from mtdense.reports.evidence.paired import CONFIDENCE, t_interval
from mtdense.reports.paper_tables.figures import (
    COST_HEADS,
    DELTA_DECIMALS,
    cost_decimals,
    cost_text,
    paper_cost_text,
    signed,
    unit_sign,
)
from mtdense.reports.paper_tables.shown import Measured, ShownBlock, ShownCell, ShownDelta, ShownRow
from mtdense.reports.paper_tables.structure import METRIC_NAMES, Row

__all__ = ["cost_view", "gain_view", "score_view"]

_BAR, _BAR_HEIGHT = 116, 18


def _minus(text: str) -> str:
    """With a true minus sign."""
    return text.replace("-", "−")


def score_view(block: ShownBlock) -> dict[str, Any]:
    """Headings and rows of the scores: of each column the paper's cell and ours."""
    heads = [
        {
            "name": column.task.replace("_", " "),
            "metric": METRIC_NAMES[column.metric][0],
            "higher": column.higher_is_better,
            "unit": unit_sign(column),
        }
        for column in block.block.columns
    ]
    if block.has_delta:
        heads.append({"name": "Δm", "metric": "", "higher": True, "unit": "%"})
    return {"heads": heads, "rows": [_score_row(block, row) for row in block.rows]}


def _score_row(block: ShownBlock, row: ShownRow) -> dict[str, Any]:
    cells = [_score(cell, cell.column.task in row.row.tasks) for cell in row.cells]
    if block.has_delta:
        cells.append(_delta(row.delta))
    counts = {cell["n"] for cell in cells if cell["n"]}
    # One number of seeds is told at the row, several at their cells.
    return {"row": row, "cells": cells, "n": counts.pop() if len(counts) == 1 else None}


def _score(cell: ShownCell, asked: bool) -> dict[str, Any]:
    decimals = cell.column.decimals
    return {
        "asked": asked,
        "paper": "" if cell.paper is None else f"{cell.paper:.{decimals}f}",
        "print": f"{cell.printed:.{decimals}f}" if cell.corrected is not None and cell.printed is not None else "",
        "suspect": cell.suspect,
        "formed": False,
        **_ours(cell.ours, decimals, cell.better_by, ""),
    }


def _delta(delta: ShownDelta) -> dict[str, Any]:
    return {
        "asked": True,
        "paper": _minus(signed(delta.paper, DELTA_DECIMALS)),
        "print": "",
        "suspect": False,
        "formed": delta.printed is None and delta.formed is not None,
        **_ours(delta.ours, DELTA_DECIMALS, delta.difference, "+"),
    }


def _ours(measured: Measured | None, decimals: int, better_by: float | None, sign: str) -> dict[str, Any]:
    if measured is None:
        return {"mean": "", "std": "", "n": 0, "better": None}
    mean = signed(measured.mean, decimals) if sign else f"{measured.mean:.{decimals}f}"
    better = None
    if better_by is not None:
        rounded = round(better_by, decimals)
        kind = "same" if rounded == 0 else "better" if rounded > 0 else "worse"
        better = {"kind": kind, "by": f"{abs(rounded):.{decimals}f}"}
    std = "" if measured.deviation is None else f"{measured.deviation:.{decimals}f}"
    return {"mean": _minus(mean), "std": std, "n": len(measured.seeds), "better": better}


@dataclass(frozen=True)
class _Gain:
    """A gain over the reference row, the paper's and ours."""

    paper: float | None
    formed: bool
    values: tuple[float, ...]
    interval: tuple[float, float] | None
    decimals: int

    @property
    def mean(self) -> float | None:
        return sum(self.values) / len(self.values) if self.values else None


def gain_view(block: ShownBlock) -> dict[str, Any]:
    """Headings and rows of the gains over reference rows, with their intervals as numbers and as bars."""
    rows = [row for row in block.rows if any(cell.gain is not None for cell in row.cells)]
    heads = [
        {"name": f"{column.task.replace('_', ' ')} {METRIC_NAMES[column.metric][0]}", "unit": _gain_unit(block, i)}
        for i, column in enumerate(block.block.columns)
    ]
    table = [[_gain(cell) for cell in row.cells] for row in rows]
    if any(row.delta.ours is not None for row in rows):
        heads.append({"name": "Δm", "unit": "points"})
        for row, line in zip(rows, table, strict=True):
            line.append(_delta_gain(row.delta))
    scales = [_scale([line[i] for line in table]) for i in range(len(heads))]
    return {
        "heads": heads,
        "confidence": f"{100 * CONFIDENCE:.0f} %",
        "rows": [
            {"row": row, "cells": [_gain_cell(gain, scale) for gain, scale in zip(line, scales, strict=True)]}
            for row, line in zip(rows, table, strict=True)
        ],
        "references": _references(rows),
        "baselines": _baselines(rows),
    }


def _references(rows: Sequence[ShownRow]) -> list[Row]:
    return list({row.reference.id: row.reference for row in rows if row.reference is not None}.values())


def _baselines(rows: Sequence[ShownRow]) -> list[str]:
    """Methods of the records that Δm is formed with."""
    return list(dict.fromkeys(source.record.method for row in rows for source in row.delta.baselines))


def _gain_unit(block: ShownBlock, place: int) -> str:
    unit = unit_sign(block.block.columns[place])
    return "points" if unit == "%" else unit


def _gain(cell: ShownCell) -> _Gain:
    if cell.gain is None:
        return _Gain(cell.paper_gain, False, (), None, cell.column.decimals)
    return _Gain(cell.paper_gain, False, cell.gain.values, cell.gain.interval, cell.column.decimals)


def _delta_gain(delta: ShownDelta) -> _Gain:
    values = () if delta.ours is None else delta.ours.values
    return _Gain(delta.paper, delta.printed is None, values, t_interval(values), DELTA_DECIMALS)


def _scale(gains: Sequence[_Gain]) -> float:
    """The gain at the end of a column's bars: half as much again as ours reach, or as far as the paper's."""
    ours = [abs(value) for gain in gains for value in (gain.mean, *(gain.interval or ())) if value is not None]
    theirs = [abs(gain.paper) for gain in gains if gain.paper is not None]
    return max([1.05 * max([*ours, 0.0]), min(1.05 * max([*theirs, 0.0]), 1.5 * max([*ours, 0.0]))]) or 1.0


def _gain_cell(gain: _Gain, scale: float) -> dict[str, Any]:
    interval = [_minus(signed(limit, gain.decimals)) for limit in gain.interval] if gain.interval else None
    verdict = ""
    if gain.interval is not None:
        verdict = "better" if gain.interval[0] > 0 else "worse" if gain.interval[1] < 0 else "open"
    return {
        "paper": _minus(signed(gain.paper, gain.decimals)),
        "formed": gain.formed and gain.paper is not None,
        "mean": _minus(signed(gain.mean, gain.decimals)),
        "interval": interval,
        "verdict": verdict,
        "bar": _bar(gain, scale) if gain.values else None,
    }


def _bar(gain: _Gain, scale: float) -> Markup:
    """Zero as a line, ours as a dot on its interval, the paper's as a hollow diamond; cut off beyond the scale."""
    middle, y = _BAR / 2, _BAR_HEIGHT / 2

    def x(value: float) -> float:
        return middle + max(-1.0, min(1.0, value / scale)) * (middle - 6)

    parts = [f'<path class="zero" d="M{middle},1V{_BAR_HEIGHT - 1}"/>']
    if gain.interval is not None:
        low, high = map(x, gain.interval)
        parts.append(f'<path class="interval" d="M{low:.1f},{y}H{high:.1f}M{low:.1f},{y - 3}v6M{high:.1f},{y - 3}v6"/>')
    if gain.mean is not None:
        parts.append(f'<circle class="ours" cx="{x(gain.mean):.1f}" cy="{y}" r="3.4"/>')
    if gain.paper is not None:
        at = x(gain.paper)
        parts.append(f'<path class="paper" d="M{at - 4.5:.1f},{y}l4.5,-4.5l4.5,4.5l-4.5,4.5z"/>')
    return Markup(f'<svg class="bar" viewBox="0 0 {_BAR} {_BAR_HEIGHT}" aria-hidden="true">{"".join(parts)}</svg>')


def cost_view(block: ShownBlock) -> dict[str, Any]:
    """Headings and rows of the costs: of each the paper's, ours and how much larger ours is."""
    decimals = [cost_decimals(block.rows, place) for place in range(len(block.cost_names))]
    rows = []
    for row in block.rows:
        cells = [
            {
                "paper": paper_cost_text(cost.paper, digits),
                "ours": cost_text(cost.ours, digits),
                "relative": "" if cost.relative is None else f"{_minus(signed(cost.relative, 1))} %",
            }
            for cost, digits in zip(row.costs, decimals, strict=True)
        ]
        if any(cell["paper"] or cell["ours"] for cell in cells):
            rows.append({"row": row, "cells": cells})
    return {"heads": [COST_HEADS[name] for name in block.cost_names], "rows": rows}
