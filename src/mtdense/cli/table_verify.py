"""`mtdense table verify`: tests one random run of a table again, and compares with its record."""

from __future__ import annotations

import argparse
import secrets

from mtdense.cli.table_options import add_run_options, chosen_runs

__all__ = ["add_action", "run"]


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `verify`."""
    parser = actions.add_parser(
        "verify",
        help="test one random run of a paper's table again; it must agree with its record",
        description="Draws one of the tested runs, checks that record and checkpoint belong together, tests the "
        "checkpoint again and compares every metric. Exit code 1 where anything differs.",
    )
    add_run_options(parser)
    parser.add_argument("--draw", type=int, metavar="SEED", help="seed of the draw (default: drawn, and printed)")
    parser.add_argument("--run", metavar="NAME", help="this run, named as `table plan` does, instead of a random one")
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="T",
        help="largest relative difference of a metric (default: 1e-6; another device may need 1e-3)",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Verifies one run.

    Raises:
        ConfigError: Names or numbers that make no sense.
        DataError: Nothing to verify, or records that were edited or are of other runs.
    """
    from mtdense.cli.evidence import program_environment
    from mtdense.cli.table_run import named_runs
    from mtdense.core.errors import ConfigError
    from mtdense.reports.paper_tables.verify import TOLERANCE, draw_run, verify_run

    tolerance = TOLERANCE if args.tolerance is None else args.tolerance
    if not tolerance >= 0:
        raise ConfigError(f"--tolerance {tolerance}", "give 0 or more.")
    runs = named_runs(chosen_runs(args), [] if args.run is None else [args.run])
    if args.run is None:
        seed = secrets.randbelow(2**31) if args.draw is None else args.draw
        chosen = draw_run(runs, seed)
        print(f"Drawn with --draw {seed}: {chosen.name}", flush=True)
    else:
        chosen = runs[0]
    found = verify_run(chosen, program_environment(), tolerance)
    for difference in found.differences:
        print(f"DIFFERS: {difference}")
    if found.differences:
        return 1
    print(f"Agrees: {found.compared} metrics of {found.run}, for {', '.join(chosen.rows)}.")
    return 0
