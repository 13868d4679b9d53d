"""`mtdense table list`: the papers' printed tables, and how much of each the suite has."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtdense.reports.paper_tables.structure import PaperTable

__all__ = ["add_action", "run"]


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `list`."""
    parser = actions.add_parser("list", help="the papers' printed tables, and how many of their rows the suite has")
    parser.add_argument("--json", action="store_true", help="as JSON, with what is missing and why")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Prints one line a table.

    Raises:
        ConfigError: A table's file is not as it should be.
    """
    from mtdense.reports.evidence import print_rows
    from mtdense.reports.paper_tables.definition import read_table, table_ids

    tables = [read_table(name) for name in table_ids()]
    if args.json:
        print(json.dumps([_entry(table) for table in tables], indent=2, ensure_ascii=False))
        return 0
    lines = []
    for entry in map(_entry, tables):
        caption = f"(lost) {entry['caption']}" if entry["status"] == "lost" else entry["caption"]
        lines.append([entry["id"], f"{entry['implemented']}/{entry['rows']}", ", ".join(entry["datasets"]), caption])
    print_rows(["table", "rows", "data sets", "caption"], lines)
    built, rows = (sum(_entry(table)[key] for table in tables) for key in ("implemented", "rows"))
    print(f"{len(tables)} tables; {built} of {rows} rows name an experiment of this suite.")
    return 0


def _entry(table: PaperTable) -> dict[str, Any]:
    missing = {f"{block.id}/{row.id}": row.missing for block, row in table.rows if row.missing is not None}
    return {
        "id": table.id,
        "caption": table.caption,
        "status": table.status,
        "datasets": list(dict.fromkeys(block.dataset for block in table.blocks if block.dataset is not None)),
        "rows": len(table.rows),
        "implemented": len(table.rows) - len(missing),
        "missing": missing,
    }
