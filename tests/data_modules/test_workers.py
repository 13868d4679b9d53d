"""Data workers leave the end to the main process, and never outlive it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_no_worker_outlives_the_main_process(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    output, errors = tmp_path / "output.txt", tmp_path / "errors.txt"
    command = [sys.executable, "-m", "tests.data_modules.worker_ends"]
    with output.open("w") as out, errors.open("w") as err:  # no pipes: a worker that stays would keep them open
        subprocess.run(command, stdout=out, stderr=err, env=environment, cwd=ROOT, timeout=120, check=True)
    told = errors.read_text()
    lines = [line.split() for line in output.read_text().splitlines()]
    workers = {line[0]: int(line[1]) for line in lines if line[0] != "codes"}
    assert workers.keys() == {"idle", "error", "killed", "stuck", "orphan"}
    assert lines[-1] == ["codes", "0", "1", "-9", "0", "-9"], told
    assert told.count("Traceback") == 1, told
    end = time.monotonic() + 30  # torch's worker looks after its parent every 5 s
    while any(map(alive, workers.values())) and time.monotonic() < end:
        time.sleep(0.2)
    assert [way for way, worker in workers.items() if alive(worker)] == []
