"""Every shipped table can be shown when all its rows are done: what small budgets make of rows can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mtdense.reports import MetricValue, RunRecord
from mtdense.reports.paper_tables.cells import shown_table
from mtdense.reports.paper_tables.definition import read_table, table_ids
from mtdense.reports.paper_tables.runs import TableRun, row_runs
from mtdense.reports.paper_tables.structure import METRIC_NAMES, Block, Row
from mtdense.reports.training_run import State
from tests.reports.helpers import make_record


@dataclass(frozen=True)
class Done:
    """A run whose record is in no file."""

    task: str | None
    seed: int
    folder: Path
    budget: str
    config: dict[str, Any]
    record: RunRecord

    def state(self) -> State:
        return State.DONE

    def tested(self) -> RunRecord:
        return self.record


def done(run: TableRun, block: Block, row: Row) -> Done:
    """The run with the record that training and testing by its configuration would leave."""
    model, data = run.config["model"]["init_args"], run.config["data"]["init_args"]
    tasks = [run.task] if run.task else list(row.tasks)
    facts: dict[str, Any] = {
        "name": block.dataset,
        "version": f"replica-{block.dataset}-1",
        "size": data["size"],
        "label_setting": block.setting,
        "label_seed": data.get("label_seed", 0),
        "mask_checksum": "a" * 64,
        "test_size": 4,
    }
    if block.dataset == "pascal_context" and "edges" in tasks:
        facts |= {"edge_images": "all", "train_edges": "laplacian", "eval_edges": "seism"}
    metrics = [
        MetricValue(column.task, METRIC_NAMES[column.metric][0], 0.5, "", column.higher_is_better, True)
        for column in block.columns
        if column.task in tasks
    ]
    given = {"tasks": tasks, "metrics": metrics, "data": facts, "backbone": model["backbone"], "config": run.config}
    record = make_record(row.method, {}, run.seed, variant=run.budget, **given)
    return Done(run.task, run.seed, run.folder, run.budget, run.config, record)


@pytest.mark.parametrize("budget", ["smoke", "short"])
def test_all_rows_are_comparable(tmp_path: Path, budget: str) -> None:
    gains = 0
    for name in table_ids():
        table = read_table(name)

        def runs(block: Block, row: Row, table: Any = table) -> list[Done]:
            found = row_runs(table, block, row, budget=budget, seeds=[0], out=tmp_path)
            return [done(run, block, row) for run in found]

        shown = shown_table(table, runs, budget=budget)
        for _, row in shown.rows:
            assert row.row.experiment is None or row.sources or not row.cells, (name, row.row.id)
            gains += sum(cell.gain is not None for cell in row.cells)
    assert gains > 100
