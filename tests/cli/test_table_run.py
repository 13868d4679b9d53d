"""`mtdense table plan | run | verify`, with real training runs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mtdense.cli.run_folder import sole_training
from mtdense.core.errors import ConfigError
from mtdense.reports import RunRecord
from mtdense.reports.evidence.jobs import begin_run
from mtdense.reports.evidence.runner import LOCKED, cores, sole_use
from mtdense.reports.paper_tables import verify
from mtdense.reports.paper_tables.definition import table_ids
from mtdense.reports.paper_tables.runs import TableRun
from mtdense.reports.paper_tables.session import finished
from tests.reports.paper_tables.table_helpers import runs_of, write_table

ROOT = Path(__file__).parents[2]

Main = Callable[..., tuple[int, str]]


def printed(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str]:
    from mtdense.cli.main import main

    capsys.readouterr()
    code = main([str(a) for a in arguments])
    return code, capsys.readouterr().out


def test_every_table_is_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MTDENSE_DATA", raising=False)
    out = ("--out", tmp_path / "out")
    code, text = printed(capsys, "table", "plan", "all", "--budget", "smoke", *out, "--format", "json")
    told = json.loads(text)
    assert code == 0 and {run["state"] for run in told["runs"]} == {"to do"}
    rows = {row.split("/")[0] for run in told["runs"] for row in run["rows"]}
    assert set(table_ids()) - rows <= {"tif-2"}  # its rows are printed without scores
    assert not any(each["missing"] for each in told["data"]) and told["hours"]["unknown"] == len(told["runs"])
    code, text = printed(capsys, "table", "plan", "prototype-2", "--seeds", "2", "--rows", "single_task", *out)
    assert code == 0 and "full/nyud_mtan/one-label/single_task-resnet18/depth/seed1" in text
    assert "Data of nyud_mtan: no folder; nobody says where it is" in text and "--root nyud_mtan=DIR" in text
    assert "12 trainings with one test each; 0 of 12 are done." in text
    code, text = printed(capsys, "table", "plan", "prototype-2", *out, "--format", "slurm")
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0 and "array=0-17" in text
    assert not (tmp_path / "out").exists()


def test_hours_are_estimated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_table(tmp_path).source
    options = ("--rows", "plain", "--budget", "smoke", "--out", tmp_path, "--throughput", "0.001")
    code, text = printed(capsys, "table", "plan", path, *options, "--format", "json")
    (run,) = json.loads(text)["runs"]
    assert code == 0 and run["hours_are"] == "estimate" and run["hours"] > 0
    # 2 x 3 x 4 steps x 4 images at 1e9 operations per second.
    assert 1e4 < run["hours"] * 3600 * 1e9 / (2 * 3 * 4 * 4) < 1e8


def test_wrong_names(tmp_path: Path, mtdense_main: Main) -> None:
    path = write_table(tmp_path).source
    out = ("--out", tmp_path / "out", "--budget", "smoke")
    for arguments, told in (
        (("plan", "prototype-22"), "there is no table 'prototype-22'"),
        (("plan", path, "--budget", "long"), "there is no budget 'long'"),
        (("run", path, *out, "--run", "smoke/x"), "there is no run 'smoke/x'"),
        (("run", path, *out, "--rows", "plane"), "no row 'plane'"),
        (("run", path, *out, "--seeds", "0"), "--seeds 0"),
        (("run", path, *out, "--jobs", "0"), "--jobs 0"),
        (("run", path, *out, "--root", "x=y"), "--root x=y"),
        (("run", "all", *out, "--rows", "mtpsl"), "of all tables"),
        (("plan", path, *out, "--throughput", "0"), "--throughput 0"),
        (("verify", path, *out), "no tested run to verify"),
        (("verify", path, *out, "--tolerance", "-1"), "--tolerance -1"),
    ):
        code, err = mtdense_main("table", *arguments)
        assert code == 1 and told in err, err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def trained(tmp_path: Path, mtdense_main: Main, monkeypatch: pytest.MonkeyPatch) -> TableRun:
    """A run that is trained and tested in this process; so are second tests of it."""
    from mtdense.cli.main import main

    (run,) = runs_of(write_table(tmp_path), tmp_path / "out", "plain", budget="smoke")
    config = begin_run(run)
    for command in (
        ("fit", "--config", config, "--run_dir", run.folder),
        ("test", "--ckpt_path", run.checkpoint, "--config", config),
    ):
        code, err = mtdense_main(*command)
        assert code == 0, err

    def in_process(command: Sequence[Any], **options: Any) -> SimpleNamespace:
        return SimpleNamespace(returncode=main([str(word) for word in command[3:]]))

    monkeypatch.setattr(verify, "subprocess", SimpleNamespace(run=in_process, STDOUT=None, DEVNULL=None))
    return run


def test_verify_agrees_and_names_what_differs(
    trained: TableRun, tmp_path: Path, mtdense_main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("table", "verify", tmp_path / "rooms-1.yaml", "--budget", "smoke", "--out", tmp_path / "out")
    arguments = (*arguments, "--rows", "plain")
    code, text = printed(capsys, *arguments, "--draw", "3")
    assert code == 0 and f"Drawn with --draw 3: {trained.name}" in text
    assert "metrics of" in text and "for rooms-1/one_label/plain." in text
    # The page has a picture of test images for each task of the row.
    page = tmp_path / "page.html"
    shown = ("table", "show", *arguments[2:], "--no-costs", "--format", "html", "--sheet", "--to", page)
    assert printed(capsys, *shown)[0] == 0
    alt = re.findall(r'src="data:image/jpeg;base64,[^"]{1000,}"[^>]*alt="([^"]*)"', page.read_text())
    assert [text.split(" of ")[0] for text in alt] == ["semseg", "depth"]
    assert all(text.endswith("of 3 test images: image, label, MTL") for text in alt)
    # Another figure, with the checksums of a whole record.
    path = trained.folder / "records" / "test.json"
    record = RunRecord.read(path)
    figures = [type(m)(**{**vars(m), "value": m.value + 0.1 * (m.task == "depth")}) for m in record.metrics]
    RunRecord(**{**vars(record), "metrics": figures}).write(path)
    code, text = printed(capsys, *arguments)
    assert code == 1 and "DIFFERS: depth RMSE: " in text and "DIFFERS: semseg" not in text
    record.write(path)
    # Other weights, and a record that tells of them.
    checkpoint = torch.load(trained.checkpoint, weights_only=True)
    name, weight = next((n, w) for n, w in checkpoint["state_dict"].items() if w.is_floating_point() and w.ndim > 1)
    checkpoint["state_dict"][name] = weight + 0.5
    torch.save(checkpoint, trained.checkpoint)
    code, text = printed(capsys, *arguments)
    assert code == 1 and "DIFFERS: the checkpoint " in text and "DIFFERS: weights: " in text
    text = path.read_text()
    path.write_text(text.replace(record.weights_sha256[:8], "00000000") if record.weights_sha256 else text)
    code, err = mtdense_main(*arguments)
    assert code == 1 and "was changed after it was written" in err


def test_other_commands_in_a_runs_folder(
    trained: TableRun, mtdense_main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial and a test of a part overwrite nothing; a training by torchrun is locked without being handed a lock."""
    fit = ("fit", "--config", trained.folder / "trial.yaml", "--run_dir", trained.folder)
    kept = {
        name: (trained.folder / name).read_bytes() for name in ("records/fit.json", "records/test.json", "config.yaml")
    }
    test = ("test", "--ckpt_path", trained.checkpoint, "--config", trained.folder / "trial.yaml")
    for command in ((*fit, "--trainer.fast_dev_run", "true"), (*test, "--trainer.limit_test_batches", "2")):
        code, err = mtdense_main(*command)
        assert code == 0, err
    assert kept == {name: (trained.folder / name).read_bytes() for name in kept}
    assert {"fit-partial.json", "test-partial.json"} <= {p.name for p in (trained.folder / "records").iterdir()}
    assert finished(trained)
    assert (trained.folder / "lock").is_file()
    with sole_use(trained.folder):
        code, err = mtdense_main(*fit)
        assert code == 1 and "is at work in" in err
        monkeypatch.setenv(LOCKED, "1")  # the program's own parent is
        with sole_training(trained.folder):
            pass
    monkeypatch.delenv(LOCKED)
    with sole_training(trained.folder), pytest.raises(ConfigError, match="is at work"), sole_use(trained.folder):
        pass
    (trained.folder / "trial.json").unlink()
    with sole_use(trained.folder), sole_training(trained.folder):  # a run that nobody has planned
        pass


