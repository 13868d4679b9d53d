from __future__ import annotations

import argparse
import json

import pytest

from mtdense.cli import table, table_show
from mtdense.core.errors import DataError
from mtdense.reports import FORMATS
from tests.reports.helpers import make_record


def call(*arguments):
    parser = argparse.ArgumentParser()
    table.add_parser(parser.add_subparsers())
    args = parser.parse_args(["table", *map(str, arguments)])
    return args.func(args)


@pytest.fixture
def runs(tmp_path):
    for name, record in {
        "semseg": make_record("single_task", {"semseg": 0.4}),
        "depth": make_record("single_task", {"depth": 1.0}),
        "mtl": make_record(),
    }.items():
        record.write(tmp_path / "runs" / name / "records" / "test.json")
    return tmp_path / "runs"


def test_show_prints_the_table(runs, capsys):
    assert call("show", "--runs", runs) == 0
    out = capsys.readouterr().out
    assert "depth RMSE ↓ [m]" in out
    assert "+22.50" in out


def test_show_writes_a_file(runs, tmp_path, capsys):
    assert (
        call(
            "show",
            "--runs",
            runs / "semseg",
            runs / "depth",
            runs / "mtl",
            "--format",
            "json",
            "--out",
            tmp_path / "t.json",
        )
        == 0
    )
    assert capsys.readouterr().out == ""
    stored = json.loads((tmp_path / "t.json").read_text())
    assert stored["rows"][1]["delta_m"] == [pytest.approx(22.5)]


def test_an_edited_record_stops_it(runs):
    path = runs / "mtl" / "records" / "test.json"
    path.write_text(path.read_text().replace('"value": 0.5', '"value": 0.6'))
    with pytest.raises(DataError, match="was changed"):
        call("show", "--runs", runs)


def test_runs_are_needed(capsys):
    with pytest.raises(SystemExit):
        call("show")
    assert "--runs" in capsys.readouterr().err


def test_formats_are_those_of_the_reports():
    assert set(table_show.FORMATS) == set(FORMATS)
