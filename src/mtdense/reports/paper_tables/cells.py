"""Cells of a printed table, recomputed from run records."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from mtdense.core.errors import ConfigError, DataError
from mtdense.metrics.functional import delta_m
from mtdense.reports.evidence.paired import Difference
from mtdense.reports.paper_tables.comparable import check_block, check_pair, read_source, single_backbone
from mtdense.reports.paper_tables.costs import TIMED
from mtdense.reports.paper_tables.marks import missing_mark, not_run_mark, record_marks
from mtdense.reports.paper_tables.shown import (
    Measured,
    Run,
    ShownBlock,
    ShownCell,
    ShownCost,
    ShownDelta,
    ShownRow,
    ShownTable,
    Source,
)
from mtdense.reports.paper_tables.structure import METRIC_NAMES, SINGLE_TASK, Block, PaperColumn, PaperTable, Row
from mtdense.reports.training_run import partial_test

__all__ = ["shown_table"]

Scores = dict[str, dict[int, float]]
"""{task: {seed: score in the paper's unit}}."""

_COUNTS = {
    "thop": "counted as thop does",
    "ptflops": "counted as ptflops does",
    "macs": "counted with every multiply-accumulate, attention products included",
}
# Whose row gains are taken against where the paper names none; the first that the block has.
_BASELINES = ("mtl_baseline", SINGLE_TASK)


def shown_table(
    table: PaperTable,
    runs: Callable[[Block, Row], Sequence[Run]],
    costs: Callable[[Block, Row], Mapping[str, float]] | None = None,
    own: Callable[[Block, Row], Mapping[str, Any]] | None = None,
    budget: str = "full",
    wanted: Collection[tuple[Block, Row]] | None = None,
) -> ShownTable:
    """Reads the records of a table's runs and sets them beside the paper's figures.

    Args:
        table: See `read_table`.
        runs: The runs of a row that has an experiment.
        costs: {cost: figure} of a row that has an experiment; None leaves ours empty.
        own: Configuration of the row's own experiment, by which runs of another backbone, preset or image size are
            marked; None: by the row's backbone alone.
        budget: Of the runs, to be told.
        wanted: Show these rows alone; None: all. Those that gains are taken against are read all the same.

    Raises:
        DataError: A record that is damaged, edited or of another run, or records that cannot be compared; the message
            names the files.
    """

    def counted(block: Block, row: Row) -> Mapping[str, float]:
        return costs(block, row) if costs is not None and (wanted is None or (block, row) in wanted) else {}

    shown = [_block(block, runs, counted, own) for block in table.blocks]
    for block in shown:
        block.rows = [row for row in block.rows if wanted is None or (block.block, row.row) in wanted]
    return ShownTable(table, budget, [block for block in shown if block.rows])


def _block(
    block: Block,
    runs: Callable[[Block, Row], Sequence[Run]],
    costs: Callable[[Block, Row], Mapping[str, float]] | None,
    own: Callable[[Block, Row], Mapping[str, Any]] | None,
) -> ShownBlock:
    shown = [ShownRow(row, []) for row in block.rows]
    scores: dict[str, Scores] = {}
    for each in shown:
        row = each.row
        planned = list(runs(block, row)) if row.experiment is not None and block.columns else []
        each.sources = [found for run in planned if (found := read_source(block, row, run)) is not None]
        scores[row.id] = _scores(block, each)
        each.costs = _costs(block, row, costs)
        _set_marks(block, each, planned, own)
    check_block([source for each in shown for source in each.sources])
    by_id = {each.row.id: each for each in shown}
    for each in shown:
        _fill(block, each, by_id, scores)
    return ShownBlock(block, shown, _block_notes(block, shown))


def _scores(block: Block, shown: ShownRow) -> Scores:
    found: Scores = {}
    for source in shown.sources:
        for column in block.columns:
            if column.task in source.record.tasks:
                value = _value(column, source, shown)
                if value is not None:
                    found.setdefault(column.task, {})[source.run.seed] = value
    return found


def _value(column: PaperColumn, source: Source, shown: ShownRow) -> float | None:
    name, factor = METRIC_NAMES[column.metric]
    metric = next((m for m in source.record.metrics if (m.task, m.name) == (column.task, name)), None)
    if metric is None:
        shown.notes.append(f"{column.task} {name} was not measured in {source.path}.")
        return None
    if metric.higher_is_better != column.higher_is_better:
        raise DataError(
            f"{source.path}: of {column.task} {name} {'higher' if metric.higher_is_better else 'lower'} is better, "
            "the table says the opposite",
            "correct `better` in the table's file.",
        )
    if not math.isfinite(metric.value):
        shown.notes.append(f"{column.task} {name} is no number in {source.path}.")
        return None
    return metric.value * factor


def _costs(block: Block, row: Row, costs: Callable[[Block, Row], Mapping[str, float]] | None) -> list[ShownCost]:
    if block.costs is None:
        return []
    ours = costs(block, row) if costs is not None and row.experiment is not None else {}
    return [ShownCost(name, row.paper.cost.get(name), ours.get(name)) for name in block.costs.columns]


def _set_marks(
    block: Block,
    shown: ShownRow,
    planned: Sequence[Run],
    own: Callable[[Block, Row], Mapping[str, Any]] | None,
) -> None:
    """Marks of the row, and notes on runs that give it no figures."""
    row = shown.row
    if row.missing is not None:
        shown.marks.append(missing_mark())
        shown.notes.append(f"Not in the suite: {row.missing}")
        return
    told = None if own is None else own(block, row)
    marks = [mark for source in shown.sources for mark in record_marks(source.run.budget, row, source.record, told)]
    shown.marks += list(dict.fromkeys(marks))
    if block.columns and not shown.sources:
        shown.marks.append(not_run_mark())
    states: dict[str, list[str]] = {}
    for run in planned:
        states.setdefault(run.state().name.lower(), []).append("/".join(filter(None, (run.task, f"seed {run.seed}"))))
        if block.columns and run.tested() is None and (partial := partial_test(run.folder)) is not None:
            shown.notes.append(f"Left out, {'/'.join(filter(None, (run.task, f'seed {run.seed}')))}: {partial}.")
    if "diverged" in states:
        shown.notes.append(f"Diverged (the loss became no number): {', '.join(states['diverged'])}.")
    if "partial" in states:
        shown.notes.append(f"Begun, not finished: {', '.join(states['partial'])}.")
    if "other" in states:
        shown.notes.append(f"Left out, of another configuration or data version: {', '.join(states['other'])}.")


def _reference(block: Block, row: Row, wanted: Sequence[str]) -> Row | None:
    """The row that the paper compares with, else that of a wanted method with the row's backbone and tasks."""
    if block.delta_reference is not None:
        return None if row.id == block.delta_reference else block.row(block.delta_reference)
    found = {
        each.method: each
        for each in reversed(block.rows)
        if each.backbone == row.backbone and set(row.tasks) <= set(each.tasks) and each.id != row.id
    }
    if row.method in wanted:
        # A baseline has those before it as its own reference, never those that are compared with it.
        wanted = wanted[wanted.index(row.method) + 1 :]
    return next((found[method] for method in wanted if method in found), None)


def _fill(block: Block, shown: ShownRow, rows: Mapping[str, ShownRow], scores: Mapping[str, Scores]) -> None:
    row = shown.row
    reference = _reference(block, row, _BASELINES)
    baseline = _reference(block, row, (SINGLE_TASK,))
    for other in {each.id: each for each in (reference, baseline) if each is not None}.values():
        if single_backbone(row, other):
            check_pair(shown.sources, rows[other.id].sources)
    if reference is not None and not single_backbone(row, reference):
        shown.notes.append(
            f"Neither gains nor Δm: the paper compares {row.backbone or 'an unnamed backbone'} with "
            f"{reference.backbone or 'an unnamed one'} in {reference.id}."
        )
        reference = baseline = None
    shown.reference = reference
    comparable = all(mark.comparable for mark in shown.marks)
    theirs = scores[reference.id] if reference is not None else {}
    shown.cells = [
        _cell(block, shown, column, scores[row.id], reference, theirs, comparable) for column in block.columns
    ]
    shown.delta = _delta(block, shown, baseline, rows, scores)


def _cell(
    block: Block,
    shown: ShownRow,
    column: PaperColumn,
    ours: Scores,
    reference: Row | None,
    theirs: Scores,
    comparable: bool,
) -> ShownCell:
    row, task = shown.row, column.task
    values = dict(sorted(ours.get(task, {}).items()))
    gain = _gain(row, reference, column, values, theirs.get(task, {})) if reference is not None else None
    paper_gain = None
    if reference is not None and task not in (*row.suspect, *reference.suspect):
        a, b = row.paper.best_known().get(task), reference.paper.best_known().get(task)
        if block.value_kind == "absolute" and a is not None and b is not None:
            paper_gain = (a - b) * (1 if column.higher_is_better else -1)
    measured = Measured(tuple(values), tuple(values.values())) if values else None
    if block.value_kind == "improvement":
        # The paper prints gains, so ours is the gain; a score would stand in the wrong column.
        measured = Measured(gain.seeds, gain.values) if gain is not None else None
    return ShownCell(
        column=column,
        is_gain=block.value_kind == "improvement",
        printed=row.paper.values.get(task),
        corrected=row.paper.corrected.get(task),
        suspect=task in row.suspect,
        ours=measured,
        comparable=comparable,
        paper_gain=paper_gain,
        gain=gain if block.value_kind == "absolute" else None,
    )


def _gain(
    row: Row, reference: Row, column: PaperColumn, ours: Mapping[int, float], theirs: Mapping[int, float]
) -> Difference | None:
    seeds = tuple(seed for seed in ours if seed in theirs)
    if not seeds:
        return None
    sign = 1.0 if column.higher_is_better else -1.0
    values = tuple(sign * (ours[seed] - theirs[seed]) for seed in seeds)
    figure = f"{column.task}/{METRIC_NAMES[column.metric][0]}"
    complete = set(ours) == set(theirs)
    return Difference(row.id, reference.id, figure, column.unit, seeds, values, complete)


def _delta(
    block: Block,
    shown: ShownRow,
    baseline: Row | None,
    rows: Mapping[str, ShownRow],
    scores: Mapping[str, Scores],
) -> ShownDelta:
    row = shown.row
    if baseline is None or block.value_kind == "improvement":
        return ShownDelta(printed=row.paper.delta_m)
    higher = {column.task: column.higher_is_better for column in block.columns}
    formed = _paper_delta(row, baseline, higher)
    comparable = all(mark.comparable for mark in (*shown.marks, *rows[baseline.id].marks))
    ours, theirs = scores[row.id], scores[baseline.id]
    if not ours:
        return ShownDelta(row.paper.delta_m, formed, None, comparable)
    lacking = [task for task in row.tasks if task not in ours or task not in theirs]
    if lacking:
        shown.notes.append(f"No Δm of ours: {', '.join(lacking)} is not measured here or in {baseline.id}.")
        return ShownDelta(row.paper.delta_m, formed, None, comparable)
    every = [set(found[task]) for found in (ours, theirs) for task in row.tasks]
    seeds = tuple(sorted(set.intersection(*every)))
    if not seeds:
        shown.notes.append(f"No Δm of ours: no seed is measured in all tasks here and in {baseline.id}.")
        return ShownDelta(row.paper.delta_m, formed, None, comparable)
    try:
        values = tuple(
            delta_m({t: ours[t][seed] for t in row.tasks}, {t: theirs[t][seed] for t in row.tasks}, higher)
            for seed in seeds
        )
    except ConfigError as error:
        shown.notes.append(f"No Δm of ours: {error.problem}.")
        return ShownDelta(row.paper.delta_m, formed, None, comparable)
    used = tuple(
        source
        for source in rows[baseline.id].sources
        if source.run.seed in seeds and source.run.task in (None, *row.tasks)
    )
    return ShownDelta(row.paper.delta_m, formed, Measured(seeds, values), comparable, used)


def _paper_delta(row: Row, baseline: Row, higher: Mapping[str, bool]) -> float | None:
    """The paper's Δm by arithmetic; None where a figure is missing, suspect or zero."""
    ours, theirs = row.paper.best_known(), baseline.paper.best_known()
    if any(task in (*row.suspect, *baseline.suspect) or task not in ours or task not in theirs for task in row.tasks):
        return None
    try:
        return delta_m({t: ours[t] for t in row.tasks}, {t: theirs[t] for t in row.tasks}, higher)
    except ConfigError:
        return None


def _block_notes(block: Block, rows: Sequence[ShownRow]) -> list[str]:
    """What all rows share: the reference, data, seeds and metrics' conventions."""
    notes = [block.note] if block.note else []
    notes += _cost_notes(rows)
    references = {row.reference.id: row.reference for row in rows if row.reference is not None}
    if references and any(cell.gain is not None for row in rows for cell in row.cells):
        named = ", ".join(f"{each.label} ({each.id})" for each in references.values())
        notes.append(
            f"Gains are against {named}, positive where better; ours are paired by seed, with Student's 95 % interval."
        )
    records = [source.record for row in rows for source in row.sources]
    versions = dict.fromkeys(str(record.data.get("version")) for record in records)
    if versions:
        notes.append(f"Data of ours: {', '.join(versions)}; images of {_sizes(records)}.")
        notes.append(f"Seeds {_join(sorted({record.seed for record in records}))}; steps {_steps(rows)}.")
        notes += dict.fromkeys(
            f"{m.task} {m.name}: {m.protocol}." for record in records for m in record.metrics if m.protocol
        )
    return notes


def _cost_notes(rows: Sequence[ShownRow]) -> list[str]:
    """How ours were counted, and of which device they are."""
    ways: dict[str, list[str]] = {}
    for row in rows:
        if row.row.costs is not None and any(cost.ours is not None for cost in row.costs):
            height, width = row.row.costs.size
            ways.setdefault(f"one image of {height}x{width}, {_COUNTS[row.row.costs.count]}", []).append(row.row.id)
    main = max(ways, key=lambda way: len(ways[way]), default="")
    told = [way + ("" if way == main else f" ({', '.join(ids)})") for way, ids in ways.items()]
    notes = [f"Our costs: {'; '.join(told)}."] if told else []
    if any(cost.ours is not None and cost.name in TIMED for row in rows for cost in row.costs):
        notes.append("Our latency and memory are of the device that was named, with random weights; not the paper's.")
    return notes


def _sizes(records: Sequence[Any]) -> str:
    return _join(dict.fromkeys("x".join(map(str, record.data.get("size") or ["?"])) for record in records))


def _steps(rows: Sequence[ShownRow]) -> str:
    """One number where all agree, else each row's."""
    steps = {row.row.id: sorted({source.record.steps for source in row.sources}) for row in rows if row.sources}
    if len({tuple(each) for each in steps.values()}) == 1:
        return _join(next(iter(steps.values())))
    return "; ".join(f"{name} {_join(each)}" for name, each in steps.items())


def _join(values: Any) -> str:
    return ", ".join(map(str, values))
