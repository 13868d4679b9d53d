"""Every printed table at once, as `make reproduce-tables BUDGET=smoke` makes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtdense.reports.paper_tables.definition import table_ids


@pytest.mark.slow
def test_every_table_is_trained_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row of every method of every table; what stands in one table must be comparable. A second call trains none."""
    from mtdense.cli.main import main

    out, pages = tmp_path / "out", tmp_path / "pages"
    said = []
    for _ in range(2):
        assert main(["table", "run", "all", "--budget", "smoke", "--out", str(out), "--jobs", "2"]) == 0
        said.append(capsys.readouterr().out)
    runs = len(list(out.rglob("records/test.json")))
    assert runs > 70
    assert f"{runs} runs done now, 0 done before." in said[0]
    assert f"0 runs done now, {runs} done before." in said[1]
    shown = ["table", "show", "all", "--budget", "smoke", "--out", str(out)]
    assert main([*shown, "--format", "html", "--to", str(pages)]) == 0
    assert {page.stem for page in pages.glob("*.html")} == {"index", *table_ids()}
    assert all("smoke" in (pages / f"{name}.html").read_text() for name in table_ids() if name != "tif-2")
