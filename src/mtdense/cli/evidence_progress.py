"""How `mtdense evidence run` and `mtdense table run` show what they are doing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from mtdense.core.words import counted
from mtdense.reports.evidence import Progress as Silent
from mtdense.reports.training_run import TrainingRun

__all__ = ["TerminalProgress"]


class TerminalProgress(Silent):
    """A bar per stage on a terminal, and in any case a line for each program that has ended.

    Args:
        place: Folder of the runs.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """A line to standard output, above the bars."""
        if self._bar.disable:
            print(text, flush=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False)

    def planned(self, what: str, trials: Sequence[TrainingRun]) -> None:
        """A bar of its own for each kind of program and stage."""
        if not trials:
            return
        name = {"fit": "Training", "test": "Testing"}[what]
        self._bars[what] = self._bar.add_task(name, total=len(trials))
        self.say(f"{name}: {counted(len(trials), 'run')} in {self.place}")

    def done(self, what: str, trial: TrainingRun) -> None:
        """One more."""
        if what in self._bars:  # what another process left undone was not planned
            self._bar.advance(self._bars[what])
