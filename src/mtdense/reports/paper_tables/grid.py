"""The lines of a paper's table that text formats share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mtdense.reports.paper_tables.figures import (
    COST_HEADS,
    DELTA_DECIMALS,
    column_head,
    cost_decimals,
    cost_text,
    gain_text,
    mean_text,
    paper_cost_text,
    paper_delta_text,
    paper_text,
    signed,
)
from mtdense.reports.paper_tables.shown import ShownBlock, ShownRow

__all__ = ["Group", "Line", "cost_grid", "score_grid"]


@dataclass(frozen=True)
class Line:
    """A line of a row.

    Args:
        name: paper, ours, ...
        cells: One for each heading.
    """

    name: str
    cells: list[str]


@dataclass(frozen=True)
class Group:
    """A row.

    Args:
        label: As printed.
        backbone: "" where nobody says it.
        marks: To stand at the row, "" of none.
        lines: The paper's first.
    """

    label: str
    backbone: str
    marks: str
    lines: list[Line]

    def headed(self, marks: str, escape: Callable[[str], str] = str) -> Iterator[tuple[str, str, Line]]:
        """(first cell, backbone, line): the label at the paper's line, the marks at ours, or both at a lone line.

        Args:
            marks: The marks as the format writes them.
            escape: What the format does to a label.
        """
        for place, line in enumerate(self.lines):
            first = {0: escape(self.label), 1: marks}.get(place, "")
            if len(self.lines) == 1:
                first = " ".join(filter(None, (first, marks)))
            yield first, self.backbone if place == 0 else "", line


def marks_of(row: ShownRow) -> str:
    """The row's marks in one text."""
    return ", ".join(mark.text for mark in row.marks)


def score_grid(block: ShownBlock) -> tuple[list[str], list[Group]]:
    """Headings of the columns of scores with Δm, and the rows; both empty in a block of costs alone."""
    if not block.block.columns:
        return [], []
    heads = [column_head(column) for column in block.block.columns]
    if block.has_delta:
        heads.append("Δm ↑ [%]")
    return heads, [_group(block, row) for row in block.rows]


def _group(block: ShownBlock, row: ShownRow) -> Group:
    delta = row.delta
    lines = [Line("paper", [*map(paper_text, row.cells), paper_delta_text(delta)])]
    ours = [mean_text(cell.ours, cell.column.decimals) for cell in row.cells]
    lines.append(Line(_count(row), [*ours, mean_text(delta.ours, DELTA_DECIMALS, "+")]))
    better = [signed(cell.better_by, cell.column.decimals) for cell in row.cells]
    lines.append(Line("ours better by", [*better, signed(delta.difference, DELTA_DECIMALS)]))
    if row.reference is not None and any(cell.gain is not None for cell in row.cells):
        gains = [signed(cell.paper_gain, cell.column.decimals) for cell in row.cells]
        lines.append(Line(f"gain on {row.reference.id}, paper", [*gains, ""]))
        lines.append(Line(f"gain on {row.reference.id}, ours", [*map(gain_text, row.cells), ""]))
    width = len(row.cells) + block.has_delta
    kept = [Line(line.name, line.cells[:width]) for line in lines if any(line.cells[:width]) or line.name == "paper"]
    return Group(row.row.label, row.row.backbone or "", marks_of(row), kept)


def _count(row: ShownRow) -> str:
    """Ours, with the number of seeds, or with the least and the most where tasks differ."""
    counts = sorted({len(cell.ours.seeds) for cell in row.cells if cell.ours is not None})
    return f"ours, n = {'–'.join(map(str, counts))}" if counts else "ours"


def cost_grid(block: ShownBlock) -> tuple[list[str], list[Group]]:
    """Headings of the columns of costs, and the rows that have any; both empty in a block without costs."""
    if not block.cost_names:
        return [], []
    heads = ["{} [{}]".format(*COST_HEADS[name]) for name in block.cost_names]
    decimals = [cost_decimals(block.rows, place) for place in range(len(heads))]
    groups = []
    for row in block.rows:
        lines = [
            Line("paper", [paper_cost_text(c.paper, digits) for c, digits in zip(row.costs, decimals, strict=True)]),
            Line("ours", [cost_text(c.ours, digits) for c, digits in zip(row.costs, decimals, strict=True)]),
            Line("ours larger by [%]", [signed(cost.relative, 1) for cost in row.costs]),
        ]
        kept = [line for line in lines if any(line.cells)]
        if kept:
            missing = ", ".join(mark.text for mark in row.marks if mark.kind == "missing")
            groups.append(Group(row.row.label, row.row.backbone or "", missing, kept))
    return heads, groups
