"""Carries out the runs behind tables: trains what is absent or stale, tests what is trained, leaves the rest."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from mtdense.core.errors import ConfigError, MTDenseError
from mtdense.reports.evidence.jobs import CONFIG_NAME, Progress, begin_run, training_job
from mtdense.reports.evidence.runner import GRACE_SECONDS, Job, Start, cores, pinned, run_jobs, sole_use
from mtdense.reports.evidence.warm import WarmStart
from mtdense.reports.paper_tables.budgets import parse_budget
from mtdense.reports.paper_tables.places import data_root, problem_of, write_data
from mtdense.reports.paper_tables.runs import TableRun
from mtdense.reports.run_files import DIVERGED, PLANNED, TRAINED
from mtdense.reports.training_run import State, differing_keys

__all__ = [
    "PATIENCE_SECONDS",
    "TableOutcome",
    "execute_runs",
    "finished",
    "prepare_runs",
    "stale_because",
    "write_replicas",
]

PATIENCE_SECONDS = 15.0
"""See `execute_runs`."""


@dataclass
class TableOutcome:
    """What a session came to; names of runs.

    Args:
        done: Trained or tested in it.
        failed: Failed in it.
        diverged: Diverged, now or before: a result, which the same training would have again.
        busy: At work in another process.
    """

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    diverged: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)


def finished(run: TableRun) -> bool:
    """Whether there is nothing left to do: tested, or diverged.

    Raises:
        DataError: Damaged, edited or foreign records.
    """
    state = run.state()
    return state is State.DIVERGED or (state is State.DONE and run.tested() is not None)


def stale_because(run: TableRun) -> str | None:
    """Why what lies in the folder is not this run; None where it is."""
    if run.state() is not State.OTHER:
        return None
    if keys := differing_keys(run):
        return f"another configuration: {', '.join(keys[:6])}"
    if trained := run.other_data():
        return f"data of version {trained}, which are another one now"
    return run.ended_otherwise() or "a run of unknown configuration"


def write_replicas(runs: Sequence[TableRun], out: Path) -> list[Path]:
    """Writes the replicas that runs of small budgets train on, unless they are there."""
    written = {}
    for run in runs:
        budget = parse_budget(run.budget)
        if run.root is not None and run.root == data_root(run.dataset, budget, out, {}) and budget.name != "full":
            written[run.root] = (run.dataset, budget, run.config["data"]["init_args"]["size"])
    return [write_data(dataset, budget, out, size) for dataset, budget, size in written.values()]


def execute_runs(
    runs: Sequence[TableRun],
    jobs: int,
    environment: Mapping[str, str],
    progress: Progress,
    grace: float = GRACE_SECONDS,
    warm: bool = False,
    patience: float = PATIENCE_SECONDS,
) -> TableOutcome:
    """Trains and tests what is still to be done; a second call goes on where a first one stopped.

    Several processes, also on several machines that share the folder, may work at the same runs: each run is locked
    from the start of its training to the end of its test. What another process is at work at is passed over, and asked
    for again after all others.

    Args:
        runs: Their data are there.
        jobs: Programs at a time; each gets an equal share of the processor's cores.
        environment: Of the programs.
        progress: Follows it.
        grace: Seconds that interrupted runs have to save.
        warm: Start the programs in children of one process that has imported everything, where the system can.
        patience: Seconds to wait for another process where nothing else is left: workers of a training that was killed
            take some to notice, and hold its lock as long.

    Raises:
        ConfigError: A number of jobs below 1, a grace below 0, or data that are missing; before anything is done.
        DataError: Damaged, edited or foreign records; likewise.
        KeyboardInterrupt: After the runs have been stopped.
    """
    if jobs < 1 or not grace >= 0:
        raise ConfigError(f"--jobs {jobs} --grace {grace}", "give 1 job or more, and 0 seconds or more.")
    todo = [run for run in runs if not finished(run)]
    _check_data(todo)
    own = pinned(environment, max(1, cores() // jobs))
    start: Start | None = WarmStart(own) if warm and WarmStart.possible() else None

    def work(jobs_of: Iterable[Job]) -> list[str]:
        return run_jobs(jobs_of, jobs, own, progress.say, grace=grace, start=start)

    outcome = TableOutcome()
    fits = [run for run in todo if _must_train(run)]
    progress.planned("fit", fits)
    progress.planned("test", todo)
    taken = _work_at(todo, fits, outcome, progress, work)
    # What a killed session had left at work may have ended by now.
    if again := [run for run in todo if run.name in outcome.busy]:
        outcome.busy.clear()
        _wait_for_one(again, patience)
        taken += _work_at(again, fits, outcome, progress, work)
    for run in runs:
        if run.name not in (*outcome.failed, *outcome.busy) and run.state() is State.DIVERGED:
            outcome.diverged.append(run.name)
    outcome.done += [name for name in taken if name not in (*outcome.failed, *outcome.diverged)]
    return outcome


def _work_at(
    runs: Sequence[TableRun],
    fits: Sequence[TableRun],
    outcome: TableOutcome,
    progress: Progress,
    work: Callable[[Iterable[Job]], list[str]],
) -> list[str]:
    """Trains and tests those that nobody else is at work at; gives their names. Of `fits` see `_in_turn`."""
    taken: list[str] = []
    with contextlib.ExitStack() as locks:  # those of jobs that were never begun end here
        outcome.failed += work(_in_turn(runs, fits, outcome, progress, taken, locks))
    return taken


def _must_train(run: TableRun) -> bool:
    return run.state() is not State.DONE or not run.checkpoint.is_file()


def _wait_for_one(runs: Sequence[TableRun], patience: float) -> None:
    """Returns as soon as nobody is at work at one of these, or after that time."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        for run in runs:
            with contextlib.suppress(ConfigError), sole_use(run.folder):
                return
        time.sleep(0.2)


