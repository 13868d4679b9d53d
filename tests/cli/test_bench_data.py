"""`mtdense bench data`."""

from __future__ import annotations

import json

import pytest

from mtdense.cli.main import main


@pytest.mark.parametrize(
    "options", [["--runs", "0"], ["--workers", "1", "0"], ["--images", "0"], ["--root", "somewhere"]]
)
def test_senseless_options(options, capsys):
    assert main(["bench", "data", *options]) == 1
    assert "Mend" in capsys.readouterr().err


@pytest.mark.slow
def test_measures_all_ways_to_a_sample(tmp_path, capsys):
    pytest.importorskip("skimage")
    out = tmp_path / "bench.json"
    options = ["--images", "2", "--runs", "1", "--workers", "1", "--json", str(out), "--work", str(tmp_path / "work")]
    assert main(["bench", "data", *options]) == 0
    shown = capsys.readouterr().out
    figures = json.loads(out.read_text(encoding="utf-8"))["data"]
    assert set(figures) == {"nyud_atrc", "pascal_context"}
    for dataset, pipelines in figures.items():
        assert dataset in shown
        assert set(pipelines) == {"published", "files", "source pack", "raw pack"}
        for row in pipelines.values():
            assert row["images_per_second"]["1"][0] > 0 and row["processor_seconds"][0] > 0
            assert set(row["stages"]) == {"read and decode", "geometry", "colours", "other"}
            assert row["stages"]["read and decode"] > 0 and row["stages"]["geometry"] > 0
