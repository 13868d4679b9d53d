"""A comparison table as terminal, Markdown, CSV and JSON text."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from mtdense.reports.canonical import plain
from mtdense.reports.run_record import RunRecord
from mtdense.reports.table import Column, ComparisonTable, TableRow, mean_and_deviation

__all__ = ["FORMATS", "print_table", "readable_unit", "render", "score_lines", "to_rich"]

# Stored unit -> (printed unit, factor, digits). Units that are not listed are printed as they are.
_UNITS = {
    "fraction": ("%", 100.0, 2),
    "degrees": ("°", 1.0, 2),
    "metres": ("m", 1.0, 4),
}
_MISSING = "–"


def readable_unit(unit: str) -> tuple[str, float, int]:
    """What people read of a stored unit: its sign, the factor of values, and their decimals."""
    return _UNITS.get(unit, (unit, 1.0, 4))


def score_lines(record: RunRecord) -> list[str]:
    """The scores of a test or validation, one a line, in the units of tables; in front the validation's loss and Δm."""
    rows = []
    if "val/loss" in record.logged:
        rows.append(("", "loss", "↓", f"{record.logged['val/loss']:.4f}", ""))
    if "val/delta_m" in record.logged:
        rows.append(("", "Δm", "↑", f"{record.logged['val/delta_m']:+.2f}", "%"))
    for metric in record.metrics:
        unit, factor, digits = readable_unit(metric.unit)
        arrow = "↑" if metric.higher_is_better else "↓"
        rows.append((metric.task, metric.name, arrow, f"{metric.value * factor:.{digits}f}", unit))
    if not rows:
        return []
    task, name, _, value, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [f"{t:<{task}}  {n:<{name}} {arrow}  {v:>{value}} {unit}".strip() for t, n, arrow, v, unit in rows]


def _heading(column: Column) -> str:
    unit = readable_unit(column.unit)[0]
    arrow = "↑" if column.higher_is_better else "↓"
    return f"{column.task} {column.name} {arrow}" + (f" [{unit}]" if unit else "")


def _number(values: Sequence[float] | None, factor: float, digits: int, sign: str = "") -> str:
    if not values:
        return _MISSING
    mean, deviation = mean_and_deviation([value * factor for value in values])
    text = f"{mean:{sign}.{digits}f}"
    return text if deviation is None else f"{text} ± {deviation:.{digits}f}"


def _millions(parameters: int | None) -> str:
    return _MISSING if not parameters else f"{parameters / 1e6:.2f}"


def _best(rows: Sequence[TableRow], get: Callable[[TableRow], Sequence[float] | None], higher: bool) -> set[int]:
    """Positions of the rows with the best mean; trivial predictors take no part, nor does a lone row."""
    means = {i: mean_and_deviation(values)[0] for i, row in enumerate(rows) if not row.trivial and (values := get(row))}
    means = {i: mean for i, mean in means.items() if math.isfinite(mean)}
    if len(means) < 2:
        return set()
    best = max(means.values()) if higher else min(means.values())
    return {i for i, mean in means.items() if mean == best}


def _has_delta_m(table: ComparisonTable) -> bool:
    return any(row.delta_m is not None for row in table.rows)


def _headings(table: ComparisonTable) -> list[str]:
    metrics = [_heading(column) for column in table.columns]
    return ["method", "backbone", "params [M]", *metrics, *(["Δm ↑ [%]"] if _has_delta_m(table) else [])]


def _cells(table: ComparisonTable, emphasise: Callable[[str], str]) -> list[list[str]]:
    """Printed cells; the best of each column is passed through `emphasise`."""
    lines = [[row.label, row.backbone or _MISSING, _millions(row.parameters)] for row in table.rows]
    for column in table.columns:
        _, factor, digits = readable_unit(column.unit)
        place = (column.task, column.name)
        best = _best(table.rows, lambda row, place=place: row.values.get(place), column.higher_is_better)  # type: ignore[misc]
        for i, row in enumerate(table.rows):
            text = _number(row.values.get(place), factor, digits)
            lines[i].append(emphasise(text) if i in best else text)
    if _has_delta_m(table):
        best = _best(table.rows, lambda row: row.delta_m, True)
        for i, row in enumerate(table.rows):
            text = _number(row.delta_m, 1.0, 2, "+")
            lines[i].append(emphasise(text) if i in best else text)
    return lines


