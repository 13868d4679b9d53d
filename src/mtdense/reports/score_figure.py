"""The precision-recall curve of an edge detector, over lines of equal F."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mtdense.core import require
from mtdense.core.errors import ConfigError
from mtdense.metrics.functional.odsf import precision_recall
from mtdense.reports.canonical import write_atomic
from mtdense.reports.score_run import highest

__all__ = ["FIGURE_TYPES", "check_figure", "draw_precision_recall"]

FIGURE_TYPES = (".png", ".pdf", ".svg")
"""File types that a figure can be written as."""

_LINES = np.arange(0.1, 0.95, 0.1)
_CURVE, _LINE, _INK = "#c0392b", "#9ab8a0", "#333333"


def check_figure(path: Path) -> None:
    """Checks, before long work, that a figure can be drawn.

    Raises:
        ConfigError: Unknown file type.
        MissingDependencyError: matplotlib is not installed.
    """
    if path.suffix.lower() not in FIGURE_TYPES:
        raise ConfigError(f"{path} is no name of a figure", f"End it in one of: {' '.join(FIGURE_TYPES)}.")
    require("matplotlib.figure", "viz", "3.9")


def draw_precision_recall(path: Path, counts: npt.NDArray[np.int64], title: str, label: str) -> None:
    """Draws precision over recall, one point per threshold, with the best F marked and lines of equal F behind.

    Args:
        path: File to write; its extension is one of `FIGURE_TYPES`.
        counts: (K, 4) of `edge_counts`, summed over images.
        title: Above the picture.
        label: Of the curve.

    Raises:
        ConfigError: Unknown file type.
        MissingDependencyError: matplotlib is not installed.
    """
    check_figure(path)
    precision, recall, f = precision_recall(counts)
    # Not pyplot, which keeps figures and may want a display.
    figure = require("matplotlib.figure", "viz", "3.9").Figure(figsize=(5, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for value in _LINES:
        along = np.geomspace(value / (2 - value), 1, 200)
        axes.plot(along, value * along / (2 * along - value), color=_LINE, linewidth=0.8, zorder=1)
        # At the end of the line, where precision is lowest.
        place = (1.008, value / (2 - value))
        text = f"F = {value:.1f}" if value == _LINES[-1] else f"{value:.1f}"
        axes.annotate(text, place, color=_LINE, fontsize=8, va="center", annotation_clip=False)
    # Where nothing is predicted, precision is 1 by definition, not by merit.
    drawn = counts[:, 3] > 0
    axes.plot(recall[drawn], precision[drawn], color=_CURVE, linewidth=1.8, label=label, zorder=3)
    if drawn.any():
        best = highest(f)
        axes.plot(recall[best], precision[best], "o", color=_CURVE, markersize=6, clip_on=False, zorder=4)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall", ylabel="precision", aspect="equal")
    axes.set_title(title, fontsize=11, color=_INK)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    figure.legend(loc="outside lower center", frameon=False, fontsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix.lower()[1:])
    write_atomic(path, content.getvalue())
