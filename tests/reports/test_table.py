from __future__ import annotations

import csv
import io
import json
import math

import pytest

from mtdense.core.errors import DataError
from mtdense.reports import MetricValue, build_table, load_records, print_table, render
from tests.reports.helpers import DATA, make_record


def sourced(*records):
    return [(f"r{i}.json", record) for i, record in enumerate(records)]


def single(seed=0, semseg=0.4, depth=1.0, **changes):
    return [
        make_record("single_task", {"semseg": semseg}, seed, **changes),
        make_record("single_task", {"depth": depth}, seed, **changes),
    ]


def row_of(table, method):
    return next(row for row in table.rows if row.method == method)


def test_delta_m_by_hand():
    table = build_table(sourced(*single(), make_record()))
    # mIoU 0.4 -> 0.5 is +25 %, RMSE 1.0 -> 0.8 is +20 % because lower is better: mean 22.5 %.
    assert row_of(table, "mtl_baseline").delta_m == [pytest.approx(22.5)]
    assert row_of(table, "single_task").delta_m is None


def test_single_task_records_become_one_row():
    row = row_of(build_table(sourced(*single(), make_record())), "single_task")
    assert row.values == {("semseg", "mIoU"): [0.4], ("depth", "RMSE"): [1.0]}
    assert row.parameters == 3_000_000


def test_delta_m_is_paired_by_seed_and_averaged():
    records = [
        *single(0),
        *single(1, semseg=0.5),
        make_record(seed=0),
        make_record(seed=1, scores={"semseg": 0.5, "depth": 1.1}),
    ]
    table = build_table(sourced(*records))
    # Seed 1: mIoU 0.5 -> 0.5 is 0 %, RMSE 1.0 -> 1.1 is -10 %.
    assert row_of(table, "mtl_baseline").delta_m == [pytest.approx(22.5), pytest.approx(-5.0)]
    text = render(table, "markdown")
    assert "+8.75 ± 19.45" in text  # mean of 22.5 and -5; their sample deviation is 27.5 / sqrt(2)
    assert "sample standard deviation" in text


def test_delta_m_needs_single_task_runs_of_the_same_seed_and_backbone():
    table = build_table(sourced(*single(0), make_record(seed=1)))
    assert row_of(table, "mtl_baseline").delta_m is None
    assert any("seed 1" in note for note in table.notes)
    table = build_table(sourced(*single(0, backbone="resnet18"), make_record()))
    assert row_of(table, "mtl_baseline").delta_m is None
    assert any("'tiny'" in note for note in table.notes)
    table = build_table(sourced(single(0)[0], make_record()))
    assert any("depth is missing" in note for note in table.notes)


def test_a_zero_baseline_is_a_note_and_no_crash():
    table = build_table(sourced(*single(semseg=0.0), make_record()))
    assert row_of(table, "mtl_baseline").delta_m is None
    assert any("undefined" in note for note in table.notes)


def test_trivial_rows_come_first_and_win_nothing():
    trivial = make_record("constant", {"semseg": 0.9, "depth": 0.1}, None, kind="trivial", backbone="")
    table = build_table(sourced(make_record(), *single(), trivial, trivial))
    assert [row.method for row in table.rows] == ["constant", "single_task", "mtl_baseline"]
    line = next(line for line in render(table, "markdown").splitlines() if "constant" in line)
    assert "90.00" in line
    assert "**" not in line


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("name", "folder"),
        ("version", "procedural-2"),
        ("label_setting", "full"),
        ("mask_checksum", "d" * 64),
        ("size", [96, 128]),
    ],
)
def test_different_data_is_never_mixed(key, other):
    with pytest.raises(DataError, match=rf"r0\.json has {key} .* but r1\.json"):
        build_table(sourced(make_record(), make_record("other", data={**DATA, key: other})))


def test_metrics_of_different_units_are_never_mixed():
    other = make_record("other")
    other.metrics[1] = type(other.metrics[1])("depth", "RMSE", 0.8, "disparity", False, True)
    with pytest.raises(DataError, match="depth/RMSE"):
        build_table(sourced(make_record(), other))


def test_two_runs_for_one_place_are_refused_unless_they_are_variants():
    with pytest.raises(DataError, match=r"r0\.json and r1\.json are both mtl_baseline") as caught:
        build_table(sourced(make_record(), make_record()))
    assert "--variant NAME" in str(caught.value.mend)
    with pytest.raises(DataError, match="both single_task"):
        build_table(sourced(*single(), single()[0]))
    table = build_table(sourced(*single(), make_record(), make_record(variant="wide")))
    assert [row.label for row in table.rows] == ["single_task", "mtl_baseline", "mtl_baseline (wide)"]
    assert all(row.delta_m for row in table.rows[1:])


def test_a_figure_missing_for_one_seed_is_left_out_and_said():
    table = build_table(sourced(make_record(seed=0), make_record(seed=1, scores={"semseg": 0.5})))
    assert ("depth", "RMSE") not in table.rows[0].values
    assert any("depth/RMSE was not measured for seed 1" in note for note in table.notes)


