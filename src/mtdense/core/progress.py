"""Progress bars for long loops: drawn on a terminal, silent everywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["track"]

T = TypeVar("T")

# Rich allows one live display per console; an inner loop of an outer one stays silent.
_showing = False


def track(
    iterable: Iterable[T], description: str = "Working", total: int | None = None, console: Console | None = None
) -> Iterator[T]:
    """Yields the items of `iterable` while a progress bar follows.

    The bar goes to standard error, so that piped output stays clean, and appears only where standard error is a
    terminal. Of nested calls only the outermost draws. Leaving the loop early (break, error, Ctrl-C) removes nothing
    from the iterable and restores the terminal.

    Args:
        iterable: Items to go through.
        description: Text left of the bar.
        total: Number of items; None asks `len(iterable)` where it has one.
        console: Where to draw; None is standard error.

    Yields:
        The items, unchanged and in order.
    """
    global _showing
    console = console if console is not None else Console(stderr=True)
    if _showing or not console.is_terminal:
        yield from iterable
        return
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    _showing = True
    try:
        with Progress(*columns, console=console) as progress:
            yield from progress.track(iterable, total=total, description=description)
    finally:
        _showing = False
