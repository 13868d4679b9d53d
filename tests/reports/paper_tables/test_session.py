"""How runs of tables are carried out, with a program in mtdense's place that copies prepared records."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtdense.core.errors import ConfigError, DataError
from mtdense.reports import RunRecord
from mtdense.reports.evidence import Progress, sole_use
from mtdense.reports.evidence.jobs import begin_run
from mtdense.reports.paper_tables import runs as runs_module
from mtdense.reports.paper_tables import session
from mtdense.reports.paper_tables.definition import read_table
from mtdense.reports.paper_tables.runs import TableRun
from mtdense.reports.paper_tables.session import TableOutcome, execute_runs, finished, prepare_runs, stale_because
from mtdense.reports.paper_tables.slurm import slurm_script
from mtdense.reports.paper_tables.verify import draw_run
from mtdense.reports.training_run import State, TrainingRun
from tests.reports.evidence_helpers import prepared, quick_writes
from tests.reports.paper_tables.table_helpers import fill, record_of, runs_of, write_table

__all__ = ["prepared", "quick_writes"]  # fixtures

pytestmark = pytest.mark.usefixtures("quick_writes")


class Told(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.stages: list[tuple[str, int]] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def planned(self, what: str, trials: Sequence[TrainingRun]) -> None:
        self.stages.append((what, len(trials)))


def prepare(folder: Path, runs: list[TableRun]) -> None:
    """What the program in mtdense's place is to leave of each run."""
    for run in runs:
        (folder / run.name).mkdir(parents=True, exist_ok=True)
        for kind in ("fit", "test"):
            record_of(run, kind).write(folder / run.name / f"{kind}.json")


def calls(folder: Path) -> list[str]:
    """The programs that were started since the last question, without their threads."""
    path = folder / "calls.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return sorted(" ".join(line.split()[:3]) for line in lines)


def go(runs: list[TableRun]) -> tuple[TableOutcome, Told]:
    told = Told()
    return execute_runs(runs, 2, os.environ, told, patience=0), told


def test_a_second_call_trains_nothing(tmp_path: Path, prepared: Path) -> None:
    runs = runs_of(write_table(tmp_path), tmp_path / "out", seeds=(0,))
    prepare(prepared, runs)
    outcome, _ = go(runs)
    assert outcome == TableOutcome(done=[run.name for run in runs])
    assert calls(prepared) == sorted(
        f"{what} {option} {run.name}" for run in runs for what, option in (("fit", "--config"), ("test", "--ckpt_path"))
    )
    assert go(runs)[0] == TableOutcome() and calls(prepared) == []
    # Of a trained run only the test is missing; a checkpoint that is gone is trained again.
    (runs[0].folder / "records" / "test.json").unlink()
    assert go(runs)[0].done == [runs[0].name]
    assert calls(prepared) == [f"test --ckpt_path {runs[0].name}"]
    (runs[0].folder / "records" / "test.json").unlink()
    runs[0].checkpoint.unlink()
    assert go(runs)[0].done == [runs[0].name]
    assert calls(prepared) == [f"fit --config {runs[0].name}", f"test --ckpt_path {runs[0].name}"]


def test_stale_runs_are_trained_again_and_begun_ones_go_on(tmp_path: Path, prepared: Path) -> None:
    runs = runs_of(write_table(tmp_path), tmp_path / "out", "mtl_baseline")
    for run in runs:
        fill(run)
    model = {**runs[0].config["model"], "init_args": {**runs[0].config["model"]["init_args"], "lr": 7.0}}
    changed = replace(runs[0], config={**runs[0].config, "model": model})
    (runs[1].folder / "records" / "fit.json").unlink()
    assert (changed.state(), runs[1].state()) == (State.OTHER, State.PARTIAL)
    todo = [changed, runs[1]]
    prepare(prepared, todo)
    assert go(todo)[0].done == [run.name for run in todo]
    assert f"fit --config {changed.name}" in (made := calls(prepared)) and f"fit --ckpt_path {runs[1].name}" in made
    assert go(todo)[0] == TableOutcome()


