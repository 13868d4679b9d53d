"""A printed table beside what we measured: what every format shows."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from mtdense.reports.evidence.paired import Difference
from mtdense.reports.paper_tables.costs import TIMED
from mtdense.reports.paper_tables.marks import Mark
from mtdense.reports.paper_tables.structure import Block, PaperColumn, PaperTable, Row
from mtdense.reports.run_record import RunRecord

__all__ = ["Measured", "Run", "ShownBlock", "ShownCell", "ShownCost", "ShownDelta", "ShownRow", "ShownTable", "Source"]


class Run(Protocol):
    """A training with its test, as far as a report must know it."""

    @property
    def task(self) -> str | None:
        """The one task of its network; None for all of the row."""

    @property
    def seed(self) -> int:
        """Its seed."""

    @property
    def budget(self) -> str:
        """Such as smoke, short, short@120 or full."""

    @property
    def config(self) -> Mapping[str, Any]:
        """What it is to be."""

    @property
    def folder(self) -> Path:
        """Where it lies."""

    def state(self) -> Enum:
        """How far it has got."""

    def tested(self) -> RunRecord | None:
        """Its test; None while there is none."""


@dataclass(frozen=True)
class Source:
    """The record behind a figure.

    Args:
        run: Its run.
        path: Its file.
        record: What stands in it.
        sha256: Its checksum.
    """

    run: Run
    path: Path
    record: RunRecord
    sha256: str

    @property
    def name(self) -> str:
        """For notes: task, seed, and the start of the checksum."""
        return f"{self.run.task or 'all tasks'} seed {self.run.seed} {self.sha256[:12]}"


@dataclass(frozen=True)
class Measured:
    """A figure of ours.

    Args:
        seeds: In order.
        values: One per seed, in the paper's unit.
    """

    seeds: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over seeds; None of one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class ShownCell:
    """A task of a row.

    Args:
        column: What is scored.
        is_gain: The table prints how much better the row is than its reference; larger is better, whatever the metric.
        printed: As the paper prints it; None where it prints none.
        corrected: What arithmetic proves instead; None where the print stands.
        suspect: The printed figure is probably of another metric.
        ours: None where nothing was measured.
        comparable: Ours was measured on the paper's data with the paper's network.
        paper_gain: How much better the paper's row is than its reference row; None where that cannot be said.
        gain: The same of ours, seed by seed.
    """

    column: PaperColumn
    is_gain: bool = False
    printed: float | None = None
    corrected: float | None = None
    suspect: bool = False
    ours: Measured | None = None
    comparable: bool = True
    paper_gain: float | None = None
    gain: Difference | None = None

    @property
    def paper(self) -> float | None:
        """The paper's figure, corrected where it is proved wrong."""
        return self.printed if self.corrected is None else self.corrected

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's; None where one is missing or they must not be compared."""
        if self.ours is None or self.paper is None or self.suspect or not self.comparable:
            return None
        return self.ours.mean - self.paper

    @property
    def better_by(self) -> float | None:
        """The difference, positive where ours is better, as gains are already."""
        larger_is_better = self.is_gain or self.column.higher_is_better
        return None if self.difference is None else self.difference * (1 if larger_is_better else -1)


@dataclass(frozen=True)
class ShownDelta:
    """The Δm of a row, in percent.

    Args:
        printed: The paper's.
        formed: The paper's by our arithmetic from its figures, where it prints none.
        ours: Per seed; None where it cannot be formed.
        comparable: Ours was measured on the paper's data with the paper's networks.
        baselines: Records of the reference row that ours is formed with.
    """

    printed: float | None = None
    formed: float | None = None
    ours: Measured | None = None
    comparable: bool = True
    baselines: tuple[Source, ...] = ()

    @property
    def paper(self) -> float | None:
        """Printed, else formed."""
        return self.formed if self.printed is None else self.printed

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, in points."""
        if self.ours is None or self.paper is None or not self.comparable:
            return None
        return self.ours.mean - self.paper


@dataclass(frozen=True)
class ShownCost:
    """A cost of a row.

    Args:
        name: One of `COSTS`.
        paper: As printed.
        ours: Counted or timed here; None where it was not.
    """

    name: str
    paper: float | None
    ours: float | None

    @property
    def relative(self) -> float | None:
        """How much larger ours is, in percent of the paper's; None of what depends on the machine."""
        if self.ours is None or not self.paper or self.name in TIMED:
            return None
        return 100 * (self.ours - self.paper) / self.paper


@dataclass
class ShownRow:
    """A row.

    Args:
        row: What the table's file says of it.
        cells: One for each column of the block; of a task that the row has not, an empty one.
        delta: Δm.
        costs: One for each cost column of the block.
        marks: What tells it apart from the paper's own experiment.
        sources: The records behind it.
        notes: What a reader must know of this row.
        reference: Row against which gains are taken; None where there is none.
    """

    row: Row
    cells: list[ShownCell]
    delta: ShownDelta = field(default_factory=ShownDelta)
    costs: list[ShownCost] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reference: Row | None = None

    @property
    def measured(self) -> bool:
        """Whether any score was."""
        return any(cell.ours is not None for cell in self.cells)


@dataclass
class ShownBlock:
    """A block.

    Args:
        block: What the table's file says of it.
        rows: In printed order.
        notes: What a reader must know of it.
    """

    block: Block
    rows: list[ShownRow]
    notes: list[str] = field(default_factory=list)

    @property
    def has_delta(self) -> bool:
        """Whether any row has a Δm."""
        return any(row.delta.paper is not None or row.delta.ours is not None for row in self.rows)

    @property
    def has_gains(self) -> bool:
        """Whether differences between rows of ours were formed."""
        return any(cell.gain is not None for row in self.rows for cell in row.cells)

    @property
    def cost_names(self) -> tuple[str, ...]:
        """Its cost columns."""
        return () if self.block.costs is None else self.block.costs.columns


@dataclass
class ShownTable:
    """A table.

    Args:
        table: What its file says.
        budget: Whose runs are shown.
        blocks: In printed order.
    """

    table: PaperTable
    budget: str
    blocks: list[ShownBlock]

    @property
    def legend(self) -> list[Mark]:
        """All marks of all rows, by kind: what each means."""
        found = {mark.kind: mark for block in self.blocks for row in block.rows for mark in row.marks}
        return list(found.values())

    @property
    def rows(self) -> Sequence[tuple[ShownBlock, ShownRow]]:
        """All rows with their blocks."""
        return [(block, row) for block in self.blocks for row in block.rows]
