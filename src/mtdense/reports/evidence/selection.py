"""Which grid value a network takes: chosen on validation, before anything is tested."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mtdense.core.errors import ConfigError, DataError
from mtdense.metrics.functional import delta_m
from mtdense.reports.evidence.trials import Comparison, Network, State, Trial
from mtdense.reports.run_record import MetricValue, RunRecord

__all__ = ["Choice", "choose"]


@dataclass(frozen=True)
class Choice:
    """The grid value of a network.

    Args:
        network: The network.
        grid: Id of the chosen value; None where it cannot be chosen yet.
        scores: {grid value: validation figure}, larger is better; those that are known. Minus infinity where the
            training diverged.
        reason: Why not, where `grid` is None.
        diverged: Whether every value diverged, so that none ever will be chosen.
    """

    network: Network
    grid: str | None
    scores: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    diverged: bool = False


def choose(comparison: Comparison, network: Network) -> Choice:
    """Chooses by the validation at the end of each grid trial; of equal ones the first.

    "delta_m" is Δm of the validation scores against fixed ones: those of the plan's reference method with its first
    grid value in the same setting, so that all methods weigh the tasks alike. For a network of one task that is the
    relative gain in its own metric. "val_loss" takes the smallest validation loss: comparable within one method's grid
    alone, and a sum that the tasks' units weigh. A value with which the training diverged has lost.

    Raises:
        DataError: A damaged record, or one without the figure.
    """
    trials = comparison.grid_trials(network)
    needed = {trial.id: trial for trial in trials}
    reference = None
    if comparison.plan.rule == "delta_m":
        reference = _reference_trial(comparison, network)
        needed[reference.id] = reference
    records = {name: trial.fitted() for name, trial in needed.items()}
    diverged = {name for name, trial in needed.items() if trial.state() is State.DIVERGED}
    missing = [name for name, record in records.items() if record is None and name not in diverged]
    scores = {trial.grid: -math.inf for trial in trials if trial.id in diverged}
    if len(scores) == len(trials):
        return Choice(network, None, scores, "its training diverged with every grid value", diverged=True)
    if reference is not None and reference.id in diverged:
        mend = "name another `selection.reference`, or put another grid value first"
        return Choice(network, None, scores, f"{reference.id}, by which all are measured, diverged: {mend}")
    baseline = None if reference is None else records[reference.id]
    try:
        for trial in trials:
            record = records[trial.id]
            if record is not None and (reference is None or baseline is not None):
                scores[trial.grid] = _loss(record, trial) if baseline is None else _gain(record, baseline, trial)
    except ConfigError as error:  # no Δm against these scores, such as an mIoU of 0
        return Choice(network, None, scores, f"validation of {reference and reference.id}: {error.problem}")
    if missing:
        return Choice(network, None, scores, f"not trained: {', '.join(missing)}")
    finite = {grid: score for grid, score in scores.items() if math.isfinite(score)}
    if not finite:
        return Choice(network, None, scores, f"no grid value has a validation figure that is a number: {scores}")
    ordered = {trial.grid: scores[trial.grid] for trial in trials}
    return Choice(network, max(finite, key=lambda grid: finite[grid]), ordered)


def _reference_trial(comparison: Comparison, network: Network) -> Trial:
    name = comparison.plan.rule_reference
    if name is None:
        raise ConfigError("the rule delta_m without a reference", "name one in `selection.reference`.")
    other = Network(network.setting, name)
    return comparison.grid_trials(other)[0]


def _loss(record: RunRecord, trial: Trial) -> float:
    loss = record.logged.get("val/loss")
    if loss is None:
        raise DataError(f"the record of {trial.id} has no val/loss", "look at its logs: was it validated?")
    return -float(loss)


def _gain(record: RunRecord, baseline: RunRecord, trial: Trial) -> float:
    ours, theirs = _primary(record), _primary(baseline)
    if set(ours) != set(record.tasks):
        raise DataError(
            f"the record of {trial.id} lacks validation scores of {', '.join(sorted(set(record.tasks) - set(ours)))}",
            "look at its logs: was it validated?",
        )
    return delta_m(
        {task: metric.value for task, metric in ours.items()},
        {task: metric.value for task, metric in theirs.items()},
        {task: metric.higher_is_better for task, metric in ours.items()},
    )


def _primary(record: RunRecord) -> dict[str, MetricValue]:
    return {metric.task: metric for metric in record.metrics if metric.primary}