def prepare_runs(runs: Sequence[TableRun]) -> None:
    """Writes configuration and mark of runs that are to be trained by another program, such as torchrun.

    Raises:
        ConfigError: A run that has begun, or another process at work at it.
    """
    for run in runs:
        if run.state() is not State.ABSENT:
            raise ConfigError(
                f"{run.folder} holds a run that is {run.state().value}",
                f"go on with it by `mtdense fit --ckpt_path {run.checkpoint}`, or remove the folder.",
            )
        with sole_use(run.folder):
            begin_run(run)


def _check_data(runs: Sequence[TableRun]) -> None:
    """Refuses runs whose data are missing or damaged, each data set once."""
    problems: dict[str, str] = {}
    for run in runs:
        problem = problem_of(run.config["data"]) if run.dataset not in problems else None
        if problem is not None:
            problems[run.dataset] = problem.splitlines()[0]
    if problems:
        told = "; ".join(f"{dataset}: {problem}" for dataset, problem in problems.items())
        raise ConfigError(
            f"the data of {len(problems)} data sets are missing ({told})",
            "name their folders by `--root NAME=DIR`, or leave their rows out by `--rows`; see docs/reproduce.md.",
        )


def _in_turn(
    runs: Sequence[TableRun],
    fits: Sequence[TableRun],
    outcome: TableOutcome,
    progress: Progress,
    taken: list[str],
    locks: contextlib.ExitStack,
) -> Iterator[Job]:
    """The jobs of runs that nobody else is at work at; each is made, and its run locked, when its turn has come.

    Args:
        runs: In their order.
        fits: Those that `progress` expects to be trained.
        outcome: Is told which runs are busy or failed.
        progress: Follows it.
        taken: Gets the names of the runs that a job is made of.
        locks: Keeps the locks until their jobs end.
    """
    expected = {run.name for run in fits}
    for run in runs:
        lock = locks.enter_context(contextlib.ExitStack())
        try:
            number = lock.enter_context(sole_use(run.folder))
        except ConfigError:
            outcome.busy.append(run.name)
            continue
        try:
            fit = _what_is_left(run, run.name in expected, progress)
        except (MTDenseError, OSError) as error:
            outcome.failed.append(run.name)
            progress.say(f"{run.name}: could not be begun: {error}")
            fit = None
        if fit is None:
            lock.close()
            continue
        taken.append(run.name)
        yield replace(training_job(run, fit, True, progress), lock=number, ended=lock.close)


def _what_is_left(run: TableRun, expected: bool, progress: Progress) -> bool | None:
    """Whether it must be trained, as `progress` may expect; None: another process has done it meanwhile."""
    done = finished(run)
    if not done and run.state() is State.OTHER:
        _set_aside(run)
    fit = not done and _must_train(run)
    if expected and not fit:
        progress.done("fit", run)
    if done:
        progress.done("test", run)
    return None if done else fit


def _set_aside(run: TableRun) -> None:
    """Keeps a stale run of the paper's own budget or on genuine data beside its place; what a replica gave may go."""
    if parse_budget(run.budget).name != "full" and not _was_genuine(run):
        return
    number = 1
    while (place := run.folder / f"stale-{number}").exists():
        number += 1
    place.mkdir(parents=True)
    for name in (*TRAINED, PLANNED, DIVERGED, CONFIG_NAME, "config.yaml"):
        if (run.folder / name).exists():
            (run.folder / name).rename(place / name)


def _was_genuine(run: TableRun) -> bool:
    """Whether what lies in a folder may be of other data than the replica of its budget, as its files say."""
    replica = data_root(run.dataset, parse_budget(run.budget), run.out, {})
    if replica is None or parse_budget(run.budget).name == "smoke":
        return False
    try:
        config = yaml.safe_load((run.folder / CONFIG_NAME).read_text(encoding="utf-8"))
        # The folder of all runs may have moved, with its replicas.
        return Path(config["data"]["init_args"]["root"]).parts[-2:] != replica.parts[-2:]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return True  # nobody knows
