"""Options that the actions of `mtdense table` on a paper's table share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mtdense.core.errors import ConfigError

if TYPE_CHECKING:
    from mtdense.reports.paper_tables.budgets import Budget
    from mtdense.reports.paper_tables.runs import TableRun
    from mtdense.reports.paper_tables.structure import PaperTable

__all__ = ["ALL", "BUDGETS", "add_run_options", "chosen_budget", "chosen_runs", "chosen_tables"]

ALL = "all"
BUDGETS = ("smoke", "short", "full")
"""Those of `mtdense.reports.paper_tables.budgets`, named here so that `--help` need not wait for Lightning."""

_OUT = Path("runs") / "tables"


def add_run_options(parser: argparse.ArgumentParser, every: bool = True) -> None:
    """Adds the options that say which runs are meant.

    Args:
        parser: Of an action.
        every: Whether "all" names all tables.
    """
    parser.add_argument("table", metavar="ID", help=f"the table, such as prototype-2{'; or all' if every else ''}")
    parser.add_argument(
        "--budget",
        default="full",
        metavar="|".join(BUDGETS),
        help="full: the experiments as they are; short: a small network for a few minutes; smoke: a few steps of a "
        "tiny one; short@120 takes 120 steps (default: full)",
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 0 to N - 1 (default: 1; short: 3)")
    parser.add_argument(
        "--rows",
        nargs="+",
        default=[],
        metavar="ROW",
        help="these rows, by id, block/id or method (default: all; of smoke one per method, `--rows all` for all)",
    )
    parser.add_argument(
        "--out", type=Path, default=_OUT, metavar="DIR", help="folder of the runs (default: runs/tables)"
    )
    parser.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="folder of genuine data, such as nyud_mtan=DIR; may be repeated (default: MTDENSE_DATA/NAME)",
    )


def chosen_budget(args: argparse.Namespace) -> Budget:
    """The budget that the options name.

    Raises:
        ConfigError: There is none of that name.
    """
    from mtdense.reports.paper_tables.budgets import parse_budget

    return parse_budget(args.budget)


def chosen_tables(args: argparse.Namespace) -> list[PaperTable]:
    """The tables that the options name.

    Raises:
        ConfigError: There is none of that name, or `--rows` of several.
    """
    from mtdense.reports.paper_tables.definition import read_table, table_ids

    if args.table != ALL:
        return [read_table(args.table)]
    if args.rows not in ([], [ALL]):
        raise ConfigError(f"--rows {' '.join(args.rows)} of all tables", "name one table, or `--rows all`.")
    return [read_table(name) for name in table_ids()]


def chosen_runs(args: argparse.Namespace) -> list[TableRun]:
    """The runs that the options name, each once.

    Raises:
        ConfigError: Names of nothing, or numbers that make no sense.
    """
    import data_modules  # noqa: F401 - with them comes what is published
    from mtdense.reports.paper_tables.places import parse_roots
    from mtdense.reports.paper_tables.runs import select_rows, table_runs, unite

    budget = chosen_budget(args)
    seeds = budget.seeds if args.seeds is None else args.seeds
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds}", "give 1 or more.")
    options = {"budget": budget, "seeds": range(seeds), "out": args.out, "roots": parse_roots(args.root)}
    return unite(
        run
        for table in chosen_tables(args)
        for run in table_runs(table, select_rows(table, args.rows, budget), **options)
    )
