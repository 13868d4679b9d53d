"""What a printed table of a paper is made of: figures, and the experiment that each row is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtdense.core.errors import ConfigError
from mtdense.core.suggest import did_you_mean

__all__ = [
    "COSTS",
    "METRIC_NAMES",
    "SETTINGS",
    "SINGLE_TASK",
    "Block",
    "CostCount",
    "PaperColumn",
    "PaperTable",
    "Printed",
    "Row",
    "row_overrides",
]

METRIC_NAMES: dict[str, tuple[str, float]] = {
    "miou": ("mIoU", 100.0),
    "maxf": ("maxF", 100.0),
    "odsf": ("odsF", 100.0),
    "merr": ("mErr", 1.0),
    "rmse": ("RMSE", 1.0),
    "abserr": ("absErr", 1.0),
    "mds": ("mDS", 100.0),
}
"""{metric of a table: (name in run records, factor from the record's unit to the paper's)}."""

COSTS = (
    "params_m",
    "extra_params_m",
    "encoder_params_m",
    "decoder_params_m",
    "gflops",
    "latency_s",
    "memory_gb",
)
"""Columns of cost; parameters in millions, `gflops` in 10⁹ as the counter of the table counts them."""

SETTINGS = ("full", "one-label", "random-label")
"""Label settings."""

SINGLE_TASK = "single_task"
"""The method whose row is one network per task."""


@dataclass(frozen=True)
class PaperColumn:
    """A column of scores.

    Args:
        task: Task id.
        metric: Key of `METRIC_NAMES`.
        higher_is_better: Direction.
        unit: Unit of the printed figures, such as percent or metres.
        decimals: To print with.
    """

    task: str
    metric: str
    higher_is_better: bool
    unit: str
    decimals: int


@dataclass(frozen=True)
class CostCount:
    """How our costs of a block are counted, and which.

    Args:
        size: Height and width of the one image.
        count: `thop`, `ptflops` (`mtdense.reports.profile.CONVENTIONS`) or `macs` (everything, `full_macs`).
        columns: Of `COSTS`, in printed order.
        extra_to: Row from which `extra_params_m` counts; None where there is no such column.
        overrides: Configuration laid over the row's for counting alone, such as parts that a public code holds and does
            not use.
    """

    size: tuple[int, int]
    count: str
    columns: tuple[str, ...]
    extra_to: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Printed:
    """What the paper prints in a row.

    Args:
        values: {task: score}; a task without one is not printed.
        corrected: {task: score} where arithmetic proves the print a slip.
        gains: {task: gain over the block's `delta_reference` in percent}.
        delta_m: Mean of the gains in percent.
        cost: {one of `COSTS`: figure}.
    """

    values: dict[str, float] = field(default_factory=dict)
    corrected: dict[str, float] = field(default_factory=dict)
    gains: dict[str, float] = field(default_factory=dict)
    delta_m: float | None = None
    cost: dict[str, float] = field(default_factory=dict)

    def best_known(self) -> dict[str, float]:
        """The values, corrected where they are proved wrong."""
        return {**self.values, **self.corrected}


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        id: Unique in its block.
        method: Canonical name; `single_task` means one network per task.
        backbone: Canonical name; None where nobody says it.
        label: As printed.
        experiment: Shipped experiment, as `mtdense fit --config` takes it; None where the suite lacks the method.
        overrides: Configuration laid over the experiment; see `row_overrides` for what is to be trained.
        paper: What is printed; empty for a row of ours that the paper compares with, but does not print.
        suspect: Tasks whose printed score is probably of another metric and is not to be compared.
        missing: Why there is no experiment; None where there is one.
        note: What is inferred or decided here.
        tasks: The row's tasks in the order of the columns; all of the block, or a subset.
        costs: How this row's costs are counted: the block's way, but for what its own `costs` says.
    """

    id: str
    method: str
    backbone: str | None
    label: str
    experiment: str | None
    overrides: dict[str, Any]
    paper: Printed
    suspect: tuple[str, ...]
    missing: str | None
    note: str
    tasks: tuple[str, ...]
    costs: CostCount | None = None


@dataclass(frozen=True)
class Block:
    """The rows of a table that share data, label setting and columns.

    Args:
        id: Unique in its table.
        dataset: Id of the data set as run records name it, such as "nyud_atrc"; None where only costs are printed.
        setting: One of `SETTINGS`.
        value_kind: `absolute` scores, or `improvement`: differences to the row `delta_reference` in the columns'
            units, positive where the row is better.
        delta_reference: Row against which gains and Δm are taken; None where there are none.
        note: What is inferred or decided here.
        columns: Columns of scores in printed order.
        costs: How costs are counted; None where none are printed.
        rows: In printed order.
    """

    id: str
    dataset: str | None
    setting: str
    value_kind: str
    delta_reference: str | None
    note: str
    columns: tuple[PaperColumn, ...]
    costs: CostCount | None
    rows: tuple[Row, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks of the columns."""
        return tuple(column.task for column in self.columns)

    def row(self, row_id: str) -> Row:
        """The row of that id.

        Raises:
            ConfigError: There is none.
        """
        for row in self.rows:
            if row.id == row_id:
                return row
        names = [row.id for row in self.rows]
        raise ConfigError(
            f"the block {self.id} has no row {row_id!r}", f"{did_you_mean(row_id, names)}There are: {', '.join(names)}."
        )


@dataclass(frozen=True)
class PaperTable:
    """A printed table.

    Args:
        id: Stem of its file, such as "bridgenet-4".
        system: Paper's system: bridgenet, tif, prototype or prompt_fusion.
        paper: Short title.
        table: Number as printed; "inferred: IV" where the caption is lost.
        caption: One line.
        status: `complete`, or `lost` where the paper's text speaks of a table that it does not hold.
        blocks: At least one.
        errata: {kind, where, detail} each.
        source: The file.
    """

    id: str
    system: str
    paper: str
    table: str
    caption: str
    status: str
    blocks: tuple[Block, ...]
    errata: tuple[dict[str, str], ...]
    source: Path

    @property
    def rows(self) -> tuple[tuple[Block, Row], ...]:
        """All rows with their blocks."""
        return tuple((block, row) for block in self.blocks for row in block.rows)


def row_overrides(block: Block, row: Row, task: str | None = None) -> dict[str, Any]:
    """The configuration to lay over the row's experiment: its own, and the tasks that its networks have.

    Args:
        block: The row's block.
        row: A row with an experiment.
        task: The one task of a network of a `single_task` row, which trains on the very labels that a network of all
            the block's tasks would see; None for a network of all the row's tasks.

    Raises:
        ConfigError: A task that the row has not, or None for a row of one network per task.
    """
    if (task is None) == (row.method == SINGLE_TASK) or task not in (None, *row.tasks):
        raise ConfigError(
            f"the row {row.id} of method {row.method} has no network of {task or 'all its tasks'}",
            f"name a task of {', '.join(row.tasks)} for a row of {SINGLE_TASK}, and none for any other.",
        )
    options: dict[str, Any] = {}
    if task is not None:
        options = {"tasks": [task], "mask_tasks": list(block.tasks), "only_labelled": True}
    elif row.tasks != block.tasks:
        options = {"tasks": list(row.tasks), "mask_tasks": list(block.tasks)}
    data = dict(row.overrides.get("data") or {})
    if options:
        data["init_args"] = {**(data.get("init_args") or {}), **options}
    return {**row.overrides, **({"data": data} if data else {})}
