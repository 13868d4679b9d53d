"""`mtdense table show`: a paper's table beside our runs, or a comparison of any runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtdense.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from mtdense.reports.paper_tables.budgets import Budget
    from mtdense.reports.paper_tables.shown import ShownTable
    from mtdense.reports.paper_tables.structure import Block, PaperTable, Row

__all__ = ["FORMATS", "PAPER_FORMATS", "add_action", "run"]

FORMATS = ("terminal", "markdown", "csv", "json")
"""Those of `mtdense.reports.FORMATS`, named here so that `--help` need not wait for Lightning."""
PAPER_FORMATS = ("terminal", "markdown", "latex", "csv", "html", "json")
"""Those of a paper's table."""

_OUT = Path("runs") / "tables"
_ALL = "all"
_BUDGETS = ("smoke", "short", "full")


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `show`."""
    parser = actions.add_parser(
        "show",
        help="a paper's printed table beside our runs; with --runs, a comparison of any runs",
        description="Recomputes every cell from run records, whose checksums are verified. `table list` names the "
        "tables. With --runs instead of IDs, compares the test records below some run folders.",
    )
    parser.add_argument("tables", nargs="*", metavar="ID", help="tables such as prototype-2, or all")
    parser.add_argument("--runs", type=Path, nargs="+", metavar="DIR", help="run folders, or their parents")
    parser.add_argument(
        "--budget",
        default="full",
        metavar="|".join(_BUDGETS),
        help="whose runs to show; also with a number of steps, such as short@120 (default: full)",
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 0 to N - 1 (default: all that were run)")
    parser.add_argument(
        "--rows", nargs="+", default=[], metavar="ROW", help="these rows, by id, block/id or method (default: all)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the runs (default: runs/tables); with --runs, as --to",
    )
    parser.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="folder of genuine data, as for `table run`",
    )
    parser.add_argument("--format", choices=PAPER_FORMATS, default="terminal", help="default: %(default)s")
    parser.add_argument(
        "--to", type=Path, metavar="FILE", help="write there instead of to the terminal; several pages: a folder"
    )
    parser.add_argument("--no-costs", action="store_true", help="leave our costs empty, which saves counting them")
    parser.add_argument("--device", metavar="NAME", help="also measure latency and memory there, such as cpu or cuda")
    parser.add_argument(
        "--sheet", action="store_true", help="html: draw test images by the networks of all rows side by side"
    )
    parser.set_defaults(func=run, refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """Prints or writes the tables.

    Raises:
        ConfigError: Names or options that make no sense.
        DataError: A damaged, edited or foreign record, or runs that cannot be compared.
    """
    if bool(args.tables) == bool(args.runs):
        args.refuse("name a table (`mtdense table list` has them), or folders by --runs; not both")
    if args.runs:
        return _compare(args)
    if args.sheet and args.format != "html":
        raise ConfigError(f"--sheet with --format {args.format}", "give `--format html`.")
    if args.format == "html" and (len(args.tables) > 1 or _ALL in args.tables) and args.to is None:
        raise ConfigError("several pages need a folder", "name it by `--to DIR`.")
    tables = _shown(args)
    if args.format == "html":
        _write_pages(args, tables)
    else:
        _write(_text(args.format, tables), args.to)
    return 0


def _compare(args: argparse.Namespace) -> int:
    """The comparison of any runs."""
    from mtdense.reports import build_table, load_records, print_table, render

    if args.format not in FORMATS:
        raise ConfigError(f"--format {args.format} with --runs", f"use one of {', '.join(FORMATS)}.")
    if args.to is not None and args.out is not None:
        raise ConfigError("--to and --out, which are the same with --runs", "give one.")
    table = build_table(load_records(args.runs))
    to = args.to or args.out
    if to is None and args.format == "terminal":
        print_table(table)
    else:
        _write(render(table, args.format), to)
    return 0


def _write(text: str, to: Path | None) -> None:
    from mtdense.reports.canonical import write_atomic

    if to is None:
        print(text, end="")
    else:
        write_atomic(to, text)


def _text(name: str, tables: Sequence[ShownTable]) -> str:
    from mtdense.reports.paper_tables.render_data import csv_text, json_text
    from mtdense.reports.paper_tables.render_latex import latex
    from mtdense.reports.paper_tables.render_text import markdown, terminal

    if name in ("csv", "json"):
        return csv_text(tables) if name == "csv" else json_text(tables)
    draw = {"terminal": terminal, "markdown": markdown, "latex": latex}[name]
    return "\n".join(draw(table) for table in tables)


def _write_pages(args: argparse.Namespace, tables: Sequence[ShownTable]) -> None:
    from mtdense.reports.canonical import write_atomic
    from mtdense.reports.paper_tables.html import index_page, page

    made = [_sheets(args, table) for table in tables]
    if len(args.tables) == 1 and _ALL not in args.tables:
        _write(page(tables[0], made[0]), args.to)
        return
    files = [f"{table.table.id}.html" for table in tables]
    for table, sheets, file in zip(tables, made, files, strict=True):
        write_atomic(args.to / file, page(table, sheets, "index.html"))
    write_atomic(args.to / "index.html", index_page(list(zip(tables, files, strict=True))))
    print(f"Wrote {args.to / 'index.html'} and {len(files)} pages.")


def _sheets(args: argparse.Namespace, table: ShownTable) -> Mapping[str, Any] | None:
    if not args.sheet:
        return None
    from mtdense.cli.table_sheet import block_sheets

    return {block.block.id: block_sheets(block) for block in table.blocks}


def _shown(args: argparse.Namespace) -> list[ShownTable]:
    import data_modules  # noqa: F401 - with them comes what is published
    from mtdense.core import track
    from mtdense.reports.paper_tables.budgets import parse_budget
    from mtdense.reports.paper_tables.cells import shown_table
    from mtdense.reports.paper_tables.definition import read_table, table_ids
    from mtdense.reports.paper_tables.places import parse_roots
    from mtdense.reports.paper_tables.runs import OUT, named_rows, row_runs

    budget, roots = parse_budget(args.budget), parse_roots(args.root)
    if args.seeds is not None and args.seeds < 1:
        raise ConfigError(f"--seeds {args.seeds}", "give 1 or more.")
    seeds = None if args.seeds is None else range(args.seeds)
    names = table_ids() if _ALL in args.tables else list(dict.fromkeys(args.tables))
    tables = [read_table(name) for name in names]
    costs = None if args.no_costs else _counter(args.device)
    if len(tables) != 1 and args.rows not in ([], [_ALL]):
        raise ConfigError(f"--rows {' '.join(args.rows)} of several tables", "name one table, or `--rows all`.")
    wanted = None if args.rows in ([], [_ALL]) else named_rows(tables[0], args.rows)

    def show(table: PaperTable) -> ShownTable:
        def runs(block: Block, row: Row) -> Sequence[Any]:
            return row_runs(table, block, row, budget=budget, seeds=seeds, out=args.out or OUT, roots=roots)

        return shown_table(table, runs, costs, _own(table, budget), str(budget), wanted)

    return [show(table) for table in track(tables, "Reading records, counting costs")]


def _own(table: PaperTable, budget: Budget) -> Callable[[Block, Row], Mapping[str, Any]] | None:
    """The configuration of a row's experiment, which its runs are told apart from; None where they are of it."""
    from mtdense.reports.paper_tables.runs import row_runs

    if budget.name == "full":
        return lambda block, row: {}

    def own(block: Block, row: Row) -> Mapping[str, Any]:
        found = row_runs(table, block, row, budget="full", seeds=[0], out=_OUT)
        return found[0].config if found else {}

    return own


def _counter(name: str | None) -> Callable[[Block, Row], Mapping[str, float]]:
    """Counts a row's costs; rows of the same network are counted once."""
    from mtdense.cli.profile import choose_device
    from mtdense.cli.table_costs import row_costs
    from mtdense.reports.canonical import checksum, plain

    device: torch.device | None = None if name is None else choose_device(name)
    known: dict[str, dict[str, float]] = {}

    def count(block: Block, row: Row) -> Mapping[str, float]:
        extra = None if row.costs is None or row.costs.extra_to is None else f"{block.id}/{row.costs.extra_to}"
        key = checksum(plain([row.experiment, row.overrides, row.tasks, row.method, row.costs, block.tasks, extra]))
        if key not in known:
            known[key] = row_costs(row, block, device)
        return known[key]

    return count
