"""Tables of procedural rooms, whose runs need no files, and records of their runs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mtdense.reports import RunRecord
from mtdense.reports.paper_tables.budgets import parse_budget
from mtdense.reports.paper_tables.definition import read_table
from mtdense.reports.paper_tables.runs import TableRun, select_rows, table_runs
from mtdense.reports.paper_tables.structure import PaperTable
from tests.reports.helpers import DATA, make_record

MTL = "procedural/one-label/mtl_baseline-resnet18.yaml"
SINGLE = "procedural/one-label/single_task-resnet18.yaml"
SMALL = {"train_images": 8, "val_images": 2, "test_images": 3, "cache": False}
TABLE: dict[str, Any] = {
    "id": "rooms-1",
    "system": "rooms",
    "paper": "Made up.",
    "table": "1",
    "caption": "Rooms.",
    "status": "complete",
    "blocks": [
        {
            "id": "one_label",
            "dataset": "procedural",
            "setting": "one-label",
            "value_kind": "absolute",
            "delta_reference": "alone",
            "columns": [
                {"task": "semseg", "metric": "miou", "better": "higher", "unit": "percent", "decimals": 2},
                {"task": "depth", "metric": "rmse", "better": "lower", "unit": "metres", "decimals": 4},
                {"task": "normals", "metric": "merr", "better": "lower", "unit": "degrees", "decimals": 2},
            ],
            "rows": [
                {"id": "alone", "method": "single_task", "backbone": "resnet18", "label": "STL", "experiment": SINGLE},
                {"id": "plain", "method": "mtl_baseline", "backbone": "resnet18", "label": "MTL", "experiment": MTL},
                {"id": "heavy", "method": "mtl_baseline", "backbone": "resnet18", "label": "MTL+", "experiment": MTL,
                 "overrides": {"model": {"init_args": {"weight_decay": 0.1}}}},
                {"id": "lost", "method": "psd", "backbone": None, "label": "PSD", "missing": "It is not built."},
            ],
        }
    ],
}  # fmt: skip


def write_table(folder: Path, **changes: Any) -> PaperTable:
    """The table in a file of that folder; changes are laid over its only block."""
    content = copy.deepcopy(TABLE)
    content["blocks"][0].update(changes)
    for row in content["blocks"][0]["rows"]:
        row |= {"paper": {"values": {}}, "tasks": ["semseg", "depth"]}
        if "experiment" in row:
            row["overrides"] = {**row.get("overrides", {}), "data": {"init_args": dict(SMALL)}}
    path = folder / "rooms-1.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return read_table(path)


def runs_of(
    table: PaperTable, out: Path, *names: str, budget: str = "smoke", seeds: tuple[int, ...] = (0,)
) -> list[TableRun]:
    """The runs of the rows of these names."""
    rows = select_rows(table, names or ("all",), parse_budget(budget))
    return table_runs(table, rows, budget=budget, seeds=seeds, out=out)


def record_of(
    run: TableRun, kind: str = "test", scores: Mapping[str, float] | None = None, **changes: Any
) -> RunRecord:
    """A record as the run would leave it."""
    tasks = run.config["data"]["init_args"].get("tasks") or ["semseg", "depth"]
    values = {"semseg": 0.5, "depth": 0.8} if scores is None else scores
    method = "single_task" if run.task else "mtl_baseline"
    own: dict[str, Any] = {"kind": kind, "steps": run.max_steps, "config": run.config, "variant": run.budget}
    height, width = run.config["data"]["init_args"]["size"]
    own["data"] = {**DATA, "version": f"procedural-1-{height}x{width}-seed0"}
    own |= changes
    return make_record(method, {task: values[task] for task in tasks if task in values}, run.seed, **own)


def fill(run: TableRun, **changes: Any) -> None:
    """Puts what a tested run leaves into its folder."""
    run.mark()
    for kind in ("fit", "test"):
        record_of(run, kind, **changes).write(run.folder / "records" / f"{kind}.json")
    run.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    run.checkpoint.write_text("weights")
