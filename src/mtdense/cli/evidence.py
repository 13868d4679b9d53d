"""`mtdense evidence`: compares methods within one budget, by a plan that stands in a file."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtdense.core.errors import ConfigError
from mtdense.core.suggest import did_you_mean

if TYPE_CHECKING:
    from mtdense.reports.evidence import Comparison, Outcome

__all__ = ["FORMATS", "GRACE", "KEEP", "add_parser", "load_comparison", "program_environment", "run"]

FORMATS = ("terminal", "markdown", "json")
KEEP = ("tested", "all", "none")
GRACE = 120.0
"""Those of `mtdense.reports.evidence`, named here so that `--help` need not wait for Lightning."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `evidence` with its actions."""
    parser = subparsers.add_parser("evidence", help="compare methods within one budget, over seeds")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    plan = actions.add_parser("plan", help="list all runs of a comparison, with their state and expected duration")
    run_it = actions.add_parser("run", help="run what is still to be done")
    show = actions.add_parser("show", help="tables, paired differences and what they decide")
    for action, handler in ((plan, _plan), (run_it, _run), (show, _show)):
        action.add_argument("file", metavar="FILE", help="the comparison, such as evidence/partial_labels.yaml")
        action.add_argument("--out", type=Path, metavar="DIR", help="folder of the runs (default: runs/evidence/FILE)")
        action.set_defaults(func=run, handler=handler)
    for action in (plan, run_it):
        action.add_argument(
            "--jobs", type=int, default=1, metavar="N", help="programs at a time, which share the cores (default: 1)"
        )
    plan.add_argument("--json", action="store_true", help="as JSON")
    run_it.add_argument("--only", nargs="+", default=[], metavar="ID", help="these settings and methods alone")
    run_it.add_argument("--overwrite", action="store_true", help="do runs of another configuration again")
    run_it.add_argument(
        "--keep", choices=KEEP, default="tested", help="checkpoints that stay when chosen or tested (default: tested)"
    )
    run_it.add_argument(
        "--grace", type=float, default=GRACE, metavar="SECONDS", help="interrupted runs may save so long (default: 120)"
    )
    show.add_argument("--format", choices=FORMATS, default="terminal", help="default: %(default)s")
    show.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")


def run(args: argparse.Namespace) -> int:
    """Carries out one action.

    Raises:
        MTDenseError: A fault of the plan, its configurations or its records.
    """
    return int(args.handler(load_comparison(args.file, args.out), args))


def load_comparison(file: str, out: Path | None = None) -> Comparison:
    """The comparison that a file declares.

    Args:
        file: Its path, or its name among the shipped experiments.
        out: Folder of the runs; None: `runs/evidence/<name of the file>`.

    Raises:
        ConfigError: See `mtdense.reports.evidence.parse_plan` and `Comparison`.
    """
    from mtdense.cli.configs import merge, merged_configs, read_yaml
    from mtdense.core.experiments import resolve_experiment
    from mtdense.reports.evidence import Comparison, parse_plan

    path = resolve_experiment(file)
    plan = parse_plan(read_yaml(path), str(path))

    def read(names: Sequence[str]) -> dict[str, object]:
        beside = [path.parent / name for name in names]
        return merged_configs([str(b) if b.is_file() else n for b, n in zip(beside, names, strict=True)])

    return Comparison(plan, out or Path("runs") / "evidence" / path.stem, read, merge)


def _plan(comparison: Comparison, args: argparse.Namespace) -> int:
    from mtdense.reports.canonical import plain
    from mtdense.reports.evidence import print_rows, schedule

    if args.jobs < 1:
        raise ConfigError(f"--jobs {args.jobs}", "give 1 or more.")
    found = schedule(comparison)
    if args.json:
        entries = [{**vars(entry), "finished": entry.finished} for entry in found.entries]
        seconds = {"all": found.seconds(args.jobs, remaining=False), "remaining": found.seconds(args.jobs)}
        told = {"about": comparison.plan.about, "max_steps": found.max_steps, "jobs": args.jobs}
        print(json.dumps(plain({**told, "seconds": seconds, "programs": entries}), indent=2, ensure_ascii=False))
        return 0
    print_rows(
        ["run", "program", "state", "expected"], [[e.id, e.what, e.state, _time(e.seconds)] for e in found.entries]
    )
    fits = [entry for entry in found.entries if entry.what == "fit"]
    print(
        f"{len(fits)} trainings of {found.max_steps} optimiser steps and {len(found.entries) - len(fits)} tests; "
        f"{sum(entry.finished for entry in found.entries)} of {len(found.entries)} are done.\n"
        f"With --jobs {args.jobs} about {_time(found.seconds(args.jobs, remaining=False))} in all, "
        f"{_time(found.seconds(args.jobs))} from here."
    )
    return 0


def _run(comparison: Comparison, args: argparse.Namespace) -> int:
    from mtdense.cli.evidence_progress import TerminalProgress
    from mtdense.reports.evidence import execute, select_networks

    networks = select_networks(comparison, args.only)
    methods = {network.method for network in networks}
    if comparison.plan.rule_reference is not None:
        methods.add(comparison.plan.rule_reference)  # the choice needs its first run, whatever `--only` says
    _check_classes(comparison, methods)
    try:
        with TerminalProgress(comparison.out) as progress:
            options = {"keep": args.keep, "overwrite": args.overwrite, "grace": args.grace}
            outcome = execute(comparison, networks, args.jobs, program_environment(), progress, **options)
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on from here.")
        return 130
    return _report(comparison, outcome, args)


def _report(comparison: Comparison, outcome: Outcome, args: argparse.Namespace) -> int:
    for name in outcome.diverged:
        print(f"Diverged, which is a result: {name}")
    for name in outcome.failed:
        print(f"FAILED: {name}; see {comparison.out / name / 'trial.log'}")
    for name, reason in outcome.blocked.items():
        print(f"No grid value could be chosen for {name}: {reason}")
    if outcome.failed or outcome.blocked:
        print("The same command tries again what is missing.")
        return 1
    where = [] if args.out is None else ["--out", str(args.out)]
    print(f"Done; next: mtdense evidence show {' '.join([args.file, *where])}")
    return 0


def _show(comparison: Comparison, args: argparse.Namespace) -> int:
    from mtdense.reports.evidence import render_summary, summarise

    print(render_summary(comparison.plan, summarise(comparison), args.format), end="")
    return 0


def _check_classes(comparison: Comparison, methods: set[str]) -> None:
    """Refuses methods whose class does not exist now, rather than after an hour of other runs."""
    for method, path in comparison.class_paths().items():
        if method not in methods:
            continue
        module_name, _, name = path.rpartition(".")
        try:
            module = importlib.import_module(module_name or "mtdense.models")
        except ImportError as error:
            raise ConfigError(
                f"{comparison.plan.source}: the model of {method}, {path}, cannot be imported: {error}",
                "correct its `model.class_path`, or install its package.",
            ) from error
        if not hasattr(module, name):
            known = [each for each in dir(module) if not each.startswith("_")]
            raise ConfigError(
                f"{comparison.plan.source}: the model of {method}, {path}, does not exist",
                f"{did_you_mean(name, known)}Correct its `model.class_path`.",
            )


def program_environment() -> dict[str, str]:
    """That of programs we start: ours, with the folders of mtdense and data_modules, which may not be installed."""
    roots = []
    for package in ("mtdense", "data_modules"):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            roots.append(str(Path(spec.origin).resolve().parents[1]))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*roots, *filter(None, [os.environ.get("PYTHONPATH")])])}


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
