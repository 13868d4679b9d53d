"""How figures, headings and notes of a paper's table are written in every format."""

from __future__ import annotations

from collections.abc import Sequence

from mtdense.reports.paper_tables.marks import CELL_SIGNS
from mtdense.reports.paper_tables.shown import Measured, ShownBlock, ShownCell, ShownDelta, ShownRow, ShownTable
from mtdense.reports.paper_tables.structure import METRIC_NAMES, PaperColumn

__all__ = [
    "COST_HEADS",
    "DELTA_DECIMALS",
    "block_title",
    "column_head",
    "cost_decimals",
    "cost_text",
    "gain_text",
    "legend_lines",
    "mean_text",
    "note_lines",
    "paper_cost_text",
    "paper_delta_text",
    "paper_text",
    "signed",
    "unit_sign",
]

DELTA_DECIMALS = 2
COST_HEADS = {
    "params_m": ("parameters", "M"),
    "extra_params_m": ("added parameters", "M"),
    "encoder_params_m": ("encoder parameters", "M"),
    "decoder_params_m": ("decoder parameters", "M"),
    "gflops": ("operations", "G"),
    "latency_s": ("latency", "s"),
    "memory_gb": ("memory", "GB"),
}
"""{cost: (heading, unit)}."""

_SETTINGS = {
    "full": "all labels",
    "one-label": "one label per image",
    "random-label": "random labels per image",
}
_UNITS = {"percent": "%", "degrees": "°", "metres": "m", "percentage_points": "points", "as_stated": ""}


def unit_sign(column: PaperColumn) -> str:
    """Short unit of a column, "" where it has none."""
    return _UNITS.get(column.unit, column.unit)


def column_head(column: PaperColumn) -> str:
    """Such as "semseg mIoU ↑ [%]"."""
    unit = unit_sign(column)
    head = f"{column.task} {METRIC_NAMES[column.metric][0]} {'↑' if column.higher_is_better else '↓'}"
    return f"{head} [{unit}]" if unit else head


def signed(value: float | None, decimals: int) -> str:
    """With its sign, never "-0.00"; "" of none."""
    if value is None:
        return ""
    return f"{round(value, decimals) + 0.0:+.{decimals}f}"


def paper_text(cell: ShownCell) -> str:
    """The paper's figure with its signs: corrected with the print in brackets, suspect with a question mark."""
    if cell.paper is None:
        return ""
    decimals = cell.column.decimals
    text = f"{cell.paper:.{decimals}f}"
    if cell.corrected is not None and cell.printed is not None:
        text += f" [{cell.printed:.{decimals}f}]"
    return f"{text} ?" if cell.suspect else text


def mean_text(measured: Measured | None, decimals: int, sign: str = "") -> str:
    """Mean ± deviation, "" where nothing was measured."""
    if measured is None:
        return ""
    text = signed(measured.mean, decimals) if sign else f"{measured.mean:.{decimals}f}"
    return text if measured.deviation is None else f"{text} ± {measured.deviation:.{decimals}f}"


def gain_text(cell: ShownCell) -> str:
    """Our gain over the reference row with its interval: "+1.10 (0.20 to 2.00)"."""
    if cell.gain is None:
        return ""
    text = signed(cell.gain.mean, cell.column.decimals)
    if cell.gain.interval is None:
        return text
    low, high = (signed(limit, cell.column.decimals) for limit in cell.gain.interval)
    return f"{text} ({low} to {high})"


def paper_delta_text(delta: ShownDelta) -> str:
    """The paper's Δm, in round brackets where it is formed from the figures."""
    if delta.printed is not None:
        return signed(delta.printed, DELTA_DECIMALS)
    return f"({signed(delta.formed, DELTA_DECIMALS)})" if delta.formed is not None else ""


def cost_decimals(rows: Sequence[ShownRow], place: int) -> int:
    """As many as the paper's most exact figure of the column has, at least one, at most four; two without any."""
    printed = [row.costs[place].paper for row in rows]
    found = [len(f"{value:g}".partition(".")[2]) for value in printed if value is not None]
    return min(max([1, *found]) if found else 2, 4)


def cost_text(value: float | None, decimals: int) -> str:
    """Ours; "" of none."""
    return "" if value is None else f"{value:.{decimals}f}"


def paper_cost_text(value: float | None, decimals: int) -> str:
    """The paper's; a whole number stays one, "" of none."""
    if value is None:
        return ""
    return f"{value:.0f}" if value == int(value) else f"{value:.{decimals}f}"


def block_title(shown: ShownTable, block: ShownBlock) -> str:
    """Data set and label setting, or the block's id where it has only costs."""
    data = block.block.dataset
    named = "costs" if data is None else f"{data}, {_SETTINGS[block.block.setting]}"
    return named if len(shown.blocks) == 1 else f"{block.block.id}: {named}"


def legend_lines(shown: ShownTable) -> list[tuple[str, str]]:
    """(mark, what it means) of all marks and signs that occur in the table."""
    lines: dict[str, tuple[list[str], str]] = {}
    for _, row in shown.rows:
        for mark in row.marks:
            texts = lines.setdefault(mark.kind, ([], mark.meaning))[0]
            if mark.text not in texts:
                texts.append(mark.text)
    found = [(", ".join(texts), meaning) for texts, meaning in lines.values()]
    cells = [cell for _, row in shown.rows for cell in row.cells]
    if any(cell.corrected is not None for cell in cells):
        found.append(("[ ]", CELL_SIGNS["corrected"]))
    if any(cell.suspect for cell in cells):
        found.append(("?", CELL_SIGNS["suspect"]))
    if any(row.delta.printed is None and row.delta.formed is not None for _, row in shown.rows):
        found.append(("( )", CELL_SIGNS["formed"]))
    return found


def note_lines(block: ShownBlock) -> list[str]:
    """Notes of the block, then of its rows, then what Δm was formed with."""
    lines = list(block.notes)
    for row in block.rows:
        lines += [f"{row.row.label} ({row.row.id}): {note}" for note in (row.row.note, *row.notes) if note]
    return [*lines, *_baseline_lines(block)]


def _baseline_lines(block: ShownBlock) -> list[str]:
    """Which records each Δm is formed with; rows with the same ones share a line."""
    shared: dict[tuple[str, ...], list[ShownRow]] = {}
    for row in block.rows:
        if row.delta.ours is not None:
            shared.setdefault(tuple(source.name for source in row.delta.baselines), []).append(row)
    return [
        f"Δm of {', '.join(row.row.id for row in rows)} is formed by seed with the records {', '.join(names)}."
        for names, rows in shared.items()
    ]