# ---- as a user starts them -------------------------------------------------------------------------------------------
def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), **more}


def records(out: Path, kind: str) -> dict[str, str]:
    """{run: checksum of its weights} of the records of a kind.

    Not in the folder of the data: it is renamed when they are written, and `rglob` fails in a folder that goes away.
    """
    places = [place for place in (out.iterdir() if out.is_dir() else ()) if place.name != "data"]
    return {
        path.parents[1].relative_to(out).as_posix(): json.loads(path.read_text())["weights_sha256"]
        for place in places
        for path in place.rglob(f"records/{kind}.json")
    }


@pytest.mark.slow
def test_a_killed_session_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    """SIGKILL to the session and all it has started, in the middle; then to the end; a third call trains nothing."""
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"

    def command(out: Path) -> list[str]:
        options = ["--budget", "smoke@40", "--jobs", "2", "--out", str(out), "--rows", "one_label/single_task", "mtpsl"]
        return [sys.executable, "-m", "mtdense", "table", "run", "prototype-2", *options]

    done = subprocess.run(command(calm), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 runs done now, 0 done before." in done.stdout
    process = subprocess.Popen(command(stormy), env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)
    while not records(stormy, "fit") and process.poll() is None:
        time.sleep(0.02)
    kill_all(process)
    before = {path: path.stat().st_mtime_ns for path in stormy.rglob("records/fit.json")}
    assert 1 <= len(before) < 5
    done = subprocess.run(command(stormy), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert records(stormy, "fit") == records(calm, "fit") == records(calm, "test") == records(stormy, "test")
    # What was done is not done again.
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    every = {path: path.stat().st_mtime_ns for path in stormy.rglob("*.json")}
    done = subprocess.run(command(stormy), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0 and "0 runs done now, 5 done before." in done.stdout
    assert {path: path.stat().st_mtime_ns for path in stormy.rglob("*.json")} == every


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a program and all it has started; held first, for what one of them starts meanwhile would live on."""
    held: set[int] = set()
    while new := {process.pid, *map(int, descendants(process.pid))} - held:
        for number in new:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGSTOP)
        held |= new
    for number in held:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.wait()


def descendants(parent: int) -> list[str]:
    """Numbers of all processes below one."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [line.split() for line in listed.splitlines()]
    found, waiting = [], [str(parent)]
    while waiting:
        above = waiting.pop()
        below = [pid for pid, ppid in pairs if ppid == above]
        found += below
        waiting += below
    return found


@pytest.mark.slow
def test_an_element_of_an_array_trains_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under bash, as Slurm starts it; from cold and from a warm process the same network comes."""
    out = tmp_path / "out"
    options = ("--budget", "smoke", "--out", out, "--rows", "one_label/prototype", "one_label/mtl_baseline")
    code, text = printed(capsys, "table", "plan", "prototype-2", *options, "--format", "slurm")
    assert code == 0
    script = tmp_path / "array.sh"
    script.write_text(text)
    program = tmp_path / "bin" / "mtdense"
    program.parent.mkdir()
    program.write_text(f'#!/bin/bash\nexec {sys.executable} -m mtdense "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(script)], env=environment(PATH=path, SLURM_ARRAY_TASK_ID="1"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (name,) = records(out, "test")
    assert name == "smoke/nyud_mtan/one-label/prototype-resnet18/seed0"
    run = out / name
    cold = tmp_path / "cold"
    fit = [sys.executable, "-m", "mtdense", "fit", "--config", str(run / "trial.yaml"), "--run_dir", str(cold)]
    subprocess.run(fit, env=environment(OMP_NUM_THREADS=str(cores())), capture_output=True, check=True)
    assert records(tmp_path, "fit")["cold"] == records(out, "fit")[name]
