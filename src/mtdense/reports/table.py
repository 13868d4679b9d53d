"""Comparison tables made from run records: rows, mean and deviation over seeds, and Δm."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtdense.core.errors import ConfigError, DataError
from mtdense.metrics.functional import delta_m
from mtdense.reports.run_record import MetricValue, RunRecord
from mtdense.reports.same_data import DATA_KEYS, first_difference

__all__ = ["SINGLE_TASK", "Column", "ComparisonTable", "TableRow", "build_table", "load_records"]

SINGLE_TASK = "single_task"
"""Method id whose rows are combined over tasks and serve as the reference of Δm."""

_DATA_KEYS = ("size", *DATA_KEYS)

Sourced = tuple[str, RunRecord]


@dataclass(frozen=True)
class Column:
    """One metric of one task.

    Args:
        task: Task name.
        name: Metric name.
        unit: Unit of the stored values.
        higher_is_better: Direction.
        primary: Whether Δm uses it.
        protocol: Conventions of the metric; see `MetricValue`.
    """

    task: str
    name: str
    unit: str
    higher_is_better: bool
    primary: bool
    protocol: str = ""


@dataclass
class TableRow:
    """One method with one backbone, over its seeds.

    Args:
        method: Method id.
        backbone: Backbone id.
        variant: Variant of the method; "" is the method itself.
        trivial: Whether it never looks at the image.
        seeds: Seeds in order; None where nothing is random.
        values: Per column (task, metric), one value per seed; a missing key is a figure that nobody measured.
        delta_m: Δm in percent per seed, against the single-task row of that seed; None where it cannot be formed.
        steps: Optimiser steps of the runs, without repeats.
        selections: How the weights of the runs were chosen ("last", "best_val", ...), without repeats.
        parameters: Number of parameters (of all networks together in a single-task row); None where seeds differ.
    """

    method: str
    backbone: str
    variant: str
    trivial: bool
    seeds: list[int | None]
    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    delta_m: list[float] | None = None
    steps: list[int] = field(default_factory=list)
    selections: list[str] = field(default_factory=list)
    parameters: int | None = None

    @property
    def label(self) -> str:
        """Method, with its variant in brackets."""
        return f"{self.method} ({self.variant})" if self.variant else self.method


@dataclass
class ComparisonTable:
    """Rows and columns, and what a reader must know to believe them.

    Args:
        columns: Metrics in order of tasks.
        rows: Trivial predictors first, then single-task, then the others.
        data: What all rows have in common (name, version, label setting, mask checksum, sizes).
        notes: Sentences below the table: seeds, steps, data, missing figures.
    """

    columns: list[Column]
    rows: list[TableRow]
    data: dict[str, Any]
    notes: list[str]


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); None for the latter with fewer than two values."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def load_records(folders: Iterable[Path]) -> list[Sourced]:
    """Reads the test and trivial records below the given folders.

    Of each run counts `records/test.json`, which is the test of its last checkpoint on all its tasks. Further tests of
    the run (`test-best.json`, ...) count only where there is no `test.json`, or where they are given by their paths.
    Tests of a part of the data (`test-partial.json`) never do; an old record of one is passed over with a warning.

    Args:
        folders: Run folders, or folders of run folders, or record files themselves.

    Returns:
        (path, record), sorted by path.

    Raises:
        DataError: A folder is missing or holds no such record, a record is damaged or edited, or one that is given by
            its path is of a part of the data.
    """
    found: dict[Path, RunRecord] = {}
    for folder in map(Path, folders):
        if not folder.exists():
            raise DataError(f"there is no run folder {folder}", "check the path.")
        files = [folder] if folder.is_file() else _record_files(folder)
        whole = {path.resolve(): record for path in files if (record := _whole(path, given=folder.is_file()))}
        if not whole:
            raise DataError(f"{folder} holds no test record", "run `mtdense test` on its checkpoint first.")
        found.update(whole)
    return [(str(path), record) for path, record in sorted(found.items()) if record.kind in ("test", "trivial")]


def _whole(path: Path, given: bool) -> RunRecord | None:
    """A record; None where it is of a part of the data and was found, not given."""
    record = RunRecord.read(path)
    if not (limits := record.partial):
        return record
    told = f"{path} is of a part of the data only ({', '.join(f'{key} {value}' for key, value in limits.items())})"
    mend = "run `mtdense test` again without this limit."
    if given:
        raise DataError(told, mend)
    warnings.warn(f"{told}, and is left out; {mend}", stacklevel=3)
    return None


def _record_files(folder: Path) -> list[Path]:
    main = list(folder.rglob("records/test.json"))
    tested = {path.parent for path in main}
    others = [path for path in folder.rglob("records/test-*.json") if path.parent not in tested]
    others = [path for path in others if not path.stem.endswith("-partial")]
    return [*main, *others, *folder.rglob("records/trivial-*.json")]


def build_table(sourced: Sequence[Sourced]) -> ComparisonTable:
    """Groups records into rows and forms Δm.

    Records of one (method, backbone, variant) become one row with a value per seed. Single-task records of one
    backbone and seed are combined over tasks. Δm follows Maninis et al. (2019): the mean over tasks of the relative
    change of the primary metric against the single-task network of the same backbone and seed, negated where lower
    is better.

    Args:
        sourced: (source, record) as `load_records` gives them.

    Raises:
        DataError: No records; records of different data, label settings, masks or sizes; metrics that differ in unit,
            direction or protocol; two runs for one place of the table.
    """
    sourced = [(source, record) for source, record in sourced if record.kind in ("test", "trivial")]
    if not sourced:
        raise DataError("there are no test records to make a table of", "run `mtdense test` first.")
    data = _common_data(sourced)
    columns = _columns(sourced)
    notes: list[str] = []
    rows = [_row(key, group, notes) for key, group in _groups(sourced).items()]
    rows.sort(key=lambda row: (not row.trivial, row.method != SINGLE_TASK, row.method, row.backbone, row.variant))
    for row in rows:
        _set_delta_m(row, rows, [column for column in columns if column.primary], notes)
    return ComparisonTable(columns, rows, data, [*_statement(rows, data), *_protocols(columns), *notes])


def _common_data(sourced: Sequence[Sourced]) -> dict[str, Any]:
    """Refuses to mix data that give different figures for the same network."""
    found = first_difference((record for _, record in sourced), _DATA_KEYS)
    if found is not None:
        first, second = sourced[found.first][0], sourced[found.second][0]
        raise DataError(
            f"{first} has {found.key} {found.ours!r} but {second} has {found.theirs!r}: not comparable in one table",
            "show runs on the same data, label setting, mask and size together, the others apart; single-task runs "
            "see the others' mask when `data.mask_tasks` names all tasks of the comparison.",
        )
    kept: dict[str, Any] = {}
    for key in (*_DATA_KEYS, "note"):
        told = [record.data[key] for _, record in sourced if record.data.get(key) not in (None, "")]
        kept.update({key: told[0]} if told else {})
    return kept


def _columns(sourced: Sequence[Sourced]) -> list[Column]:
    # Multi-task records know the order of tasks; single-task ones add what those lack.
    ordered = sorted(sourced, key=lambda item: -len(item[1].tasks))
    tasks = list(dict.fromkeys(task for _, record in ordered for task in record.tasks))
    columns: dict[tuple[str, str], tuple[Column, str]] = {}
    for source, record in ordered:
        for metric in record.metrics:
            direction = (metric.higher_is_better, metric.primary)
            column = Column(metric.task, metric.name, metric.unit, *direction, metric.protocol)
            known, known_source = columns.setdefault((metric.task, metric.name), (column, source))
            if known != column:
                raise DataError(
                    f"{metric.task}/{metric.name} is {known} in {known_source} but {column} in {source}",
                    "show these runs in separate tables.",
                )
    found = [column for column, _ in columns.values()]
    return sorted(found, key=lambda column: (tasks.index(column.task), not column.primary))


_Key = tuple[str, str, str, bool]


def _groups(sourced: Sequence[Sourced]) -> dict[_Key, list[Sourced]]:
    groups: dict[_Key, list[Sourced]] = {}
    for source, record in sourced:
        key = (record.method, record.backbone, record.variant, record.kind == "trivial")
        groups.setdefault(key, []).append((source, record))
    return groups


def _row(key: _Key, group: Sequence[Sourced], notes: list[str]) -> TableRow:
    method, backbone, variant, trivial = key
    by_seed: dict[int | None, dict[tuple[str, str], tuple[MetricValue, str]]] = {}
    parameters: dict[int | None, int] = {}
    for source, record in group:
        metrics = by_seed.setdefault(record.seed, {})
        if trivial and metrics and all(known[0] in record.metrics for known in metrics.values()):
            continue  # every run folder of a study may hold the same trivial record
        _refuse_repeat(method, record, metrics, source)
        metrics.update({(metric.task, metric.name): (metric, source) for metric in record.metrics})
        parameters[record.seed] = parameters.get(record.seed, 0) + record.parameters
    seeds = sorted(by_seed, key=lambda seed: (seed is not None, seed or 0))
    row = TableRow(method, backbone, variant, trivial, seeds)
    row.steps = sorted({record.steps for _, record in group})
    row.selections = sorted({record.selection for _, record in group if record.selection is not None})
    row.parameters = next(iter(parameters.values())) if len(set(parameters.values())) == 1 else None
    for place in dict.fromkeys(place for metrics in by_seed.values() for place in metrics):
        missing = [seed for seed in seeds if place not in by_seed[seed]]
        if missing:
            notes.append(
                f"{row.label}: {'/'.join(place)} was not measured for seed {_join(missing)}, so it is left out."
            )
            continue
        row.values[place] = [by_seed[seed][place][0].value for seed in seeds]
    return row


def _refuse_repeat(
    method: str, record: RunRecord, known: dict[tuple[str, str], tuple[MetricValue, str]], source: str
) -> None:
    """One place of the table takes one run; only single-task runs of different tasks share a row."""
    clash = [known[(m.task, m.name)][1] for m in record.metrics if (m.task, m.name) in known]
    if not clash and known and method != SINGLE_TASK:
        clash = [next(iter(known.values()))[1]]
    if clash:
        raise DataError(
            f"{clash[0]} and {source} are both {method} with backbone {record.backbone!r} and seed {record.seed}",
            "leave one of them out, or give one a row of its own: run `mtdense test` (or `fit`) again with "
            "`--variant NAME`.",
        )


def _set_delta_m(row: TableRow, rows: Sequence[TableRow], primary: Sequence[Column], notes: list[str]) -> None:
    if row.trivial or row.method == SINGLE_TASK:
        return
    references = [r for r in rows if r.method == SINGLE_TASK and r.backbone == row.backbone]
    # An ablation may have its own single-task networks; else those of the plain method count.
    references.sort(key=lambda r: (r.variant != row.variant, r.variant != ""))
    if not references or references[0].variant not in (row.variant, ""):
        notes.append(f"{row.label}: no Δm, because there are no single-task runs with backbone {row.backbone!r}.")
        return
    reference = references[0]
    absent = [seed for seed in row.seeds if seed not in reference.seeds]
    if absent:
        notes.append(f"{row.label}: no Δm, because there are no single-task runs with seed {_join(absent)}.")
        return
    places = [(column.task, column.name) for column in primary]
    lacking = [task for task, name in places if (task, name) not in row.values or (task, name) not in reference.values]
    if lacking:
        notes.append(f"{row.label}: no Δm, because {', '.join(lacking)} is missing here or in the single-task row.")
        return
    try:
        row.delta_m = [_delta_m(row, reference, seed, primary) for seed in row.seeds]
    except ConfigError as error:
        notes.append(f"{row.label}: no Δm, because {error.problem}.")


def _delta_m(row: TableRow, reference: TableRow, seed: int | None, primary: Sequence[Column]) -> float:
    ours, theirs = row.seeds.index(seed), reference.seeds.index(seed)
    return delta_m(
        {column.task: row.values[column.task, column.name][ours] for column in primary},
        {column.task: reference.values[column.task, column.name][theirs] for column in primary},
        {column.task: column.higher_is_better for column in primary},
    )


def _statement(rows: Sequence[TableRow], data: dict[str, Any]) -> list[str]:
    """What every printed table says about itself."""
    trained = [row for row in rows if not row.trivial]
    said = []
    if trained:
        seeds = list(dict.fromkeys(seed for row in trained for seed in row.seeds))
        said.append(f"Seeds: {_join(seeds)}. Optimiser steps per network: {_steps(trained)}.")
        if any(len(row.seeds) > 1 for row in trained):
            said.append("Figures are mean ± sample standard deviation over seeds; Δm is formed per seed.")
        if len({selection for row in trained for selection in row.selections}) > 1:
            chosen = "; ".join(f"{row.label} {row.backbone} {_join(row.selections) or 'unstated'}" for row in trained)
            said.append(f"Not alike: the tested weights were chosen in different ways: {chosen}.")
    parts = [f"{key.replace('_', ' ')} {_short(value)}" for key, value in data.items() if key != "note"]
    said.append(f"Data: {', '.join(parts) or 'not described'}.")
    if data.get("note"):
        said.append(str(data["note"]))
    elif data.get("name") == "procedural":
        said.append("Procedural scenes: not a benchmark of the literature.")
    return said


def _protocols(columns: Sequence[Column]) -> list[str]:
    """How scores were taken where published evaluators disagree."""
    return [f"{column.task} {column.name}: {column.protocol}." for column in columns if column.protocol]


def _steps(rows: Sequence[TableRow]) -> str:
    """One number where all rows agree; else each row's own, because unequal training is no fair comparison."""
    if len({tuple(row.steps) for row in rows}) == 1:
        return _join(rows[0].steps)
    return "; ".join(f"{row.label} {row.backbone} {_join(row.steps)}" for row in rows)


def _short(value: Any) -> str:
    """Checksums by their first digits, sizes as 64x80."""
    if isinstance(value, str) and len(value) == 64:
        return value[:12]
    if isinstance(value, list):
        return "x".join(map(str, value))
    return str(value)


def _join(values: Iterable[Any]) -> str:
    return ", ".join(str(value) for value in values)
