"""What a comparison found: a table per setting, paired differences, and what they decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mtdense.reports.evidence.alike import unlike
from mtdense.reports.evidence.paired import CONFIDENCE, Difference, order_verdict
from mtdense.reports.evidence.selection import Choice, choose
from mtdense.reports.evidence.trials import Comparison, State, Trial
from mtdense.reports.run_record import RunRecord
from mtdense.reports.table import SINGLE_TASK, Column, ComparisonTable, TableRow, build_table

__all__ = ["SettingSummary", "summarise"]


@dataclass
class SettingSummary:
    """The findings in one setting.

    Args:
        setting: Its id.
        table: Rows in the plan's order, named by the plan's method ids; None while nothing was tested.
        choices: Grid value of each network, with validation figures.
        differences: Of each pair: Δm, then the primary metric of each task.
        order: See `order_verdict`; None where the plan expects no order.
        missing: Runs that are not tested yet, for readers.
        diverged: Runs that were to be tested but diverged, and networks of which every grid value did.
        notes: What a reader must know to believe it.
    """

    setting: str
    table: ComparisonTable | None
    choices: list[Choice]
    differences: list[Difference] = field(default_factory=list)
    order: str | None = None
    missing: list[str] = field(default_factory=list)
    diverged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def summarise(comparison: Comparison) -> list[SettingSummary]:
    """Reads the records of a comparison, as far as it has got.

    Raises:
        DataError: A damaged or edited record, or records that cannot be compared.
    """
    return [_summarise(comparison, setting) for setting in comparison.plan.settings]


def _summarise(comparison: Comparison, setting: str) -> SettingSummary:
    plan = comparison.plan
    choices = [choose(comparison, network) for network in comparison.networks if network.setting == setting]
    sourced: list[tuple[Trial, RunRecord]] = []
    summary = SettingSummary(setting, None, choices)
    trainings = {t.id: t for choice in choices for t in comparison.grid_trials(choice.network)}
    for choice in choices:
        if choice.grid is None:
            (summary.diverged if choice.diverged else summary.missing).append(f"{choice.network.id}, all seeds")
            continue
        for trial in (comparison.trial(choice.network, choice.grid, seed) for seed in plan.seeds):
            trainings[trial.id] = trial
            if (record := trial.tested()) is not None:
                sourced.append((trial, record))
            else:
                (summary.diverged if trial.state() is State.DIVERGED else summary.missing).append(trial.id)
    if sourced:
        summary.table = _table(comparison, sourced)
        summary.differences = [d for a, b in plan.pairs for d in _differences(comparison, summary.table, a, b)]
    if plan.order:
        summary.order = order_verdict(plan.order, summary.differences)
    fitted = [(trial, record) for trial in trainings.values() if (record := trial.fitted()) is not None]
    summary.notes = [*_notes(comparison, setting), *unlike(fitted, sourced, list(trainings.values()))]
    return summary


def _table(comparison: Comparison, sourced: Sequence[tuple[Trial, RunRecord]]) -> ComparisonTable:
    """Rows by the plan's ids: two methods may be one class with different options."""
    reference, order = comparison.plan.reference, list(comparison.plan.methods)
    renamed = []
    for trial, record in sourced:
        method = trial.network.method
        # What Δm is measured against has this name in tables.
        name = SINGLE_TASK if method == reference else method
        renamed.append((trial.id, replace(record, method=name, variant="")))
    table = build_table(renamed)
    for row in table.rows:
        row.method = reference if row.method == SINGLE_TASK else row.method
    table.rows.sort(key=lambda row: order.index(row.method))
    return table


def _differences(comparison: Comparison, table: ComparisonTable, a: str, b: str) -> list[Difference]:
    found = []
    gains = {row.method: _gains(row, comparison.plan.reference) for row in table.rows}
    found.append(_difference(comparison, a, b, "delta_m", "percent", gains, 1.0))
    for column in (column for column in table.columns if column.primary):
        scores = {row.method: _scores(row, column) for row in table.rows}
        sign = 1.0 if column.higher_is_better else -1.0
        found.append(_difference(comparison, a, b, f"{column.task}/{column.name}", column.unit, scores, sign))
    return found


def _gains(row: TableRow, reference: str) -> dict[int | None, float]:
    """{seed: Δm}; of the reference itself it is 0 by definition."""
    values = [0.0] * len(row.seeds) if row.method == reference else row.delta_m
    return dict(zip(row.seeds, values, strict=True)) if values else {}


def _scores(row: TableRow, column: Column) -> dict[int | None, float]:
    values = row.values.get((column.task, column.name))
    return dict(zip(row.seeds, values, strict=True)) if values else {}


def _difference(
    comparison: Comparison,
    a: str,
    b: str,
    figure: str,
    unit: str,
    values: dict[str, dict[int | None, float]],
    sign: float,
) -> Difference:
    wanted = comparison.plan.seeds
    ours, theirs = values.get(a, {}), values.get(b, {})
    seeds = tuple(seed for seed in wanted if seed in ours and seed in theirs)
    differences = tuple(sign * (ours[seed] - theirs[seed]) for seed in seeds)
    return Difference(a, b, figure, unit, seeds, differences, complete=seeds == wanted)


def _notes(comparison: Comparison, setting: str) -> list[str]:
    plan = comparison.plan
    by = f"Δm of validation scores against {plan.rule_reference}" if plan.rule == "delta_m" else "validation loss"
    notes = [
        f"Grid values were chosen on validation with seed {plan.seeds[0]}, by {by}; chosen runs were tested once.",
        "Differences are paired by seed, positive where the first method is better; intervals are Student's "
        f"{CONFIDENCE:.0%} intervals over {len(plan.seeds)} seeds, each by itself, not corrected for their number.",
        f"Δm is against {plan.reference} of the same seed.",
    ]
    others = [t.id for t in comparison.all_grid_trials() if t.network.setting == setting and t.state() is State.OTHER]
    if others:
        notes.append(
            f"Left out, for their configuration, steps or seed are not the plan's of now: {', '.join(others)}."
        )
    return notes
