"""Precision-recall curves of metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtdense.core.optional import require

__all__ = ["plot_precision_recall"]


def plot_precision_recall(
    precision: Sequence[float], recall: Sequence[float], best: int, name: str, ax: Any | None = None
) -> tuple[Any, Any]:
    """Draws a precision-recall curve and marks one point of it.

    Args:
        precision: (K,) fractions.
        recall: (K,) fractions.
        best: Index of the point to mark.
        name: Title.
        ax: Matplotlib axes to draw in; None for a new figure.

    Returns:
        Figure and axes.

    Raises:
        MissingDependencyError: Matplotlib is not installed.
    """
    if ax is None:
        _, ax = require("matplotlib.pyplot", "viz").subplots()
    ax.plot(recall, precision, marker=".")
    ax.plot([recall[best]], [precision[best]], marker="o", markersize=9, linestyle="none", label="highest F")
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="Recall", ylabel="Precision", title=name)
    ax.grid(alpha=0.3)
    ax.legend()
    return ax.figure, ax
