"""`mtdense table plan`: what a table's rows take: trainings, data, hours."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtdense.cli.table_options import add_run_options, chosen_runs
from mtdense.core.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mtdense.reports.paper_tables.hours import Duration
    from mtdense.reports.paper_tables.runs import TableRun

__all__ = ["FORMATS", "add_action", "run"]

FORMATS = ("terminal", "json", "slurm")


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `plan`."""
    parser = actions.add_parser(
        "plan",
        help="what a paper's table would train, on which data, for how long",
        description="Trains nothing. Hours are measured where such a run was trained on this device; else, with "
        "`--throughput`, they are estimates: multiply-accumulates x 2 x 3 x steps x images of a step, without "
        "validation and second passes.",
    )
    add_run_options(parser)
    parser.add_argument(
        "--throughput", type=float, metavar="TFLOPS", help="10^12 operations per second that a device sustains"
    )
    parser.add_argument("--format", choices=FORMATS, default="terminal", help="default: %(default)s")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Prints the plan.

    Raises:
        ConfigError: Names or numbers that make no sense, or a script for nothing.
    """
    if args.throughput is not None and not args.throughput > 0:
        raise ConfigError(f"--throughput {args.throughput}", "give a number above 0.")
    entries = [_entry(*each) for each in _with_durations(chosen_runs(args), args.throughput)]
    runs = [entry.pop("run") for entry in entries]
    if args.format == "slurm":
        _print_script(args, runs, entries)
        return 0
    data = _data(runs)
    if args.format == "json":
        told = {"table": args.table, "budget": args.budget, "runs": entries, "data": data, "hours": _hours(entries)}
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _print(args, entries, data)
    return 0


def _entry(run: TableRun, duration: Duration) -> dict[str, Any]:
    from mtdense.reports.paper_tables.hours import optimiser_steps, share_left
    from mtdense.reports.paper_tables.session import finished, stale_because
    from mtdense.reports.training_run import partial_test

    try:
        done, state, why = finished(run), run.state().value, stale_because(run)
        state = "stale" if why else "done" if done and run.tested() is not None else state
        why = why or (partial_test(run.folder) if state == "trained" else None)
        left = share_left(run)
    except CheckpointError as error:  # how far it had got, nobody knows
        why, left = str(error), 1.0
    except DataError as error:  # the other rows can be planned
        done, state, why, left = False, "refused", str(error), 1.0
    told = {"name": run.name, "rows": list(run.rows), "task": run.task, "seed": run.seed}
    times = {"steps": optimiser_steps(run), "hours": duration.hours, "hours_are": duration.source, "left": left}
    return {"run": run, **told, "state": state, "why": why, "finished": done, **times}


def _with_durations(runs: Sequence[TableRun], throughput: float | None) -> list[tuple[TableRun, Duration]]:
    from mtdense.cli.profile import choose_device
    from mtdense.reports.environment import device_name
    from mtdense.reports.paper_tables.hours import duration

    device = device_name(choose_device(None))
    known: dict[str, float] = {}

    def count(config: dict[str, Any]) -> float:
        key = json.dumps([config["model"], config["data"]], sort_keys=True)
        if key not in known:
            known[key] = _macs(config)
        return known[key]

    # Other seeds of the same network, and tasks of a row of one network per task.
    alike: dict[str, list[TableRun]] = {}
    for each in runs:
        alike.setdefault(each.name.rpartition("/")[0], []).append(each)
    return [(each, duration(each, alike[each.name.rpartition("/")[0]], device, throughput, count)) for each in runs]


def _macs(config: dict[str, Any]) -> float:
    """Of one image, counted without weights or data."""
    import torch

    from mtdense.cli.building import build_model
    from mtdense.cli.configs import config_file
    from mtdense.reports.profile import count_cost

    with config_file(config) as path, torch.device("meta"):
        model, size = build_model([str(path)])
    return float(count_cost(model, size, 1).modules[0].macs)


def _data(runs: Sequence[TableRun]) -> list[dict[str, Any]]:
    """{data set, root, problem} of each data set."""
    from mtdense.reports.paper_tables.budgets import parse_budget
    from mtdense.reports.paper_tables.places import problem_of

    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        if run.dataset in found:
            continue
        replica = parse_budget(run.budget).name != "full" and run.root is not None and not run.root.exists()
        problem = "a replica, which `table run` writes" if replica else problem_of(run.config["data"])
        found[run.dataset] = {
            "dataset": run.dataset,
            "root": None if run.root is None else str(run.root),
            "problem": problem,
            "missing": problem is not None and not replica,
        }
    return list(found.values())


def _hours(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the trainings, as far as they are still to be done."""
    left = [entry for entry in entries if entry["left"] > 0]
    known = [entry["hours"] * entry["left"] for entry in left if entry["hours"] is not None]
    return {"remaining": math.fsum(known), "unknown": len(left) - len(known)}


def _print(args: argparse.Namespace, entries: Sequence[dict[str, Any]], data: Sequence[dict[str, Any]]) -> None:
    from mtdense.reports.evidence import print_rows

    if entries:
        print_rows(["run", "state", "steps", "hours"], [_line(entry) for entry in entries])
    for entry in entries:
        if entry["why"]:
            print(f"{entry['name']} is {entry['state']}: {entry['why']}")
    for each in data:
        print(f"Data of {each['dataset']}: {each['root'] or 'no folder'}; {each['problem'] or 'there'}")
    missing = [each["dataset"] for each in data if each["missing"]]
    if missing:
        print(f"Name folders of genuine data by `--root {missing[0]}=DIR`, or put them in $MTDENSE_DATA/{missing[0]}.")
    done, hours = sum(entry["finished"] for entry in entries), _hours(entries)
    print(f"{len(entries)} trainings with one test each; {done} of {len(entries)} are done.")
    if any(entry["hours_are"] == "estimate" for entry in entries):
        print(
            f"Hours are estimates where they say so: multiply-accumulates x 2 x 3 x steps x images of a step at "
            f"{args.throughput:g} x 10^12 operations per second, without validation and second passes."
        )
    if hours["remaining"]:
        print(f"About {hours['remaining']:.2f} hours of training left on one device; tests come on top.")
    if hours["unknown"]:
        hint = "" if args.throughput else "; `--throughput TFLOPS` estimates them"
        print(f"Of {hours['unknown']} trainings nobody knows the hours{hint}.")


def _line(entry: dict[str, Any]) -> list[str]:
    hours = "?" if entry["hours"] is None else f"{entry['hours']:.2f} ({entry['hours_are']})"
    return [entry["name"], entry["state"], str(entry["steps"]), hours]


def _print_script(args: argparse.Namespace, runs: Sequence[TableRun], entries: Sequence[dict[str, Any]]) -> None:
    from mtdense.reports.paper_tables.slurm import slurm_script

    for entry in entries:
        if entry["why"]:
            print(f"{entry['name']} is {entry['state']}: {entry['why']}", file=sys.stderr)
    left = [run for run, entry in zip(runs, entries, strict=True) if not entry["finished"]]
    hours = [entry["hours"] for entry in entries if not entry["finished"]]
    known = [each for each in hours if each is not None]
    options = ["--budget", args.budget, "--out", str(args.out.resolve())]
    options += [] if args.seeds is None else ["--seeds", str(args.seeds)]
    options += ["--rows", *args.rows] if args.rows else []
    for root in args.root:
        name, _, place = root.partition("=")
        options += ["--root", f"{name}={Path(place).expanduser().resolve()}"]
    longest = max(known) if len(known) == len(hours) and known else None
    print(slurm_script(args.table, left, options, args.out.resolve(), longest, "mtdense"), end="")
