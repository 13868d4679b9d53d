"""The table of `mtdense bench train`, for a terminal or for a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtdense.reports.bench.train import StepTime

__all__ = ["PLAIN", "cells", "markdown", "ratios"]

PLAIN = " (plain)"
"""What the name of an experiment in the plain arrangement ends in."""


def ratios(rows: Sequence[StepTime]) -> dict[str, float]:
    """{row: its time over that of its experiment in the plain arrangement, or over the first row's without one}."""
    seconds = {row.name: row.seconds for row in rows}
    return {row.name: row.seconds / seconds.get(row.name + PLAIN, rows[0].seconds) for row in rows}


def cells(rows: Sequence[StepTime], images: int, peaks: dict[str, float], data: dict[str, float]) -> list[list[str]]:
    """Heads and rows as text.

    Args:
        rows: What was measured.
        images: Images of a step.
        peaks: {row: floating-point operations a second of a matrix product in its precision}.
        data: {row: seconds in which its data gives a batch}, where measured.
    """
    heads = ["experiment", "images/s", "ms", "shortest", "longest", "ratio", "forward", "loss", "backward", "optimizer"]
    heads += ["GFLOP", "of peak", "memory [GB]", "parameters [M]"] + (["data"] if data else [])
    parts = any(row.operators for row in rows)
    heads += ["largest parts of forward", "largest operators"] if parts else []
    lines, ratio = [heads], ratios(rows)
    for row in rows:
        times = [row.seconds, *row.spread]
        line = [row.name, f"{images / row.seconds:.2f}", *(f"{1e3 * t:.0f}" for t in times)]
        line.append(f"{ratio[row.name]:.2f}")
        line += [f"{row.split[part] / sum(row.split.values()):.0%}" for part in heads[6:10]]
        line += [f"{row.flops / 1e9:.0f}", f"{row.flops / row.seconds / peaks[row.name]:.0%}"]
        line.append("-" if row.peak_memory is None else f"{row.peak_memory / 1e9:.2f}")
        line.append(f"{row.params / 1e6:.1f}")
        if data:
            line.append(f"{1e3 * data[row.name]:.0f} ms" if row.name in data else "-")
        if parts:
            line += [_largest(row.forward), _largest(row.operators)]
        lines.append(line)
    return lines


def _largest(shares: dict[str, float]) -> str:
    return ", ".join(f"{name or 'rest'} {share:.0%}" for name, share in list(shares.items())[:3]) or "-"


def markdown(lines: Sequence[Sequence[str]], words: Sequence[str] = ("experiment", "largest")) -> str:
    """A table of Markdown; columns of numbers stand to the right.

    Args:
        lines: Heads, then rows.
        words: How the heads of columns of text begin.
    """
    heads, *rows = lines
    rule = [":--" if head.startswith(tuple(words)) else "--:" for head in heads]
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *rows])
