"""A printed table and runs of it, made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from mtdense.reports import RunRecord
from mtdense.reports.paper_tables.cells import shown_table
from mtdense.reports.paper_tables.shown import ShownTable
from mtdense.reports.paper_tables.structure import Block, CostCount, PaperColumn, PaperTable, Printed, Row
from tests.reports.helpers import DATA, make_record

NASTY = "50% of A & B_1 | #2 {x} ~ <script>alert('1')</script>"
COLUMNS = (PaperColumn("semseg", "miou", True, "percent", 2), PaperColumn("depth", "rmse", False, "metres", 3))
GENUINE = {**DATA, "name": "nyud_mtan", "version": "nyud_mtan-1", "label_setting": "full"}


class State(Enum):
    ABSENT = "to do"
    DONE = "trained"
    DIVERGED = "diverged"


@dataclass(frozen=True)
class FakeRun:
    """A run whose record is whatever lies in its folder."""

    task: str | None
    seed: int
    folder: Path
    budget: str = "full"
    config: dict[str, Any] = field(default_factory=dict)
    diverged: bool = False

    def state(self) -> State:
        return State.DIVERGED if self.diverged else State.DONE if self.tested() else State.ABSENT

    def tested(self) -> RunRecord | None:
        path = self.folder / "records" / "test.json"
        return RunRecord.read(path) if path.is_file() else None


def make_row(id_: str, method: str, **changes: Any) -> Row:
    values: dict[str, Any] = {
        "id": id_,
        "method": method,
        "backbone": "tiny",
        "label": id_.upper(),
        "experiment": "any.yaml",
        "overrides": {},
        "paper": Printed(),
        "suspect": (),
        "missing": None,
        "note": "",
        "tasks": ("semseg", "depth"),
    }
    return Row(**{**values, **changes})


ROWS = (
    make_row("stl", "single_task", paper=Printed({"semseg": 40.0, "depth": 1.0})),
    make_row(
        "mtl",
        "mtl_baseline",
        paper=Printed({"semseg": 42.0, "depth": 9.0}, {"depth": 0.9}, cost={"params_m": 10.0}),
        costs=CostCount((8, 10), "macs", ("params_m", "latency_s")),
    ),
    make_row("odd", "mtpsl", label=NASTY, paper=Printed({"semseg": 90.0, "depth": 1.1}), suspect=("semseg",)),
    make_row("gone", "psd", experiment=None, missing="no code of it.", paper=Printed({"semseg": 41.0}, delta_m=-1.5)),
)


def make_table(rows: tuple[Row, ...] = ROWS, **changes: Any) -> PaperTable:
    values: dict[str, Any] = {
        "id": "main",
        "dataset": "nyud_mtan",
        "setting": "full",
        "value_kind": "absolute",
        "delta_reference": "stl",
        "note": "",
        "columns": COLUMNS,
        "costs": CostCount((8, 10), "macs", ("params_m", "latency_s")),
        "rows": rows,
    }
    block = Block(**{**values, **changes})
    errata = ({"kind": "misprint", "where": "mtl", "detail": "0.9 <b>"},)
    return PaperTable("made-1", "made", "Made up", "1", "By hand.", "complete", (block,), errata, Path("made-1.yaml"))


# {(row, task of its network, seed): scores}
SCORES: dict[tuple[str, str | None, int], dict[str, float]] = {
    ("stl", "semseg", 0): {"semseg": 0.40},
    ("stl", "semseg", 1): {"semseg": 0.44},
    ("stl", "depth", 0): {"depth": 1.0},
    ("stl", "depth", 1): {"depth": 1.0},
    ("mtl", None, 0): {"semseg": 0.50, "depth": 0.8},
    ("mtl", None, 1): {"semseg": 0.55, "depth": 0.9},
}


class Runs:
    """Runs of `SCORES`, or of others, below a folder."""

    def __init__(self, out: Path, scores: Mapping[tuple[str, str | None, int], Mapping[str, float]] = SCORES) -> None:
        self.out = out
        self.budget = "full"
        self.methods = {row.id: row.method for row in ROWS}
        self.places = list(scores)
        for place, values in scores.items():
            self.write(place, values)

    def folder(self, place: tuple[str, str | None, int]) -> Path:
        row, task, seed = place
        return self.out.joinpath(*filter(None, (row, task)), f"seed{seed}")

    def write(
        self, place: tuple[str, str | None, int], values: Mapping[str, float] | None = None, **changes: Any
    ) -> Path:
        """Puts a record where the run has it, in place of an earlier one."""
        row, _, seed = place
        data = {**GENUINE, **changes.pop("data", {})}
        values = SCORES[place] if values is None else values
        if place not in self.places:
            self.places.append(place)
        record = make_record(self.methods.get(row, row), values, **{"seed": seed, "data": data, **changes})
        path = self.folder(place) / "records" / "test.json"
        record.write(path)
        return path

    def rewrite(self, **changes: Any) -> None:
        """Changes all records alike."""
        for place in self.places:
            self.write(place, **changes)

    def __call__(self, block: Block, row: Row) -> list[FakeRun]:
        return [FakeRun(p[1], p[2], self.folder(p), self.budget) for p in self.places if p[0] == row.id]


def show(runs: Runs, table: PaperTable | None = None, **options: Any) -> ShownTable:
    options = {"costs": lambda block, row: {"params_m": 12.5, "latency_s": 0.25}, "budget": runs.budget, **options}
    return shown_table(make_table() if table is None else table, runs, **options)
