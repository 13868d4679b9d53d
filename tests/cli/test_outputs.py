"""Files that cannot be written are found out before the long work."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtdense.cli.main import main
from mtdense.cli.outputs import check_output
from mtdense.core.errors import ConfigError


def test_places_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}")
    for name in ("new.json", "old.json"):
        check_output("--json", tmp_path / name, [tmp_path / "preds", tmp_path / "new"])


@pytest.mark.parametrize("place", ["", "nowhere/x.json", "old.json/x.json"])
def test_places_that_cannot(tmp_path: Path, place: str) -> None:
    (tmp_path / "old.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"--json .* cannot be written") as error:
        check_output("--json", tmp_path / place)
    assert error.value.mend


def test_inputs_are_no_outputs(tmp_path: Path) -> None:
    (tmp_path / "preds/sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "preds")
    for place in ("preds/x.json", "preds/sub/x.json", "link/x.json"):
        with pytest.raises(ConfigError, match="which is read"):
            check_output("--json", tmp_path / place, [tmp_path / "preds"])


def test_bench_asks_first(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("mtdense.reports.bench.bench_metrics", lambda *_: pytest.fail("it has measured"))
    assert main(["bench", "metrics", "--json", "nowhere/x.json"]) == 1
    assert "--json nowhere/x.json cannot be written" in capsys.readouterr().err
