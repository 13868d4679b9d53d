"""A comparison's plan and findings as terminal, Markdown and JSON text."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mtdense.reports.canonical import plain
from mtdense.reports.evidence.paired import CONFIDENCE, NOT_DECIDED, Difference
from mtdense.reports.evidence.plan_file import Plan
from mtdense.reports.evidence.selection import Choice
from mtdense.reports.evidence.summary import SettingSummary
from mtdense.reports.table_formats import render

__all__ = ["FORMATS", "print_rows", "render_summary", "summary_dict"]

FORMATS = ("terminal", "markdown", "json")
"""Of `render_summary`."""

# Unit of a score -> (unit of its difference, factor, digits).
_UNITS = {
    "fraction": ("points", 100.0, 2),
    "degrees": ("°", 1.0, 2),
    "metres": ("m", 1.0, 4),
    "percent": ("points", 1.0, 2),
}

_Rows = list[list[str]]


def render_summary(plan: Plan, summaries: Sequence[SettingSummary], format: str) -> str:
    """The findings as text that ends with a line break.

    Args:
        plan: The comparison.
        summaries: Its findings by setting.
        format: One of `FORMATS`.
    """
    if format == "json":
        return json.dumps(summary_dict(plan, summaries), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    markdown = format == "markdown"
    parts = [f"{plan.about}\n"] if plan.about else []
    for summary in summaries:
        parts.append(f"## {summary.setting}\n" if markdown else f"{summary.setting}\n{'=' * len(summary.setting)}\n")
        parts += _setting(plan, summary, markdown)
    return "\n".join(parts)


def summary_dict(plan: Plan, summaries: Sequence[SettingSummary]) -> dict[str, Any]:
    """Everything in plain values, in stored units; non-finite numbers are text (see `plain`)."""
    settings = {
        summary.setting: {
            "table": None if summary.table is None else json.loads(render(summary.table, "json")),
            "choices": [
                {"network": choice.network.id, "grid": choice.grid, "scores": choice.scores, "reason": choice.reason}
                for choice in summary.choices
            ],
            "differences": [
                {**vars(each), "mean": each.mean, "interval": each.interval, "verdict": each.verdict}
                for each in summary.differences
            ],
            "order": summary.order,
            "missing": summary.missing,
            "diverged": summary.diverged,
            "notes": summary.notes,
        }
        for summary in summaries
    }
    body = {"about": plan.about, "expected_order": plan.order, "confidence": CONFIDENCE, "settings": settings}
    return dict(plain(body, "summary"))


def _setting(plan: Plan, summary: SettingSummary, markdown: bool) -> list[str]:
    parts = []
    if summary.table is not None:
        parts.append(render(summary.table, "markdown" if markdown else "terminal"))
        parts.append(_table(*_difference_rows(summary.differences, plan.seeds), markdown))
    parts.append(
        _table(["network", "validation figure (larger is better)", "chosen"], _choices(summary.choices), markdown)
    )
    said = list(summary.notes)
    if summary.order is not None:
        expected = " > ".join(", ".join(tier) for tier in plan.order)
        said.insert(0, f"Expected order (by Δm): {expected}: {summary.order}.")
    if summary.diverged:
        said.append(f"Diverged (the loss became no number), so nothing is decided of: {'; '.join(summary.diverged)}.")
    if summary.missing:
        said.append(f"Not complete; missing: {'; '.join(summary.missing)}.")
    parts.append("\n".join(f"- {line}" if markdown else line for line in said) + "\n")
    return parts


def _difference_rows(differences: Sequence[Difference], seeds: Sequence[int]) -> tuple[list[str], _Rows]:
    heads = ["pair", "better by", *(f"seed {seed}" for seed in seeds), "mean", f"{CONFIDENCE:.0%} interval", "verdict"]
    rows = []
    for each in differences:
        unit, factor, digits = _UNITS.get(each.unit, (each.unit, 1.0, 4))
        name = "Δm" if each.figure == "delta_m" else each.figure.replace("/", " ")
        values = dict(zip(each.seeds, each.values, strict=True))
        cells = [_number(values.get(seed, math.nan) * factor, digits) for seed in seeds]
        interval = "–"
        if each.interval is not None:
            interval = " to ".join(_number(limit * factor, digits) for limit in each.interval)
        bold = "**" if each.verdict != NOT_DECIDED else ""
        heading = f"{name} [{unit}]" if unit else name
        mean = _number(each.mean * factor, digits)
        rows.append([f"{each.a} – {each.b}", heading, *cells, mean, interval, f"{bold}{each.verdict}{bold}"])
    return heads, rows


def _choices(choices: Sequence[Choice]) -> _Rows:
    return [
        [
            choice.network.id.partition("/")[2],
            ", ".join(f"{grid}: {_score(score)}" for grid, score in choice.scores.items()) or "–",
            choice.grid or f"– ({choice.reason})",
        ]
        for choice in choices
    ]


def _score(value: float) -> str:
    return "diverged" if value == -math.inf else f"{value:+.4g}"


def _number(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}" if math.isfinite(value) else "–"


def _table(heads: Sequence[str], rows: _Rows, markdown: bool) -> str:
    if markdown:
        rule = [":--"] * len(heads)
        lines = [heads, rule, *rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
    file = io.StringIO()
    # Wide enough never to fold a cell.
    Console(file=file, width=300, color_system=None).print(_rich(heads, rows))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _rich(heads: Sequence[str], rows: _Rows) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        drawn.add_column(Text(head), overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell.strip("*")) for cell in row))
    return drawn


def print_rows(heads: Sequence[str], rows: _Rows) -> None:
    """Prints a table to standard output, never folded where that is no terminal."""
    console = Console()
    if console.is_terminal:
        console.print(_rich(heads, rows))
    else:
        print(_table(heads, rows, markdown=False), end="")
