"""`mtdense table show ID` on shipped tables and records as `mtdense table run` leaves them."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from mtdense.core.errors import ConfigError, DataError
from mtdense.reports import MetricValue
from mtdense.reports.paper_tables.definition import read_table
from mtdense.reports.paper_tables.runs import row_runs
from mtdense.reports.paper_tables.structure import METRIC_NAMES, Block, Row
from tests.cli.test_table import call
from tests.reports.helpers import make_record


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The record of one run of prototype-4, in its place."""
    table = read_table("prototype-4")
    block, row = table.rows[0]
    run = row_runs(table, block, row, budget="smoke", seeds=[0], out=tmp_path)[0]
    run.mark()
    facts = [(column, *METRIC_NAMES[column.metric]) for column in block.columns]
    units = {"percent": "fraction", "degrees": "degrees", "metres": "metres"}
    metrics = [
        MetricValue(column.task, name, 42.125 / factor, units[column.unit], column.higher_is_better, True)
        for column, name, factor in facts
    ]
    config = {section: run.config[section] for section in ("model", "data", "trainer")}
    found = make_record(row.method, {}, 0, tasks=list(row.tasks), metrics=metrics, config=config, steps=run.max_steps)
    data = {"name": block.dataset, "label_setting": block.setting, "version": "replica-nyud_mtan-1"}
    found = replace(found, data={**found.data, **data})
    replace(found, kind="fit").write(run.folder / "records" / "fit.json")
    found.write(run.folder / "records" / "test.json")
    return run.folder / "records" / "test.json"


def show(*options: object) -> int:
    return call("show", "prototype-4", "--budget", "smoke", "--no-costs", *options)


def test_records_of_a_budget_are_shown(record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show("--out", tmp_path, "--format", "csv") == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    measured = [line for line in lines if line["ours_mean"]]
    assert {float(line["ours_mean"]) for line in measured} == {42.125} and len({line["row"] for line in measured}) == 1
    assert measured[0]["marks"].split("; ")[0] == "smoke" and "backbone tiny" in measured[0]["marks"]
    assert measured[0]["difference"] == ""
    # Those of another budget, or of another folder, are not.
    assert call("show", "prototype-4", "--no-costs", "--out", tmp_path) == 0
    assert "42.12" not in capsys.readouterr().out
    assert show("--out", tmp_path / "elsewhere") == 0
    assert "ours" not in capsys.readouterr().out.replace("Our", "").split("Marks")[0]


def test_an_edited_record_is_refused(record: Path, tmp_path: Path) -> None:
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(DataError, match=f"{record} was changed"):
        show("--out", tmp_path)


def test_chosen_rows_are_shown(record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row.id for _, row in read_table("prototype-4").rows]
    assert show("--out", tmp_path, "--format", "csv", "--rows", rows[0]) == 0
    shown = {line["row"] for line in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert shown == {rows[0]} != set(rows)
    with pytest.raises(ConfigError, match="no row 'nothing'"):
        show("--rows", "nothing")
    with pytest.raises(ConfigError, match="of several tables"):
        call("show", "prototype-4", "tif-3", "--no-costs", "--rows", rows[0])


def test_costs_of_a_network_are_counted_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []

    def count(row: Row, block: Block, device: object) -> dict[str, float]:
        counted.append(repr((row.experiment, row.overrides, row.costs, row.tasks)))
        assert device is None
        return {"params_m": 1.5}

    monkeypatch.setattr("mtdense.cli.table_costs.row_costs", count)
    assert call("show", "tif-10", "tif-3", "tif-2", "--out", tmp_path, "--format", "csv") == 0
    lines = [line for line in csv.DictReader(io.StringIO(capsys.readouterr().out)) if line["figure"] == "params_m"]
    assert {line["table"] for line in lines} == {"tif-3", "tif-10"}
    built = [line for line in lines if "paper only" not in line["marks"]]
    assert {line["ours_mean"] for line in built} == {"1.5"} and len(built) > 1
    assert len(counted) == len(set(counted)) > 1


def test_pages_of_several_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = ("prototype-4", "bridgenet-2")
    assert call("show", *ids, "--no-costs", "--format", "html", "--out", tmp_path, "--to", tmp_path / "pages") == 0
    assert "index.html and 2 pages" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {"index.html", *(f"{name}.html" for name in ids)}
    assert 'href="index.html"' in (tmp_path / "pages" / "prototype-4.html").read_text()


def test_options_that_make_no_sense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["prototype-4", "--runs", tmp_path]):
        with pytest.raises(SystemExit):
            call("show", *options)
        assert "not both" in capsys.readouterr().err
    for options, problem in (
        (["all", "--format", "html"], "several pages need a folder"),
        (["prototype-4", "--sheet"], "--sheet with --format terminal"),
        (["prototype-4", "--seeds", "0"], "--seeds 0"),
        (["prototype-44"], "there is no table 'prototype-44'"),
        (["--runs", tmp_path, "--format", "latex"], "--format latex with --runs"),
    ):
        with pytest.raises(ConfigError, match=problem):
            call("show", *options)
