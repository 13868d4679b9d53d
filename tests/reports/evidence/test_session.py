"""How a comparison is carried out, with a program in mtdense's place that copies prepared records."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mtdense.core.errors import ConfigError
from mtdense.reports.evidence import (
    Comparison,
    Outcome,
    Progress,
    State,
    Trial,
    choose,
    execute,
    select_networks,
    sole_use,
    summarise,
)
from mtdense.reports.evidence.runner import Job, cores, run_jobs
from tests.reports.evidence.test_summary import scores
from tests.reports.evidence_helpers import PLAN, make_comparison, network, prepared, quick_writes, write_records

__all__ = ["prepared", "quick_writes"]  # fixtures

pytestmark = pytest.mark.usefixtures("quick_writes")

SINGLE = "one-label/single_task"


class Told(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.stages: list[tuple[str, int]] = []
        self.ended: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def planned(self, what: str, trials: Any) -> None:
        self.stages.append((what, len(trials)))

    def done(self, what: str, trial: Trial) -> None:
        self.ended.append(f"{what} {trial.id}")


def prepare(folder: Path, comparison: Comparison) -> None:
    write_records(comparison, lambda trial: folder / trial.id, scores)


def go(comparison: Comparison, *only: str, jobs: int = 2, **options: Any) -> tuple[Outcome, Told]:
    told = Told()
    networks = select_networks(comparison, only)
    return execute(comparison, networks, jobs, dict(os.environ), told, **options), told


def calls(folder: Path) -> list[str]:
    """Calls since the last time."""
    path = folder / "calls.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_from_nothing_to_the_verdict(tmp_path: Path, prepared: Path) -> None:
    comparison = make_comparison(tmp_path / "out")
    prepare(prepared, comparison)
    outcome, told = go(comparison)
    assert outcome == Outcome()
    assert told.stages == [("fit", 8), ("fit", 8), ("test", 12)]
    made = calls(prepared)
    # The grid on the first seed, before anything is tested.
    assert {line.split()[2].rpartition("/")[2] for line in made[:8]} == {"seed0"}
    assert all(line.startswith("fit --config ") for line in made[:8])
    tested = [line.split()[2] for line in made if line.startswith("test --ckpt_path")]
    assert sorted(tested) == sorted(
        f"one-label/{chosen}/seed{seed}"
        for chosen in ("single_task/semseg/high", "single_task/depth/low", "plain/low", "fancy/high")
        for seed in (0, 1, 2)
    )
    assert len(made) == 8 + 8 + 12
    # Threads: the cores shared by the jobs.
    assert {line.split()[3] for line in made} == {str(max(1, cores() // 2))}
    # What was not chosen keeps its record, not its weights.
    left, kept = (comparison.trial(network("plain"), grid, 0) for grid in ("high", "low"))
    assert left.state() is State.DONE and not left.checkpoint.exists()
    assert kept.checkpoint.exists()
    [found] = summarise(comparison)
    assert found.order == "confirmed"
    # Nothing is done twice.
    outcome, told = go(comparison)
    assert (outcome, told.lines, calls(prepared)) == (Outcome(), [], [])


def test_a_failure_is_reported_and_the_rest_goes_on(tmp_path: Path, prepared: Path) -> None:
    comparison = make_comparison(tmp_path / "out")
    prepare(prepared, comparison)
    stop = prepared / "one-label" / "fancy" / "low" / "seed0" / "fail"
    stop.touch()
    outcome, told = go(comparison)
    assert outcome.failed == ["one-label/fancy/low/seed0"]
    assert outcome.blocked == {"one-label/fancy": "not trained: one-label/fancy/low/seed0"}
    [line] = [line for line in told.lines if "FAILED" in line]
    assert "exit code 1" in line and "mtdense: error: made to fail" in line
    assert len(calls(prepared)) == 8 + 6 + 9
    stop.unlink()
    assert go(comparison)[0] == Outcome()
    assert len(calls(prepared)) == 1 + 2 + 3


def test_a_failure_of_the_reference_stops_all_choices(tmp_path: Path, prepared: Path) -> None:
    comparison = make_comparison(tmp_path / "out")
    prepare(prepared, comparison)
    (prepared / "one-label" / "plain" / "low" / "seed0" / "fail").touch()
    outcome, _ = go(comparison)
    assert len(outcome.blocked) == 4
    assert len(calls(prepared)) == 8


def test_an_interrupted_trial_goes_on(tmp_path: Path, prepared: Path) -> None:
    comparison = make_comparison(tmp_path / "out")
    prepare(prepared, comparison)
    trial = comparison.trial(network("plain"), "high", 0)
    trial.mark()
    trial.checkpoint.parent.mkdir()
    trial.checkpoint.write_text("weights")
    assert trial.state() is State.PARTIAL
    assert go(comparison, "plain")[0] == Outcome()
    made = calls(prepared)
    threads = max(1, cores() // 2)
    assert f"fit --ckpt_path {trial.id} {threads}" in made
    assert f"fit --config one-label/plain/low/seed0 {threads}" in made
    # Without its checkpoint a run that must be tested is done again.
    again = comparison.trial(network("plain"), "low", 1)
    again.checkpoint.unlink()
    (again.folder / "records" / "test.json").unlink()
    assert go(comparison, "plain")[0] == Outcome()
    assert calls(prepared) == [f"fit --config {again.id} {threads}", f"test --ckpt_path {again.id} {threads}"]


# A shell's background job ignores SIGINT, and so would its children.
@pytest.mark.parametrize(("number", "ignored"), [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, True)])
def test_interrupts_stop_the_runs_and_the_next_session_goes_on(
    tmp_path: Path, prepared: Path, number: signal.Signals, ignored: bool
) -> None:
    comparison = make_comparison(tmp_path / "out")
    prepare(prepared, comparison)
    hanging = [prepared / "one-label" / "plain" / grid / "seed0" for grid in ("low", "high")]
    for folder in hanging:
        (folder / "hang").touch()

    def interrupt() -> None:
        trials = comparison.grid_trials(network("plain"))
        while not all(trial.checkpoint.exists() for trial in trials):
            time.sleep(0.02)
        time.sleep(0.2)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt, daemon=True)
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if ignored else signal.getsignal(signal.SIGINT)
    thread.start()
    clock = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt):
            go(comparison, "plain")
        assert signal.getsignal(signal.SIGINT) == (signal.SIG_IGN if ignored else handler)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert time.perf_counter() - clock < 30
    assert all((folder / "stopped").exists() for folder in hanging)
    for folder in hanging:
        (folder / "hang").unlink()
    calls(prepared)
    assert go(comparison, "plain")[0] == Outcome()
    assert [line.split()[:2] for line in calls(prepared)[:2]] == [["fit", "--ckpt_path"]] * 2


def test_another_configuration_is_refused_or_done_again(tmp_path: Path, prepared: Path) -> None:
    comparison = make_comparison(tmp_path / "out")
    prepare(prepared, comparison)
    go(comparison, "plain")
    calls(prepared)
    grid = {"low": {"model": {"init_args": {"lr": 0.3}}}, "high": PLAN["grid"]["high"]}
    changed = make_comparison(tmp_path / "out", grid=grid)
    with pytest.raises(ConfigError, match=r"3 runs in .*out have another configuration .*plan.yaml") as caught:
        go(changed, "plain")
    assert "first one-label/plain/low/seed0 (different: model.init_args.lr)" in str(caught.value)
    assert calls(prepared) == []
    assert go(changed, "plain", overwrite=True)[0] == Outcome()
    assert sorted(line.split()[2] for line in calls(prepared) if line.startswith("fit")) == [
        f"one-label/plain/low/seed{seed}" for seed in (0, 1, 2)
    ]
    # Those of the other seeds are gone even where another value is chosen now; so nothing is left to refuse.
    assert go(changed, "plain")[0] == Outcome()
    swapped = make_comparison(tmp_path / "out", grid={"high": PLAN["grid"]["high"], "low": PLAN["grid"]["low"]})
    assert go(swapped, "plain", overwrite=True)[0] == Outcome()
    assert go(swapped, "plain")[0] == Outcome()
    # A folder that holds some other run is not taken over.
    stranger = swapped.trial(network("fancy"), "low", 0)
    stranger.checkpoint.parent.mkdir(parents=True)
    stranger.checkpoint.touch()
    with pytest.raises(ConfigError, match="1 runs in"):
        go(swapped, "fancy")


def test_only_some(tmp_path: Path, prepared: Path) -> None:
    settings = {"one-label": {}, "full": {"data": {"init_args": {"label_setting": "full"}}}}
    comparison = make_comparison(tmp_path / "out", settings=settings)
    prepare(prepared, comparison)
    names = [n.id for n in select_networks(comparison, ["full", "fancy", "single_task"])]
    assert names == ["full/single_task/semseg", "full/single_task/depth", "full/fancy"]
    with pytest.raises(ConfigError, match="neither a setting nor a method 'fance'"):
        select_networks(comparison, ["fance"])
    # The choice needs the reference's first grid trial, and that alone.
    assert go(comparison, "full", "fancy")[0] == Outcome()
    assert sorted({line.split()[2] for line in calls(prepared)}) == [
        "full/fancy/high/seed0",
        "full/fancy/high/seed1",
        "full/fancy/high/seed2",
        "full/fancy/low/seed0",
        "full/plain/low/seed0",
    ]


def test_what_is_kept(tmp_path: Path, prepared: Path) -> None:
    for keep, count in (("all", 2 + 2), ("tested", 3), ("none", 0)):
        comparison = make_comparison(tmp_path / keep)
        prepare(prepared, comparison)
        assert go(comparison, "plain", keep=keep)[0] == Outcome()
        assert len(list((tmp_path / keep).rglob("*.ckpt"))) == count
        assert choose(comparison, network("plain")).grid == "low"
        calls(prepared)
        assert go(comparison, "plain", keep=keep)[0] == Outcome()
        assert calls(prepared) == []
    for wrong in ({"jobs": 0}, {"keep": "some"}):
        with pytest.raises(ConfigError, match=r"--jobs 0|--keep some"):
            go(comparison, **wrong)


def test_one_session_at_a_time(tmp_path: Path) -> None:
    with sole_use(tmp_path) as lock:
        assert lock is not None
        with pytest.raises(ConfigError, match="is at work in"), sole_use(tmp_path):
            pass
        # A run that outlives its session holds the lock as well.
        orphan = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    try:
        with pytest.raises(ConfigError, match="is at work in"), sole_use(tmp_path):
            pass
    finally:
        orphan.communicate(b"\n")
    with sole_use(tmp_path):
        pass


def test_jobs_run_side_by_side(tmp_path: Path) -> None:
    def job(name: str, *codes: str) -> Job:
        steps = [(f"step {i}", lambda code=code: [sys.executable, "-S", "-c", code]) for i, code in enumerate(codes)]
        return Job(name, steps, tmp_path / name, lambda what: ended.append(f"{name} {what}"))

    ended: list[str] = []
    lines: list[str] = []
    # Each waits for the other's file.
    meet = (
        "import pathlib as p, time; a, b = p.Path({!r}), p.Path({!r}); a.touch()\nwhile not b.exists(): time.sleep(.01)"
    )
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    jobs = [
        job("one", meet.format(here, there), "print('second')"),
        job("two", meet.format(there, here), "import os; os.kill(os.getpid(), 9)", "print('never')"),
        job("three", "pass"),
    ]
    assert run_jobs(jobs, 2, dict(os.environ), lines.append) == ["two"]
    assert ended.count("two step 0") == 1 and "two step 2" not in ended
    assert {"one step 0", "one step 1", "three step 0"} <= set(ended)
    assert "second" in (tmp_path / "one").read_text()
    assert any(line.startswith("two: step 1 FAILED (signal 9)") for line in lines)
