"""A paper's table as plain text for terminals, and as Markdown."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mtdense.reports.paper_tables.figures import block_title, legend_lines, note_lines
from mtdense.reports.paper_tables.grid import Group, cost_grid, score_grid
from mtdense.reports.paper_tables.shown import ShownTable

__all__ = ["markdown", "status", "terminal", "title"]

_HEADS = ("method", "backbone", "")
_INFERRED = "inferred: "


def title(shown: ShownTable) -> str:
    """Such as "bridgenet-4: BridgeNet, Table IV (number inferred)"; "..., abstract" where there is no table."""
    number = shown.table.table
    inferred = number.startswith(_INFERRED)
    name = number.removeprefix(_INFERRED)
    if name[:1].isdigit() or inferred:
        name = f"Table {name}"
    return f"{shown.table.id}: {shown.table.paper}, {name}" + (" (number inferred)" if inferred else "")


@dataclass(frozen=True)
class _Style:
    """How the parts of a table are written.

    Args:
        head: Title, caption and status.
        heading: Of a block.
        grid: Column heads and rows.
        text: A line of a list.
        mark: A mark and its meaning.
        marks: What the list of these begins with.
    """

    head: Callable[[str, str, str], str]
    heading: Callable[[str], str]
    grid: Callable[[Sequence[str], Sequence[Group]], str]
    text: Callable[[str], str]
    mark: Callable[[str, str], str]
    marks: str


def terminal(shown: ShownTable) -> str:
    """For a terminal; wide enough never to fold a cell."""
    return _written(shown, _TERMINAL)


def markdown(shown: ShownTable) -> str:
    """For Markdown with tables."""
    return _written(shown, _MARKDOWN)


def _written(shown: ShownTable, style: _Style) -> str:
    parts = [style.head(title(shown), shown.table.caption, status(shown))]
    for block in shown.blocks:
        parts.append(style.heading(block_title(shown, block)))
        parts += [style.grid(heads, groups) for heads, groups in (score_grid(block), cost_grid(block)) if groups]
        parts.append("\n".join(f"- {style.text(line)}" for line in note_lines(block)))
    if legend := legend_lines(shown):
        parts.append(style.marks + "\n".join(f"- {style.mark(text, meaning)}." for text, meaning in legend))
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


def _underlined(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}"


_TERMINAL = _Style(
    head=lambda name, caption, told: f"{_underlined(name, '=')}\n{caption}\n{told}",
    heading=lambda name: _underlined(name, "-"),
    grid=_drawn,
    text=str,
    mark=lambda text, meaning: f"{text}: {meaning}",
    marks="Marks\n-----\n",
)
_MARKDOWN = _Style(
    head=lambda name, caption, told: "\n\n".join((f"## {_escape(name)}", _escape(caption), _escape(told))),
    heading=lambda name: f"### {_escape(name)}",
    grid=_markdown_table,
    text=_escape,
    mark=lambda text, meaning: f"**{_escape(text)}**: {_escape(meaning)}",
    marks="Marks:\n\n",
)
