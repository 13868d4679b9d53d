"""A paper's table as data for programs: CSV with one figure a line, and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from mtdense.reports.canonical import plain
from mtdense.reports.evidence.paired import CONFIDENCE, Difference
from mtdense.reports.paper_tables.figures import COST_HEADS, legend_lines, note_lines
from mtdense.reports.paper_tables.shown import Measured, ShownBlock, ShownCell, ShownDelta, ShownRow, ShownTable, Source
from mtdense.reports.paper_tables.structure import METRIC_NAMES

__all__ = ["CSV_COLUMNS", "csv_text", "json_text", "table_dict"]

CSV_COLUMNS = (
    *("table", "block", "row", "label", "method", "backbone", "budget", "kind", "task", "figure", "unit", "better"),
    *("printed", "corrected", "formed", "suspect", "ours_mean", "ours_std", "n", "seeds", "difference", "better_by"),
    *("reference", "paper_gain", "gain_mean", "gain_low", "gain_high", "marks", "marks_meaning"),
)
"""Of `csv_text`; a figure that nobody measured or printed is an empty cell."""


def csv_text(tables: Sequence[ShownTable]) -> str:
    """One line for each score, Δm and cost of each row, unrounded, in the paper's units.

    Marks stand in each line with their meaning: the lines have no legend besides.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for shown in tables:
        for block, row in shown.rows:
            common = {
                "table": shown.table.id,
                "block": block.block.id,
                "row": row.row.id,
                "label": row.row.label,
                "method": row.row.method,
                "backbone": row.row.backbone,
                "budget": shown.budget,
                "marks": "; ".join(mark.text for mark in row.marks),
                "marks_meaning": "; ".join(dict.fromkeys(f"{mark.kind}: {mark.meaning}" for mark in row.marks)),
            }
            writer.writerows({**common, **figure} for figure in _figures(row))
    return file.getvalue()


def _figures(row: ShownRow) -> Iterator[dict[str, Any]]:
    for cell in row.cells:
        if cell.paper is not None or cell.column.task in row.row.tasks:
            yield _score(row, cell)
    if row.delta.paper is not None or row.delta.ours is not None:
        yield {
            **_ours(row.delta.ours),
            "kind": "delta_m",
            "figure": "Δm",
            "unit": "percent",
            "better": "higher",
            "printed": row.delta.printed,
            "formed": row.delta.formed,
            "difference": row.delta.difference,
            "better_by": row.delta.difference,
        }
    for cost in row.costs:
        unit = COST_HEADS[cost.name][1]
        yield {
            "kind": "cost",
            "figure": cost.name,
            "unit": unit,
            "better": "lower",
            "printed": cost.paper,
            "ours_mean": cost.ours,
            "difference": None if cost.ours is None or cost.paper is None else cost.ours - cost.paper,
        }


def _score(row: ShownRow, cell: ShownCell) -> dict[str, Any]:
    gain: dict[str, Any] = {}
    if cell.gain is not None:
        low, high = cell.gain.interval or (None, None)
        gain = {"gain_mean": cell.gain.mean, "gain_low": low, "gain_high": high}
    return {
        **_ours(cell.ours),
        **gain,
        "kind": "score",
        "task": cell.column.task,
        "figure": METRIC_NAMES[cell.column.metric][0],
        "unit": cell.column.unit,
        "better": "higher" if cell.column.higher_is_better else "lower",
        "printed": cell.printed,
        "corrected": cell.corrected,
        "suspect": "suspect" if cell.suspect else None,
        "difference": cell.difference,
        "better_by": cell.better_by,
        "reference": None if row.reference is None else row.reference.id,
        "paper_gain": cell.paper_gain,
    }


def _ours(measured: Measured | None) -> dict[str, Any]:
    if measured is None:
        return {}
    seeds = " ".join(map(str, measured.seeds))
    return {"ours_mean": measured.mean, "ours_std": measured.deviation, "n": len(measured.seeds), "seeds": seeds}


def json_text(tables: Sequence[ShownTable]) -> str:
    """Everything, with one value per seed and the records behind; a list where there are several tables."""
    found = [table_dict(shown) for shown in tables]
    body = found[0] if len(found) == 1 else found
    return json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def table_dict(shown: ShownTable) -> dict[str, Any]:
    """The table in plain values."""
    table = shown.table
    told = {key: getattr(table, key) for key in ("id", "system", "paper", "table", "caption", "status", "errata")}
    return dict(
        plain(
            {
                **told,
                "budget": shown.budget,
                "legend": [{"mark": text, "meaning": meaning} for text, meaning in legend_lines(shown)],
                "blocks": [_block(block) for block in shown.blocks],
            },
            "table",
        )
    )


def _block(block: ShownBlock) -> dict[str, Any]:
    about = block.block
    return {
        "id": about.id,
        "dataset": about.dataset,
        "setting": about.setting,
        "value_kind": about.value_kind,
        "notes": note_lines(block),
        "rows": [_row(row) for row in block.rows],
    }


def _row(row: ShownRow) -> dict[str, Any]:
    about = row.row
    return {
        "id": about.id,
        "label": about.label,
        "method": about.method,
        "backbone": about.backbone,
        "experiment": about.experiment,
        "missing": about.missing,
        "marks": [{"mark": mark.text, "kind": mark.kind, "meaning": mark.meaning} for mark in row.marks],
        "reference": None if row.reference is None else row.reference.id,
        "scores": [
            {**_score(row, cell), "values": _values(cell.ours), "gain": _gain(cell.gain)}
            for cell in row.cells
            if cell.paper is not None or cell.column.task in about.tasks
        ],
        "delta_m": _delta(row.delta),
        "costs": [{"name": cost.name, "paper": cost.paper, "ours": cost.ours} for cost in row.costs],
        "records": [_record(source) for source in row.sources],
    }


def _values(measured: Measured | None) -> dict[str, float] | None:
    return None if measured is None else dict(zip(map(str, measured.seeds), measured.values, strict=True))


def _gain(gain: Difference | None) -> dict[str, Any] | None:
    if gain is None:
        return None
    told = {"mean": gain.mean, "interval": gain.interval, "confidence": CONFIDENCE, "verdict": gain.verdict}
    return {**told, "values": dict(zip(map(str, gain.seeds), gain.values, strict=True))}


def _delta(delta: ShownDelta) -> dict[str, Any]:
    told = {"printed": delta.printed, "formed": delta.formed, "difference": delta.difference}
    return {**told, "values": _values(delta.ours), "baselines": [_record(source) for source in delta.baselines]}


def _record(source: Source) -> dict[str, Any]:
    record = source.record
    return {
        "path": source.path,
        "record_sha256": source.sha256,
        "checkpoint_sha256": record.checkpoint_sha256,
        "config_sha256": record.config_sha256,
        "data_version": record.data.get("version"),
        "code": record.code,
        "task": source.run.task,
        "seed": source.run.seed,
        "steps": record.steps,
    }
