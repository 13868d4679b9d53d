"""How a comparison is carried out, with a program in mtdense's place that copies prepared records."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtdense.core.errors import ConfigError
from mtdense.reports import RunRecord
from mtdense.reports.evidence import (
    Comparison,
    Outcome,
    Progress,
    State,
    Trial,
    choose,
    execute,
    render_summary,
    schedule,
    select_networks,
    summarise,
    summary_dict,
)
from mtdense.reports.evidence.runner import cores
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


def test_a_grid_value_that_diverges_has_lost(tmp_path: Path, prepared: Path) -> None:
    comparison = make_comparison(tmp_path / "out")
    prepare(prepared, comparison)
    (prepared / "one-label" / "fancy" / "high" / "seed0" / "diverge").touch()
    outcome, told = go(comparison)
    assert outcome == Outcome()
    assert any(
        line.startswith("one-label/fancy/high/seed0: fit, ") and line.endswith("diverged") for line in told.lines
    )
    assert "fit one-label/fancy/high/seed0" in told.ended
    choice = choose(comparison, network("fancy"))
    assert (choice.grid, choice.scores) == ("low", {"low": pytest.approx(2.5), "high": -math.inf})
    lost = comparison.trial(network("fancy"), "high", 0)
    assert lost.state() is State.DIVERGED and not lost.checkpoint.exists()
    assert "not finite in step 7" in (lost.diverged() or {})["message"]
    [found] = summarise(comparison)
    assert not found.missing and not found.diverged and found.order == "confirmed"
    assert "| fancy | low: +2.5, high: diverged | low |" in render_summary(comparison.plan, [found], "markdown")
    entries = {(e.id, e.what): e for e in schedule(comparison).entries}
    assert entries[lost.id, "fit"].finished and entries[lost.id, "fit"].state == "diverged"
    # It would diverge again, so it is not tried again; in another configuration it is.
    calls(prepared)
    assert go(comparison)[0] == Outcome()
    assert calls(prepared) == []
    (prepared / "one-label" / "fancy" / "high" / "seed0" / "diverge").unlink()
    grid = {"low": PLAN["grid"]["low"], "high": {"model": {"init_args": {"lr": 0.3}}}}
    changed = make_comparison(tmp_path / "out", grid=grid)
    with pytest.raises(ConfigError, match=r"first one-label/.*/high/seed0 \(different: model.init_args.lr\)"):
        go(changed, "fancy")
    assert go(changed, "fancy", overwrite=True)[0] == Outcome()
    assert choose(changed, network("fancy")).grid == "high"


def test_a_chosen_run_that_diverges_leaves_its_pairs_undecided(tmp_path: Path, prepared: Path) -> None:
    comparison = make_comparison(tmp_path / "out")
    prepare(prepared, comparison)
    (prepared / "one-label" / "fancy" / "high" / "seed1" / "diverge").touch()
    (prepared / "one-label" / "single_task" / "depth" / "low" / "seed2" / "diverge").touch()
    for _ in range(2):
        outcome, _ = go(comparison)
        assert not outcome.failed and not outcome.blocked
        assert outcome.diverged == ["one-label/fancy/high/seed1", "one-label/single_task/depth/low/seed2"]
    [found] = summarise(comparison)
    assert sorted(found.diverged) == sorted(outcome.diverged) and not found.missing
    assert found.order == "not decided"
    assert {each.verdict for each in found.differences if "fancy" in (each.a, each.b)} == {"not decided"}
    text = render_summary(comparison.plan, [found], "terminal")
    assert "nothing is decided of: one-label/single_task/depth/low/seed2; one-label/fancy/high/seed1." in text
    assert summary_dict(comparison.plan, [found])["settings"]["one-label"]["diverged"] == found.diverged
    assert schedule(comparison).seconds(1) == 0


def test_a_method_that_diverges_with_every_value(tmp_path: Path, prepared: Path) -> None:
    comparison = make_comparison(tmp_path / "out")
    prepare(prepared, comparison)
    for grid in ("low", "high"):
        (prepared / "one-label" / "fancy" / grid / "seed0" / "diverge").touch()
    assert go(comparison)[0] == Outcome(diverged=["one-label/fancy"])
    choice = choose(comparison, network("fancy"))
    assert choice.diverged and choice.grid is None
    [found] = summarise(comparison)
    assert found.diverged == ["one-label/fancy, all seeds"] and not found.missing
    assert found.order == "not decided"
    assert schedule(comparison).seconds(1) == 0
    # What all are measured by is another matter: without it nothing can be chosen.
    comparison = make_comparison(tmp_path / "other")
    (prepared / "one-label" / "plain" / "low" / "seed0" / "diverge").touch()
    outcome, _ = go(comparison, "plain")
    assert list(outcome.blocked) == ["one-label/plain"]
    assert "plain/low/seed0, by which all are measured, diverged" in outcome.blocked["one-label/plain"]


def test_a_training_that_something_else_ended(tmp_path: Path, prepared: Path) -> None:
    comparison = make_comparison(tmp_path / "out")
    prepare(prepared, comparison)
    path = prepared / "one-label" / "plain" / "high" / "seed0" / "fit.json"
    whole = RunRecord.read(path)
    replace(whole, steps=120).write(path)
    outcome, told = go(comparison, "plain")
    assert outcome.failed == ["one-label/plain/high/seed0"]
    assert any("it was a training of 120 steps with seed 0, not of 300" in line for line in told.lines)
    assert comparison.trial(network("plain"), "high", 0).state() is State.OTHER
    with pytest.raises(ConfigError, match=r"high/seed0 \(a training of 120 steps with seed 0, not of 300 with 0\)"):
        go(comparison, "plain")
    assert any("high/seed0" in note for note in summarise(comparison)[0].notes)
    whole.write(path)
    calls(prepared)
    assert go(comparison, "plain", overwrite=True)[0] == Outcome()
    assert len(calls(prepared)) == 1 + 2 + 3


def test_one_run_that_cannot_be_started_or_judged_leaves_the_others(
    tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mtdense.reports.evidence.jobs as module

    comparison = make_comparison(tmp_path / "out")
    prepare(prepared, comparison)
    write = module.write_atomic

    def full_disk(path: Path, text: str) -> None:
        if "fancy/low" in path.as_posix():
            raise OSError(28, "No space left on device")
        write(path, text)

    monkeypatch.setattr(module, "write_atomic", full_disk)
    (prepared / "one-label" / "plain" / "high" / "seed0" / "fit.json").write_text("{")
    outcome, told = go(comparison, "plain", "fancy")
    assert sorted(outcome.failed) == ["one-label/fancy/low/seed0", "one-label/plain/high/seed0"]
    assert any("fancy/low/seed0: fit could not be started: [Errno 28] No space" in line for line in told.lines)
    assert any("plain/high/seed0: fit has ended, but: " in line and "damaged" in line for line in told.lines)
    assert list(outcome.blocked) == ["one-label/plain", "one-label/fancy"]
    assert "damaged" in outcome.blocked["one-label/plain"]
    assert len(calls(prepared)) == 3


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
    with pytest.raises(ConfigError, match=r"3 runs in .*out with another configuration .*plan.yaml") as caught:
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
    with pytest.raises(ConfigError, match="1 run in"):
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
    for wrong in ({"jobs": 0}, {"keep": "some"}, {"grace": -1.0}, {"grace": math.nan}):
        with pytest.raises(ConfigError, match=r"--jobs 0|--keep some|--grace -1.0|--grace nan"):
            go(comparison, **wrong)
