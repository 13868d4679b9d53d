"""Programs in children of a process that has imported everything."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from mtdense.core.errors import ConfigError
from mtdense.reports.evidence import sole_use, warm
from mtdense.reports.evidence.runner import Job, run_jobs


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> warm.WarmStart:
    monkeypatch.setattr(warm, "_MODULES", ["mtdense.cli.main"])  # the rest takes seconds
    root = Path(__file__).parents[3]
    return warm.WarmStart({**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])})


def test_a_program_ends_with_its_code_and_writes_to_its_log(tmp_path: Path, start: warm.WarmStart) -> None:
    lines: list[str] = []
    jobs = [
        Job(words[0], [("fit", lambda words=words: [sys.executable, "-m", "mtdense", *words])], tmp_path / words[0])
        for words in (["--version"], ["nonsense"])
    ]
    assert run_jobs(jobs, 2, start.environment, lines.append, start=start) == ["nonsense"]
    assert (tmp_path / "--version").read_text().splitlines()[1].startswith("mtdense ")
    assert "invalid choice: 'nonsense'" in (tmp_path / "nonsense").read_text()
    assert any("fit FAILED (exit code 2)" in line for line in lines)
    with pytest.raises(ValueError, match="not a command of mtdense"):
        start(["ls"], {}, (tmp_path / "x").open("wb"), None)


@pytest.mark.slow
def test_a_program_holds_the_lock_and_can_be_killed(tmp_path: Path, start: warm.WarmStart) -> None:
    steps = ["--trainer.max_steps", "100000", "--run_dir", str(tmp_path / "run")]
    fit = ["fit", "--config", "procedural/one-label/mtl_baseline-resnet18.yaml", *steps]
    with (tmp_path / "log").open("wb") as log, sole_use(tmp_path / "place") as lock:
        program = start([sys.executable, "-m", "mtdense", *fit], start.environment, log, lock)
    with pytest.raises(ConfigError, match="at work"), sole_use(tmp_path / "place"):
        pass
    assert program.poll() is None
    while os.getpgid(program.pid) != program.pid:  # until it is a session of its own
        time.sleep(0.01)
    os.killpg(program.pid, 9)
    assert program.wait(30) == -9
    with sole_use(tmp_path / "place"):
        pass
