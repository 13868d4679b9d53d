"""A paper's table as one self-contained HTML page, and the index of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import jinja2

from mtdense import __version__
from mtdense.reports.paper_tables.curves import block_charts, draw, swatch
from mtdense.reports.paper_tables.figures import block_title, legend_lines, note_lines
from mtdense.reports.paper_tables.html_cells import cost_view, gain_view, score_view
from mtdense.reports.paper_tables.pictures import Picture, run_sheets
from mtdense.reports.paper_tables.render_text import title
from mtdense.reports.paper_tables.shown import ShownBlock, ShownTable

__all__ = ["index_page", "page"]


def page(shown: ShownTable, sheets: Mapping[str, Sequence[Picture]] | None = None, index: str | None = None) -> str:
    """The page of a table: it asks nothing of any server.

    Args:
        shown: The table.
        sheets: {block id: pictures made for it}; None: the contact sheets that lie in the runs' folders.
        index: File name of the index, to link to; None where there is none.
    """
    blocks = [
        _block_view(shown, block, place, None if sheets is None else sheets.get(block.block.id, ()))
        for place, block in enumerate(shown.blocks)
    ]
    return _template("page.html.j2").render(
        shown=shown,
        title=title(shown),
        blocks=blocks,
        summary=_summary(shown),
        warnings=_warnings(shown),
        legend=legend_lines(shown),
        index=index,
        version=__version__,
    )


def index_page(tables: Sequence[tuple[ShownTable, str]]) -> str:
    """The page that links to others.

    Args:
        tables: (table, file name of its page).
    """
    entries = [
        {"shown": shown, "file": file, "summary": _summary(shown), "marks": _mark_texts(shown)}
        for shown, file in tables
    ]
    budgets = list(dict.fromkeys(shown.budget for shown, _ in tables))
    legend: dict[str, list[str]] = {}
    for shown, _ in tables:
        for _, row in shown.rows:
            for mark in row.marks:
                texts = legend.setdefault(mark.meaning, [])
                if row.sources and mark.text not in texts:
                    texts.append(mark.text)
    told = [(", ".join(texts), meaning) for meaning, texts in legend.items() if texts]
    return _template("index.html.j2").render(entries=entries, budgets=budgets, legend=told, version=__version__)


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("mtdense.reports.paper_tables", "templates")
    # Everything that is not made as markup on purpose is escaped.
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)


def _template(name: str) -> jinja2.Template:
    return _environment().get_template(name)


def _block_view(shown: ShownTable, block: ShownBlock, place: int, made: Sequence[Picture] | None) -> dict[str, Any]:
    charts, damaged = block_charts(block)
    sheets, unreadable = run_sheets(block) if made is None else (list(made), [])
    places = dict(pair for chart in charts for pair in chart.places.items())
    return {
        "id": f"b{place}",
        "title": block_title(shown, block),
        "block": block,
        "scores": score_view(block) if block.block.columns else None,
        "gains": gain_view(block) if block.has_gains else None,
        "costs": cost_view(block) if block.cost_names else None,
        "charts": [(chart.title, draw(chart, f"b{place}c{i}")) for i, chart in enumerate(charts)],
        "swatches": [(label, swatch(number)) for label, number in places.items()],
        "sheets": sheets,
        "notes": [*note_lines(block), *damaged, *unreadable],
        "sources": [(row, source) for row in block.rows for source in row.sources],
    }


def _summary(shown: ShownTable) -> dict[str, Any]:
    """How much of the table there is."""
    scored = [row for block, row in shown.rows if block.block.columns]
    costed = [row for _, row in shown.rows if any(cost.ours is not None for cost in row.costs)]
    return {
        "rows": len(shown.rows),
        "in_suite": sum(row.row.missing is None for _, row in shown.rows),
        "scored": len(scored),
        "measured": sum(row.measured for row in scored),
        "costs": len(costed),
        "records": len({source.sha256 for _, row in shown.rows for source in row.sources}),
        "seeds": sorted({source.run.seed for _, row in shown.rows for source in row.sources}),
    }


def _mark_texts(shown: ShownTable) -> list[str]:
    """Marks of rows with results of ours, without repeats."""
    return list(dict.fromkeys(mark.text for _, row in shown.rows if row.sources for mark in row.marks))


def _warnings(shown: ShownTable) -> list[str]:
    """What keeps our figures from being the paper's experiment, before anything else is read."""
    found = {mark.kind: mark for _, row in shown.rows if row.sources for mark in row.marks}
    return [mark.meaning for mark in found.values() if mark.kind != "missing"]
