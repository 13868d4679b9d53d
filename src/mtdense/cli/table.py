"""`mtdense table show`: a comparison table from run records."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtdense.cli import table_list, table_plan, table_run, table_verify

__all__ = ["FORMATS", "add_parser", "run"]

FORMATS = ("terminal", "markdown", "csv", "json")
"""Those of `mtdense.reports.FORMATS`, named here so that `--help` need not wait for Lightning."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `table` with its actions."""
    parser = subparsers.add_parser("table", help="make tables from run records")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    table_list.add_action(actions)
    show = actions.add_parser("show", help="compare the test records below some run folders")
    show.add_argument(
        "--runs", type=Path, nargs="+", required=True, metavar="DIR", help="run folders, or their parents"
    )
    show.add_argument("--format", choices=FORMATS, default="terminal", help="default: %(default)s")
    show.add_argument("--out", type=Path, metavar="FILE", help="write there instead of to the terminal")
    show.set_defaults(func=run)
    table_plan.add_action(actions)
    table_run.add_action(actions)
    table_verify.add_action(actions)


def run(args: argparse.Namespace) -> int:
    """Prints or writes the table.

    Raises:
        DataError: No records, a damaged or edited one, or runs that cannot be compared.
    """
    from mtdense.reports import build_table, load_records, print_table, render
    from mtdense.reports.canonical import write_atomic

    table = build_table(load_records(args.runs))
    if args.out is not None:
        write_atomic(args.out, render(table, args.format))
    elif args.format == "terminal":
        print_table(table)
    else:
        print(render(table, args.format), end="")
    return 0
