"""`mtdense table run`: trains and tests what the rows of a paper's table still lack."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mtdense.cli.table_options import add_run_options, chosen_runs
from mtdense.core.errors import ConfigError
from mtdense.core.suggest import did_you_mean
from mtdense.core.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mtdense.reports.paper_tables.runs import TableRun
    from mtdense.reports.paper_tables.session import TableOutcome

__all__ = ["GRACE", "add_action", "named_runs", "run"]

GRACE = 120.0
"""That of `mtdense.reports.evidence`, named here so that `--help` need not wait for Lightning."""


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `run`."""
    parser = actions.add_parser(
        "run",
        help="train and test the rows of a paper's table that are absent or stale",
        description="A run that was interrupted goes on; one that is done is left alone. Rows and tables with the same "
        "configuration share a run.",
    )
    add_run_options(parser)
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="trainings at a time, which share the cores (default: 1)"
    )
    parser.add_argument(
        "--run", nargs="+", default=[], metavar="NAME", help="these runs alone, named as `table plan` does"
    )
    parser.add_argument(
        "--prepare", action="store_true", help="write the runs' configurations for torchrun, and train nothing"
    )
    parser.add_argument(
        "--grace", type=float, default=GRACE, metavar="SECONDS", help="interrupted runs may save so long (default: 120)"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Trains and tests.

    Raises:
        ConfigError: Names or numbers that make no sense, or data that are missing.
        DataError: Damaged, edited or foreign records.
    """
    from mtdense.cli.evidence import program_environment
    from mtdense.cli.evidence_progress import TerminalProgress
    from mtdense.reports.paper_tables.budgets import parse_budget
    from mtdense.reports.paper_tables.session import execute_runs, prepare_runs, write_replicas

    runs = named_runs(chosen_runs(args), args.run)
    for folder in write_replicas(runs, args.out):
        print(f"Data: {folder}", flush=True)
    if args.prepare:
        prepare_runs(runs)
        for each in runs:
            print(f"Prepared {each.folder}")
        return 0
    warm = parse_budget(args.budget).name == "smoke"
    try:
        with TerminalProgress(args.out) as progress:
            outcome = execute_runs(runs, args.jobs, program_environment(), progress, args.grace, warm)
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on from here.")
        return 130
    return _report(args, runs, outcome)


def named_runs(runs: Sequence[TableRun], names: Sequence[str]) -> list[TableRun]:
    """Those of these names; all where no name is given.

    Raises:
        ConfigError: A name that is not among them.
    """
    known = {run.name: run for run in runs}
    for name in names:
        if name not in known:
            raise ConfigError(
                f"there is no run {name!r} among those that the other options name",
                f"{did_you_mean(name, known)}`mtdense table plan` lists them.",
            )
    return [known[name] for name in names] if names else list(runs)


def _report(args: argparse.Namespace, runs: Sequence[TableRun], outcome: TableOutcome) -> int:
    folders = {run.name: run.folder for run in runs}
    for name in outcome.diverged:
        print(f"Diverged, which is a result: {name}")
    for name in outcome.busy:
        print(f"At work in another process: {name}")
    for name in outcome.failed:
        print(f"FAILED: {name}; see {folders[name] / 'trial.log'}")
    left = len(runs) - len(outcome.done) - len(outcome.failed) - len(outcome.busy)
    print(f"{counted(len(outcome.done), 'run')} done now, {left} done before.")
    if outcome.failed or outcome.busy:
        print("The same command tries again what is missing.")
        return 1
    print(
        f"Next: mtdense table show {args.table} --budget {args.budget} --out {args.out}" if runs else "Nothing to run."
    )
    return 0
