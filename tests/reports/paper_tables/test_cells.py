"""Cells of printed tables, against figures computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtdense.core.errors import DataError
from mtdense.reports.evidence.paired import NOT_DECIDED
from mtdense.reports.paper_tables.structure import Printed
from tests.reports.paper_table_helpers import GENUINE, ROWS, SCORES, Runs, make_row, make_table, show

MTL = ("mtl", None, 0)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def row_of(shown: Any, name: str) -> Any:
    return next(row for _, row in shown.rows if row.row.id == name)


def test_figures(runs: Runs) -> None:
    shown = show(runs)
    row = row_of(shown, "mtl")
    semseg, depth = row.cells
    assert semseg.ours.mean == pytest.approx(52.5) and semseg.ours.deviation == pytest.approx(5 / math.sqrt(2))
    assert (semseg.ours.seeds, semseg.printed, semseg.corrected) == ((0, 1), 42.0, None)
    assert semseg.difference == pytest.approx(10.5) and semseg.better_by == pytest.approx(10.5)
    # The corrected figure counts, and of an error less is better.
    assert (depth.printed, depth.paper) == (9.0, 0.9)
    assert depth.difference == pytest.approx(-0.05) and depth.better_by == pytest.approx(0.05)
    # Gains of 10 and 11 points: 10.5 ± t(1) · 0.7071 / √2 with t(1) = 12.7062.
    assert semseg.gain.values == pytest.approx((10, 11))
    assert semseg.gain.interval == pytest.approx((10.5 - 6.3531, 10.5 + 6.3531), abs=1e-4)
    assert (semseg.gain.verdict, depth.gain.verdict) == ("mtl > stl", NOT_DECIDED)
    assert semseg.paper_gain == pytest.approx(2.0) and depth.paper_gain == pytest.approx(0.1)
    # Seed 0: (10 / 40 + 0.2 / 1) / 2; seed 1: (11 / 44 + 0.1 / 1) / 2; the paper's: (2 / 40 + 0.1 / 1) / 2.
    assert row.delta.ours.values == pytest.approx((22.5, 17.5))
    assert (row.delta.printed, row.delta.formed) == (None, pytest.approx(7.5))
    assert row.delta.difference == pytest.approx(12.5)
    assert sorted(source.path.relative_to(runs.out).parts[1] for source in row.delta.baselines) == [
        *("depth", "depth", "semseg", "semseg")
    ]
    assert row.marks == [] and row.reference.id == "stl"
    reference = row_of(shown, "stl")
    assert reference.delta.ours is None and reference.cells[0].gain is None


def test_what_was_not_measured_is_empty(runs: Runs) -> None:
    runs.write(("mtl", None, 1), {"semseg": math.nan, "depth": 0.9})
    shown = show(runs)
    mtl, odd, gone = (row_of(shown, name) for name in ("mtl", "odd", "gone"))
    assert mtl.cells[0].ours.seeds == (0,) and mtl.cells[0].ours.deviation is None
    assert mtl.delta.ours.seeds == (0,)
    assert any("semseg mIoU is no number" in note for note in mtl.notes)
    for row, mark in ((odd, "not run"), (gone, "missing")):
        assert [m.kind for m in row.marks] == [mark]
        assert all((cell.ours, cell.difference, cell.gain) == (None, None, None) for cell in row.cells)
        assert row.delta.ours is None
    assert (gone.delta.printed, gone.cells[1].paper) == (-1.5, None)
    assert "Not in the suite: no code of it." in gone.notes


def test_a_lacking_task_leaves_delta_m_empty_and_is_told(runs: Runs, tmp_path: Path) -> None:
    for seed in (0, 1):
        runs.places.remove(("stl", "depth", seed))
    row = row_of(show(runs), "mtl")
    assert row.delta.ours is None and row.cells[0].gain is not None
    assert "No Δm of ours: depth is not measured here or in stl." in row.notes


def test_suspect_figures_are_not_compared(runs: Runs) -> None:
    for seed in (0, 1):
        runs.write(("odd", None, seed), {"semseg": 0.6, "depth": 0.8})
    semseg, depth = row_of(show(runs), "odd").cells
    assert semseg.ours.mean == pytest.approx(60) and (semseg.difference, semseg.paper_gain) == (None, None)
    assert depth.difference == pytest.approx(-0.3)
    assert row_of(show(runs), "odd").delta.formed is None


@pytest.mark.parametrize(
    ("budget", "changes", "own", "marks", "compared"),
    [
        ("full", {}, {}, [], True),
        ("short", {}, {}, ["short"], True),
        ("full@3", {}, {}, ["full@3"], True),
        ("smoke@3", {}, {}, ["smoke@3"], False),
        ("full", {"data": {"version": "replica-nyud_mtan-1"}}, {}, ["replica"], False),
        ("full", {"data": {"name": "procedural"}}, {}, ["procedural scenes"], False),
        ("short", {}, {"model": {"init_args": {"backbone": "large"}}}, ["short", "backbone tiny"], False),
        ("short", {}, {"data": {"init_args": {"size": [80, 100]}}}, ["short", "images 8x10"], False),
        (
            "short",
            {"config": {"model": {"init_args": {"preset": "small"}}}},
            {"model": {"init_args": {"backbone": "tiny", "preset": "paper"}}},
            ["short", "preset small"],
            False,
        ),
    ],
    ids=("full", "short", "steps", "smoke", "replica", "procedural", "backbone", "images", "preset"),
)
def test_marks(
    runs: Runs, budget: str, changes: dict[str, Any], own: dict[str, Any], marks: list[str], compared: bool
) -> None:
    runs.rewrite(**changes)
    runs.budget = budget
    shown = show(runs, own=lambda block, row: own) if own else show(runs)
    for name in ("stl", "mtl"):
        row = row_of(shown, name)
        assert [mark.text for mark in row.marks] == marks
        assert (row.cells[0].difference is not None) == compared
    assert (row_of(shown, "mtl").delta.difference is not None) == compared
    # What rows of ours say of each other stands all the same.
    assert row_of(shown, "mtl").delta.ours.mean == pytest.approx(20)


def test_another_backbone_is_marked_without_the_experiment(runs: Runs) -> None:
    runs.rewrite(backbone="tiniest")
    assert [mark.text for mark in row_of(show(runs), "mtl").marks] == ["backbone tiniest"]


def test_an_edited_record_is_refused_by_its_name(runs: Runs) -> None:
    path = runs.folder(MTL) / "records" / "test.json"
    path.write_text(path.read_text().replace("0.8", "0.7"))
    with pytest.raises(DataError, match=f"{path} was changed after it was written"):
        show(runs)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 5}, "has seed 5"),
        ({"values": {"semseg": 0.5}}, r"has tasks \['semseg'\]"),
        ({"data": {"name": "cityscapes"}}, "has data 'cityscapes'"),
        ({"data": {"label_setting": "one-label"}}, "has label setting 'one-label'"),
        ({"kind": "validate"}, "has kind 'validate'"),
    ],
    ids=("seed", "tasks", "data", "setting", "kind"),
)
def test_foreign_records_are_refused_by_their_names(runs: Runs, changes: dict[str, Any], told: str) -> None:
    path = runs.write(MTL, **changes)
    with pytest.raises(DataError, match=f"{path} {told}"):
        show(runs)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": {"version": "nyud_mtan-2"}}, "version 'nyud_mtan-.'"),
        ({"data": {"test_size": 7}}, "test size"),
        ({"data": {"size": [16, 20]}}, "size"),
        ({"backbone": "other"}, "backbone '(tiny|other)'"),
    ],
    ids=("version", "test images", "size", "backbone"),
)
def test_what_differs_is_not_compared(runs: Runs, changes: dict[str, Any], told: str) -> None:
    for seed in (0, 1):
        runs.write(("mtl", None, seed), **changes)
    with pytest.raises(DataError, match=f"stl.*has {told}.* but .*mtl.*has .*not comparable in one table"):
        show(runs)


def test_conventions_of_metrics_are_not_mixed(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    path = runs.folder(MTL) / "records" / "test.json"
    from mtdense.reports import RunRecord

    record = RunRecord.read(path)
    replace(record, metrics=[replace(each, protocol="absent classes skipped") for each in record.metrics]).write(path)
    with pytest.raises(DataError, match=r"protocol of semseg/mIoU '' but .*'absent classes skipped'"):
        show(runs)


def test_partial_masks_must_agree_but_a_mask_of_all_labels_need_not(runs: Runs) -> None:
    for seed in (0, 1):
        runs.write(("mtl", None, seed), data={"mask_checksum": "b" * 64})
    assert row_of(show(runs), "mtl").delta.ours is not None
    runs.rewrite(data={"label_setting": "one-label"})
    for seed in (0, 1):
        runs.write(("mtl", None, seed), data={"label_setting": "one-label", "mask_checksum": "b" * 64})
    with pytest.raises(DataError, match="mask checksum"):
        show(runs, make_table(setting="one-label"))


def test_a_table_that_mixes_backbones_has_no_delta_m_of_ours(runs: Runs) -> None:
    rows = tuple(replace(row, backbone="large") if row.id == "mtl" else row for row in ROWS)
    for seed in (0, 1):
        runs.write(("mtl", None, seed), backbone="large")
    row = row_of(show(runs, make_table(rows)), "mtl")
    assert row.delta.ours is None and row.cells[0].gain is None and row.cells[0].ours is not None
    assert "Neither gains nor Δm: the paper compares large with tiny in stl." in row.notes


def test_without_a_named_reference_baselines_of_the_same_backbone_count(runs: Runs) -> None:
    runs.write(("odd", None, 0), {"semseg": 0.6, "depth": 0.8})
    shown = show(runs, make_table(delta_reference=None))
    found = {row.row.id: row.reference and row.reference.id for _, row in shown.rows}
    assert found == {"stl": None, "mtl": "stl", "odd": "mtl", "gone": "mtl"}
    # Δm is always against single-task networks: (20 / 40 + 0.2 / 1) / 2.
    assert row_of(shown, "odd").delta.ours.values == pytest.approx((35.0,))
    assert row_of(shown, "odd").cells[0].gain.values == pytest.approx((10.0,))


def test_printed_improvements_stand_beside_ours(runs: Runs) -> None:
    rows = (replace(ROWS[0], paper=Printed()), replace(ROWS[1], paper=Printed({"semseg": 3.0, "depth": 0.1})))
    semseg, depth = row_of(show(runs, make_table(rows, value_kind="improvement")), "mtl").cells
    assert semseg.ours.values == pytest.approx((10, 11)) and depth.ours.values == pytest.approx((0.2, 0.1))
    assert semseg.difference == semseg.better_by == pytest.approx(7.5)
    assert depth.difference == depth.better_by == pytest.approx(0.05)
    # A row whose backbone the paper does not name is compared all the same.
    unnamed = (rows[0], replace(rows[1], backbone=None))
    cells = row_of(show(runs, make_table(unnamed, value_kind="improvement")), "mtl").cells
    assert cells[0].ours.values == pytest.approx((10, 11))
    assert row_of(show(runs, make_table(rows, value_kind="improvement")), "stl").cells[0].ours is None


def test_runs_without_results_are_told(runs: Runs) -> None:
    original = runs.__call__

    class Diverging(Runs):
        def __init__(self) -> None:
            pass

        def __call__(self, block: Any, row: Any) -> Any:
            return [replace(run, diverged=row.id == "mtl" and run.seed == 1) for run in original(block, row)]

    diverging = Diverging()
    diverging.budget = "full"
    assert "Diverged (the loss became no number): seed 1." in row_of(show(diverging), "mtl").notes


def test_our_costs_do_not_come_from_the_paper(runs: Runs) -> None:
    shown = row_of(show(runs), "mtl").costs
    assert [(cost.paper, cost.ours, cost.relative) for cost in shown] == [(10.0, 12.5, 25.0), (None, 0.25, None)]
    rows = tuple(replace(row, paper=Printed()) for row in ROWS)
    bare = row_of(show(runs, make_table(rows)), "mtl")
    assert [(cost.paper, cost.ours) for cost in bare.costs] == [(None, 12.5), (None, 0.25)]
    assert bare.cells[0].ours.mean == pytest.approx(52.5)
    assert all(cost.ours is None for cost in row_of(show(runs), "gone").costs)


def test_a_table_of_costs_alone_asks_for_no_runs(tmp_path: Path) -> None:
    rows = (make_row("one", "tif", tasks=(), costs=make_table().blocks[0].costs),)
    table = make_table(rows, dataset=None, columns=(), delta_reference=None)
    row = row_of(show(Runs(tmp_path, {("one", None, 0): SCORES[MTL]}), table), "one")
    assert row.sources == [] and row.marks == [] and row.costs[0].ours == 12.5


def test_the_direction_of_a_column_is_checked(runs: Runs) -> None:
    columns = (replace(make_table().blocks[0].columns[0], higher_is_better=False),)
    rows = tuple(replace(row, tasks=("semseg",), suspect=()) for row in ROWS if row.id == "stl")
    runs.places = [("stl", "semseg", 0)]
    with pytest.raises(DataError, match="the table says the opposite"):
        show(runs, make_table(rows, columns=columns, delta_reference=None))
    assert GENUINE["name"] == "nyud_mtan"