def to_rich(table: ComparisonTable) -> Group:
    """The table for a rich console, its notes below it."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, heading in enumerate(_headings(table)):
        # As Text: in a plain string, rich would take "[m]" for markup.
        drawn.add_column(Text(heading), justify="left" if i < 2 else "right", overflow="fold")
    for row, line in zip(table.rows, _cells(table, lambda text: f"**{text}**"), strict=True):
        drawn.add_row(*map(_styled, line), style="dim" if row.trivial else None)
    return Group(drawn, *(Text(note, style="dim") for note in table.notes))


def _styled(cell: str) -> Text:
    bold = cell.startswith("**")
    return Text(cell.strip("*"), style="bold" if bold else "")


def _terminal(table: ComparisonTable) -> str:
    file = io.StringIO()
    # Wide enough never to fold a cell: the text goes to a file or a pipe.
    Console(file=file, width=240, color_system=None).print(to_rich(table))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _markdown(table: ComparisonTable) -> str:
    headings = _headings(table)
    rule = [":--" if i < 2 else "--:" for i in range(len(headings))]
    lines = [headings, rule, *_cells(table, lambda text: f"**{text}**")]
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return body + "\n\n" + "\n".join(f"- {note}" for note in table.notes) + "\n"


def _csv(table: ComparisonTable) -> str:
    """Means and deviations in columns of their own, unrounded, in the printed unit."""
    columns = [(_heading(c), (c.task, c.name), readable_unit(c.unit)[1]) for c in table.columns]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    heads = [f"{heading}{suffix}" for heading, _, _ in columns for suffix in ("", " std")]
    writer.writerow(["method", "variant", "backbone", "seeds", "steps", "parameters", *heads, "Δm ↑ [%]", "Δm std"])
    for row in table.rows:
        figures: list[float | None] = []
        scaled = [[v * factor for v in row.values.get(place, [])] for _, place, factor in columns]
        for values in [*scaled, row.delta_m or []]:
            figures.extend(mean_and_deviation(values) if values else (None, None))
        seeds = " ".join(str(seed) for seed in row.seeds if seed is not None)
        steps = " ".join(map(str, row.steps))
        writer.writerow([row.method, row.variant, row.backbone, seeds, steps, row.parameters, *figures])
    return file.getvalue()


def _json(table: ComparisonTable) -> str:
    """Everything, in stored units, one value per seed."""
    rows = [
        {
            **{key: value for key, value in vars(row).items() if key != "values"},
            "values": {"/".join(place): values for place, values in row.values.items()},
        }
        for row in table.rows
    ]
    body = {"data": table.data, "columns": table.columns, "rows": rows, "notes": table.notes}
    return json.dumps(plain(body, "table"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[ComparisonTable], str]] = {
    "terminal": _terminal,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
}
"""Known formats by name."""


def render(table: ComparisonTable, format: str = "terminal") -> str:
    """The table as text.

    Args:
        table: See `build_table`.
        format: One of `FORMATS`. "terminal" and "markdown" round and mark the best figure of each column; "csv"
            gives unrounded means and deviations; "json" every seed's value in its stored unit.

    Returns:
        Text that ends with a line break.
    """
    return FORMATS[format](table)


def print_table(table: ComparisonTable) -> None:
    """Prints to standard output: in colours on a terminal, else as plain text that is never folded."""
    console = Console()
    if console.is_terminal:
        console.print(to_rich(table))
    else:
        print(render(table, "terminal"), end="")