def test_a_stale_run_of_the_papers_budget_is_kept(tmp_path: Path, prepared: Path) -> None:
    (run,) = runs_of(write_table(tmp_path), tmp_path / "out", "plain", budget="full@3")
    fill(run)
    (run.folder / "ending.json").write_text("{}")
    changed = replace(run, config={**run.config, "variant": "other"})
    prepare(prepared, [changed])
    assert go([changed])[0].done == [run.name]
    assert (run.folder / "stale-1" / "ending.json").is_file() and not (run.folder / "ending.json").exists()
    kept = RunRecord.read(run.folder / "stale-1" / "records" / "test.json")
    assert "variant" not in kept.config
    assert (run.folder / "stale-1" / "checkpoints" / "last.ckpt").is_file()


def test_a_stale_run_on_genuine_data_is_kept(tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one from before replicas and genuine data had folders of their own."""
    monkeypatch.setattr(session, "problem_of", lambda section: None)
    monkeypatch.setattr(runs_module, "data_version", lambda section: "replica-1")
    (run,) = runs_of(read_table("prototype-2"), tmp_path / "out", "one_label/mtpsl", budget="short")
    (prepared / run.name).mkdir(parents=True)
    (prepared / run.name / "diverge").touch()  # its test is not asked for
    data = {**run.config["data"], "init_args": {**run.config["data"]["init_args"], "root": "/data/nyud_mtan"}}
    for changed in (run, replace(run, config={**run.config, "data": data})):
        begin_run(changed)
        fill(changed)
        assert stale_because(run) == "data of version procedural-1-64x80-seed0, which are another one now"
        assert go([run])[0].diverged == [run.name] and run.state() is State.DIVERGED
        # What a replica gave may go.
        assert (run.folder / "stale-1" / "records" / "test.json").is_file() == (changed is not run)
    assert not (run.folder / "records").exists()
    assert "/data/nyud_mtan" in (run.folder / "stale-1" / "trial.yaml").read_text()


def test_failures_divergence_and_other_processes(tmp_path: Path, prepared: Path) -> None:
    runs = runs_of(write_table(tmp_path), tmp_path / "out", "all")
    prepare(prepared, runs)
    (prepared / runs[0].name / "fail").touch()
    (prepared / runs[1].name / "diverge").touch()
    with sole_use(runs[2].folder):
        outcome, told = go(runs)
    assert outcome.failed == [runs[0].name] and any("made to fail" in line for line in told.lines)
    assert outcome.diverged == [runs[1].name] and runs[1].state() is State.DIVERGED
    assert outcome.busy == [runs[2].name] and outcome.done == [runs[3].name]
    assert told.stages == [("fit", 4), ("test", 4)]  # though the busy one was asked for twice
    (prepared / runs[0].name / "fail").unlink()
    calls(prepared)
    outcome, _ = go(runs)
    assert (outcome.failed, outcome.diverged) == ([], [runs[1].name])
    assert outcome.done == [runs[0].name, runs[2].name] and not any(runs[1].name in line for line in calls(prepared))


def test_two_sessions_share_the_work(tmp_path: Path, prepared: Path) -> None:
    """A run is locked from its own beginning on, and free again as soon as it is done."""
    runs = runs_of(write_table(tmp_path), tmp_path / "out", "all", seeds=(0, 1))
    prepare(prepared, runs)
    others: list[TableOutcome] = []

    class Second(Progress):
        """Begins another session, in this process, when the first run of the first one is done."""

        def done(self, what: str, trial: Any) -> None:
            if what == "test" and not others:
                others.append(TableOutcome())
                others[0] = execute_runs(runs, 1, os.environ, Progress(), patience=0)

    first = execute_runs(runs, 1, os.environ, Second(), patience=0)
    assert len(others[0].done) == len(runs) - 1 and others[0].failed == []
    assert first == TableOutcome(done=[run.name for run in runs if run.name not in others[0].done])
    assert len(calls(prepared)) == 2 * len(runs) and all(finished(run) for run in runs)


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path, prepared: Path) -> None:
    (run,) = runs_of(write_table(tmp_path), tmp_path / "out", "plain")
    prepare(prepared, [run])
    run.folder.mkdir(parents=True)
    program = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'ab'); fcntl.flock(f, 2); print(1, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-S", "-c", program, str(run.folder / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        assert go([run])[0].busy == [run.name]
        # It is waited for where nothing else is left to do.
        threading.Timer(0.5, process.kill).start()
        outcome = execute_runs([run], 1, os.environ, Progress(), patience=60)
    assert outcome.done == [run.name] and (run.folder / "lock").is_file()


def test_what_is_wrong_costs_nothing(tmp_path: Path, prepared: Path) -> None:
    (run,) = runs_of(write_table(tmp_path), tmp_path / "out", "plain")
    with pytest.raises(ConfigError, match="--jobs 0"):
        execute_runs([run], 0, os.environ, Progress())
    fill(run)
    path = run.folder / "records" / "test.json"
    path.write_text(path.read_text().replace('"value": 0.5', '"value": 0.9'))
    with pytest.raises(DataError, match="was changed after it was written"):
        go([run])
    assert calls(prepared) == []


def test_missing_data_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MTDENSE_DATA", raising=False)
    (run,) = runs_of(read_table("prototype-2"), tmp_path / "out", "one_label/mtpsl", budget="full")
    with pytest.raises(ConfigError, match=r"nyud_mtan: nobody says where it is[\s\S]*--root"):
        go([run])
    assert not (tmp_path / "out").exists()


def test_runs_are_prepared_for_another_program(tmp_path: Path) -> None:
    runs = runs_of(write_table(tmp_path), tmp_path / "out", "plain")
    prepare_runs(runs)
    assert (runs[0].folder / "trial.yaml").is_file() and runs[0].state() is State.ABSENT
    record_of(runs[0], "fit").write(runs[0].folder / "records" / "fit.json")  # torchrun's
    assert runs[0].state() is State.DONE
    with pytest.raises(ConfigError, match="holds a run that is trained"):
        prepare_runs(runs)


def test_the_draw_is_a_function_of_its_seed(tmp_path: Path) -> None:
    runs = runs_of(write_table(tmp_path), tmp_path / "out", seeds=(0, 1, 2, 3))
    with pytest.raises(DataError, match="no tested run"):
        draw_run(runs, 0)
    for run in runs[:6]:
        fill(run)
    drawn = [draw_run(runs, seed).name for seed in range(20)]
    assert drawn == [draw_run(runs, seed).name for seed in range(20)]
    assert len(set(drawn)) > 3 and set(drawn) <= {run.name for run in runs[:6]}


def test_an_array_has_an_element_per_training(tmp_path: Path) -> None:
    runs = runs_of(write_table(tmp_path), tmp_path / "out d", seeds=(0, 1))
    options = ["--budget", "smoke", "--out", str(tmp_path / "out d"), "--rows", "all"]
    text = slurm_script("rooms-1", runs, options, tmp_path / "out d", 3.2, "mtdense")
    script = tmp_path / "array.sh"
    script.write_text(text)
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert f"#SBATCH --array=0-{len(runs) - 1}\n" in text and "--time=5:00:00" in text
    # Every line that a user may take the comment sign from is a command.
    torchrun = [line[4:] for line in text.splitlines() if line.startswith("#   ")]
    assert any("torchrun" in line for line in torchrun)
    subprocess.run(["bash", "-n"], input="\n".join(torchrun), text=True, check=True)
    fake = tmp_path / "bin" / "mtdense"
    fake.parent.mkdir()
    fake.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    assert "--output" not in text  # Slurm would want its folder to be there
    fake.chmod(0o755)
    environment: dict[str, Any] = {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}"}
    for i in (0, len(runs) - 1):
        subprocess.run(
            ["bash", str(script)],
            env={**environment, "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": str(i)},
            check=True,
        )
        log = tmp_path / "out d" / "slurm" / f"7_{i}.log"
        assert log.read_text().splitlines() == ["table", "run", "rooms-1", *options, "--run", runs[i].name]
    assert subprocess.run(["bash", str(script)], env=environment, capture_output=True).returncode != 0
    with pytest.raises(ConfigError, match="nothing left to train"):
        slurm_script("rooms-1", [], options, tmp_path, None, "mtdense")