def test_headings_have_units_and_arrows_and_notes_have_seeds_steps_and_data():
    table = build_table(sourced(*single(), make_record()))
    for format in ("terminal", "markdown"):
        text = render(table, format)
        assert "semseg mIoU ↑ [%]" in text
        assert "depth RMSE ↓ [m]" in text
        assert "50.00" in text
        assert "Seeds: 0. Optimiser steps per network: 300" in text
        assert "not a benchmark of the literature" in text
        assert "size 8x10" in text
    assert "**50.00**" in render(table, "markdown")


def test_csv_and_json_hold_the_figures():
    table = build_table(sourced(*single(), make_record()))
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert float(rows[1]["semseg mIoU ↑ [%]"]) == 50.0
    assert float(rows[1]["Δm ↑ [%]"]) == pytest.approx(22.5)
    assert rows[1]["Δm std"] == ""
    stored = json.loads(render(table, "json"))
    assert stored["rows"][1]["values"] == {"semseg/mIoU": [0.5], "depth/RMSE": [0.8]}
    assert stored["data"]["version"] == "procedural-1"


def test_nan_is_printed_and_never_best():
    table = build_table(sourced(make_record("a", {"semseg": math.nan}), make_record("b", {"semseg": 0.1})))
    text = render(table, "markdown")
    assert "nan" in text
    assert "**nan**" not in text
    json.loads(render(table, "json"))


def test_records_are_found_below_folders(tmp_path):
    make_record().write(tmp_path / "a" / "seed0" / "records" / "test.json")
    make_record(kind="fit").write(tmp_path / "a" / "seed0" / "records" / "fit.json")
    make_record("constant", seed=None, kind="trivial").write(tmp_path / "b" / "records" / "trivial-constant.json")
    found = load_records([tmp_path, tmp_path / "a"])
    assert [record.method for _, record in found] == ["mtl_baseline", "constant"]


def test_further_tests_of_a_run_count_only_where_asked_for_or_alone(tmp_path):
    plain, best = tmp_path / "a" / "records" / "test.json", tmp_path / "a" / "records" / "test-best.json"
    lone = tmp_path / "b" / "records" / "test-best-semseg+depth.json"
    make_record().write(plain)
    make_record(selection="best_val", variant="best").write(best)
    make_record("other", selection="best_val").write(lone)
    make_record("constant", seed=None, kind="trivial").write(tmp_path / "b" / "records" / "trivial-constant.json")
    make_record(kind="validate").write(tmp_path / "b" / "records" / "validate-best.json")
    assert [(r.method, r.variant) for _, r in load_records([tmp_path])] == [
        ("mtl_baseline", ""),
        ("other", ""),
        ("constant", ""),
    ]
    found = load_records([tmp_path / "a", best])
    assert [record.variant for _, record in found] == ["best", ""]
    assert len(build_table(found).rows) == 2


def test_folders_without_records_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no run folder .*nowhere"):
        load_records([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="holds no test record"):
        load_records([tmp_path])
    with pytest.raises(DataError, match="no test records"):
        build_table([])


def test_print_table_is_plain_where_there_is_no_terminal(capsys):
    table = build_table(sourced(*single(), make_record()))
    print_table(table)
    assert capsys.readouterr().out == render(table, "terminal")


def test_unequal_steps_are_told_apart():
    table = build_table(sourced(*single(), make_record(steps=900)))
    assert "Optimiser steps per network: single_task tiny 300; mtl_baseline tiny 900." in table.notes[0]


def test_weights_that_were_chosen_in_different_ways_are_said():
    best = make_record("single_task", {"depth": 1.0}, selection="best_val")
    table = build_table(sourced(single()[0], best, make_record()))
    note = next(note for note in table.notes if "chosen in different ways" in note)
    assert "single_task tiny best_val, last; mtl_baseline tiny last." in note
    assert note in render(table, "terminal")
    assert json.loads(render(table, "json"))["rows"][0]["selections"] == ["best_val", "last"]
    trivial = make_record("constant", {"semseg": 0.1}, None, kind="trivial", backbone="", selection=None)
    assert "chosen" not in render(build_table(sourced(*single(), make_record(), trivial)), "markdown")


def test_figures_of_two_protocols_do_not_stand_in_one_column():
    def scored(method, max_dist):
        value = MetricValue("edges", "odsF", 0.7, "fraction", True, True, f"max_dist={max_dist}")
        return make_record(method, {}, tasks=["edges"], metrics=[value])

    table = build_table(sourced(scored("a", 0.011), scored("b", 0.011)))
    assert "edges odsF: max_dist=0.011." in table.notes
    with pytest.raises(DataError, match=r"max_dist=0.0075.*max_dist=0.011"):
        build_table(sourced(scored("a", 0.0075), scored("b", 0.011)))
