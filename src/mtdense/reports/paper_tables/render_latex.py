"""A paper's table as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mtdense.reports.paper_tables.figures import block_title, legend_lines, note_lines
from mtdense.reports.paper_tables.grid import Group, cost_grid, score_grid
from mtdense.reports.paper_tables.render_text import status, title
from mtdense.reports.paper_tables.shown import ShownBlock, ShownTable

__all__ = ["latex"]

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "Δ": r"$\Delta$",
    "°": r"$^\circ$",
    "–": "--",
    "’": "'",
}


def latex(shown: ShownTable) -> str:
    r"""A `table*` for each block, with its notes, then the marks; needs `\usepackage{booktabs}` alone."""
    parts = [f"% {_comment(title(shown))}\n% {_comment(status(shown))}\n% Needs \\usepackage{{booktabs}}."]
    for block in shown.blocks:
        parts.append(_block(shown, block))
    legend = legend_lines(shown)
    if legend:
        parts.append("\\paragraph{Marks}\n" + _items([f"{text}: {meaning}." for text, meaning in legend]))
    return "\n\n".join(parts) + "\n"


def _block(shown: ShownTable, block: ShownBlock) -> str:
    lines = [r"\begin{table*}", r"\centering", r"\small"]
    about = f"{title(shown)}: {block_title(shown, block)}. {shown.table.caption} {status(shown)}"
    lines += [f"\\caption{{{_escape(about)}}}", f"\\label{{tab:{_name(shown.table.id)}-{_name(block.block.id)}}}"]
    for heads, groups in (score_grid(block), cost_grid(block)):
        if groups:
            lines += [*_tabular(heads, groups), r"\par\medskip"]
    lines.append(r"\end{table*}")
    notes = note_lines(block)
    return "\n".join(lines) + (f"\n{_items(notes)}" if notes else "")


def _tabular(heads: Sequence[str], groups: Sequence[Group]) -> list[str]:
    lines = [f"\\begin{{tabular}}{{lll{'r' * len(heads)}}}", r"\toprule"]
    lines += [_line(map(_escape, ("method", "backbone", "", *heads))), r"\midrule"]
    for place, group in enumerate(groups):
        if place:
            lines.append(r"\addlinespace")
        marks = f"\\emph{{{_escape(group.marks)}}}" if group.marks else ""
        for first, backbone, line in group.headed(marks, _escape):
            lines.append(_line([first, *map(_escape, (backbone, line.name, *line.cells))]))
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _line(cells: Iterable[str]) -> str:
    # After a line's end, LaTeX takes a bracket or a star for its argument.
    kept = [f"{{}}{cell}" if cell.startswith(("[", "*")) else cell for cell in cells]
    return " & ".join(kept) + r" \\"


def _items(lines: Sequence[str]) -> str:
    body = "\n".join(f"  \\item {{}}{_escape(line)}" for line in lines)
    return f"\\begin{{itemize}}\\footnotesize\n{body}\n\\end{{itemize}}"


def _escape(text: str) -> str:
    escaped = "".join(_SPECIAL.get(char, char) for char in " ".join(text.split()))
    # A hyphen before a number is a minus.
    return re.sub(r"(?<![\w$}.-])([+-])(?=\d)", r"$\1$", escaped)


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", text)


def _comment(text: str) -> str:
    return " ".join(text.split())
