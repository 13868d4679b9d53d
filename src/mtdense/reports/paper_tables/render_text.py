"""A paper's table as plain text for terminals, and as Markdown."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mtdense.reports.paper_tables.figures import block_title, legend_lines, note_lines
from mtdense.reports.paper_tables.grid import Group, cost_grid, score_grid
from mtdense.reports.paper_tables.shown import ShownTable

__all__ = ["markdown", "status", "terminal", "title"]

_HEADS = ("method", "backbone", "")


def title(shown: ShownTable) -> str:
    """Such as "bridgenet-4: BridgeNet, Table inferred: IV"."""
    return f"{shown.table.id}: {shown.table.paper}, table {shown.table.table}"


def terminal(shown: ShownTable) -> str:
    """For a terminal; wide enough never to fold a cell."""
    head = title(shown)
    parts = [f"{head}\n{'=' * len(head)}\n{shown.table.caption}\n{status(shown)}"]
    for block in shown.blocks:
        name = block_title(shown, block)
        parts.append(f"{name}\n{'-' * len(name)}")
        for heads, groups in (score_grid(block), cost_grid(block)):
            if groups:
                parts.append(_drawn(heads, groups))
        parts.append("\n".join(f"- {line}" for line in note_lines(block)))
    legend = legend_lines(shown)
    if legend:
        parts.append("Marks\n-----\n" + "\n".join(f"- {text}: {meaning}." for text, meaning in legend))
    return "\n\n".join(part for part in parts if part) + "\n"


def status(shown: ShownTable) -> str:
    """Whose runs are shown, and whether the paper still holds the table."""
    lost = " The paper's text speaks of this table but does not hold it." if shown.table.status == "lost" else ""
    return f"Runs of budget {shown.budget}.{lost}"


def _drawn(heads: Sequence[str], groups: Sequence[Group]) -> str:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, head in enumerate((*_HEADS, *heads)):
        # As Text: in a plain string, rich would take "[%]" for markup.
        table.add_column(Text(head), justify="left" if i < len(_HEADS) else "right", overflow="fold", no_wrap=True)
    for group in groups:
        for first, backbone, line in group.headed(f"<{group.marks}>" if group.marks else ""):
            table.add_row(*map(Text, (first, backbone, line.name, *line.cells)))
    file = io.StringIO()
    Console(file=file, width=400, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()).strip("\n")


def markdown(shown: ShownTable) -> str:
    """For Markdown with tables."""
    parts = [f"## {_escape(title(shown))}", _escape(shown.table.caption), _escape(status(shown))]
    for block in shown.blocks:
        parts.append(f"### {_escape(block_title(shown, block))}")
        for heads, groups in (score_grid(block), cost_grid(block)):
            if groups:
                parts.append(_markdown_table(heads, groups))
        parts.append("\n".join(f"- {_escape(line)}" for line in note_lines(block)))
    legend = legend_lines(shown)
    if legend:
        marks = "\n".join(f"- **{_escape(text)}**: {_escape(meaning)}." for text, meaning in legend)
        parts.append(f"Marks:\n\n{marks}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_table(heads: Sequence[str], groups: Sequence[Group]) -> str:
    lines = [[_escape(head) for head in (*_HEADS, *heads)], [":--"] * len(_HEADS) + ["--:"] * len(heads)]
    for group in groups:
        marks = f"*{_escape(group.marks)}*" if group.marks else ""
        for first, backbone, line in group.headed(marks, _escape):
            lines.append([first, _escape(backbone), _escape(line.name), *map(_escape, line.cells)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escape(text: str) -> str:
    """Keeps labels from being read as emphasis, cells, links or HTML."""
    text = re.sub(r"([\\`*_|])", r"\\\1", " ".join(text.split()))
    return text.replace("<", "&lt;").replace("](", "]\\(")
