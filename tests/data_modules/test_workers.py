"""Data workers leave the end to the main process, and never outlive it."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_modules import ProceduralDataModule
from data_modules.workers import start_method

ROOT = Path(__file__).parents[2]
# Start methods that Python knows on Linux, its own first: up to 3.13, and from 3.14 on.
EARLIER, LATER = ["fork", "spawn", "forkserver"], ["forkserver", "fork", "spawn"]


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("known", "set_to", "platform", "wanted"),
    [
        (EARLIER, None, "linux", "fork"),
        (LATER, None, "linux", "fork"),
        (LATER, "forkserver", "linux", "fork"),  # as after the first use
        (LATER, "fork", "linux", "fork"),
        (EARLIER, "forkserver", "linux", None),  # somebody's will
        (LATER, "spawn", "linux", None),
        (["spawn", "fork", "forkserver"], None, "darwin", None),
    ],
)
def test_how_workers_begin(
    known: list[str], set_to: str | None, platform: str, wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: known)
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: set_to)
    assert start_method() == wanted


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere multiprocessing decides")
def test_all_loaders_fork_their_workers() -> None:
    for workers, wanted in ((1, "fork"), (0, None)):
        data = ProceduralDataModule(tasks=["depth"], train_images=4, num_workers=workers)
        data.setup("fit")
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
            context = loader.multiprocessing_context
            assert (None if context is None else context.get_start_method()) == wanted


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
