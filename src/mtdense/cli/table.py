"""`mtdense table`: the papers' printed tables and comparisons of runs; one file each for its actions."""

from __future__ import annotations

import argparse

from mtdense.cli import table_list, table_plan, table_run, table_show, table_verify

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `table` with its actions."""
    parser = subparsers.add_parser("table", help="printed tables of papers beside our runs, and comparisons of runs")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    table_list.add_action(actions)
    table_plan.add_action(actions)
    table_run.add_action(actions)
    table_show.add_action(actions)
    table_verify.add_action(actions)
