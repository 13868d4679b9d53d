"""All programs of a comparison with their durations, before and while it runs."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from mtdense.reports.evidence.selection import Choice, choose
from mtdense.reports.evidence.trials import Comparison, State, Trial

__all__ = ["Entry", "Schedule", "fit_seconds", "schedule"]


@dataclass(frozen=True)
class Entry:
    """One program: a training or a test.

    Args:
        id: The trial's, with "(chosen)" for a grid value that is still to be chosen.
        what: "fit" or "test".
        state: Such as "to do"; see `State`.
        seconds: Expected duration.
    """

    id: str
    what: str
    state: str
    seconds: float

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.state in (State.DONE.value, State.DIVERGED.value, "tested")


@dataclass(frozen=True)
class Schedule:
    """The programs of a comparison.

    Args:
        entries: In the order of the plan.
        max_steps: Optimiser steps of each training.
    """

    entries: list[Entry]
    max_steps: int

    def seconds(self, jobs: int, remaining: bool = True) -> float:
        """Duration with so many programs at a time: of what remains, or of all."""
        total = sum(e.seconds for e in self.entries if not (remaining and e.finished))
        return total / jobs


def fit_seconds(comparison: Comparison, trial: Trial) -> float:
    """Expected duration of a training: as other trainings of its method took, else the plan's estimate."""
    known = [
        record.wall_seconds
        for other in comparison.networks
        if (other.method, other.task) == (trial.network.method, trial.network.task)
        for each in comparison.grid_trials(other)
        if (record := each.fitted()) is not None
    ]
    estimate = comparison.plan.estimate
    if known:  # the record's clock starts when the program has read its libraries and data
        return estimate.start_seconds + statistics.fmean(known)
    return estimate.start_seconds + comparison.method(trial.network).cost * estimate.step_seconds * trial.max_steps


def schedule(comparison: Comparison) -> Schedule:
    """What there is to run: the grid on the first seed, the chosen value on the others, one test of each chosen run.

    Raises:
        DataError: Damaged records.
    """
    entries = []
    max_steps = next(comparison.all_grid_trials()).max_steps
    for network in comparison.networks:
        trials = comparison.grid_trials(network)
        seconds = fit_seconds(comparison, trials[0])
        entries += [Entry(trial.id, "fit", trial.state().value, seconds) for trial in trials]
        choice = choose(comparison, network)
        chosen = choice.grid
        for seed in comparison.plan.seeds:
            trial = None if chosen is None else comparison.trial(network, chosen, seed)
            name = f"{network.id}/(chosen)/seed{seed}" if trial is None else trial.id
            if seed != comparison.plan.seeds[0]:
                state = _never_or(State.ABSENT, choice.diverged) if trial is None else trial.state()
                entries.append(Entry(name, "fit", state.value, seconds))
            entries.append(Entry(name, "test", _test_state(trial, choice), comparison.plan.estimate.test_seconds))
    return Schedule(entries, max_steps)


def _test_state(trial: Trial | None, choice: Choice) -> str:
    if trial is not None and trial.tested() is not None:
        return "tested"
    return _never_or(State.ABSENT, choice.diverged or (trial is not None and trial.state() is State.DIVERGED)).value


def _never_or(state: State, diverged: bool) -> State:
    return State.DIVERGED if diverged else state
