"""`mtdense evidence` on a tiny plan, with real training runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import CONF

ROOT = Path(__file__).parents[2]

SMALL = """
data: {init_args: {train_images: 12, val_images: 4, test_images: 5}}
trainer: {max_steps: 2, val_check_interval: 2}
"""
PLAN = f"""
about: Tiny networks that learn nothing.
base: [base/evidence.yaml, {CONF / "tiny.yaml"}, small.yaml]
tasks: [depth]
settings:
  one-label: {{data: {{init_args: {{label_setting: one-label}}}}}}
methods:
  single_task: {{single_task: per_task, config: {{model: {{class_path: mtdense.models.SingleTask}}}}}}
  mtl_baseline: {{config: {{model: {{class_path: mtdense.models.MTLBaseline}}}}}}
grid:
  lr1e-3: {{model: {{init_args: {{lr: 1.0e-3}}}}}}
seeds: [0]
selection: {{rule: delta_m, reference: mtl_baseline}}
reference: single_task
pairs: [[mtl_baseline, single_task]]
"""

Main = Callable[..., tuple[int, str]]


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(SMALL)
    path = tmp_path / "tiny_plan.yaml"
    path.write_text(PLAN)
    return path


def test_run_and_show(plan: Path, tmp_path: Path, mtdense_main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code, err = mtdense_main("evidence", "run", plan, "--out", out, "--jobs", "2")
    assert code == 0, err
    records = sorted(path.relative_to(out).as_posix() for path in out.rglob("records/*.json"))
    assert records == [
        f"one-label/{network}/lr1e-3/seed0/records/{kind}.json"
        for network in ("mtl_baseline", "single_task/depth")
        for kind in ("fit", "test")
    ]
    from mtdense.cli.main import main

    assert main(["evidence", "show", str(plan), "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["settings"]["one-label"]
    # Of one task with all labels, both are the same network on the same batches.
    assert found["differences"][0]["values"] == [0.0]
    assert found["differences"][0]["verdict"] == "not decided"
    assert found["table"]["rows"][1]["delta_m"] == [0.0]
    assert found["table"]["rows"][0]["steps"] == [2]
    assert found["missing"] == []
    assert main(["evidence", "show", str(plan), "--out", str(out), "--format", "markdown"]) == 0
    assert "| mtl_baseline – single_task | Δm [points] | +0.00 |" in capsys.readouterr().out
    # All is done, so this takes no time.
    clock = time.perf_counter()
    assert mtdense_main("evidence", "run", plan, "--out", out)[0] == 0
    assert time.perf_counter() - clock < 5
    assert main(["evidence", "plan", str(plan), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [entry["state"] for entry in told["programs"]] == ["trained", "tested"] * 2
    assert told["seconds"]["remaining"] == 0


def test_a_rate_that_diverges_is_a_result(
    plan: Path, tmp_path: Path, mtdense_main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    from mtdense.cli import evidence
    from mtdense.cli.main import DIVERGED, main
    from mtdense.reports.evidence.jobs import DIVERGED_EXIT
    from mtdense.reports.evidence.runner import GRACE_SECONDS

    # Named twice, so that `--help` need not wait for Lightning.
    assert (DIVERGED, evidence.GRACE) == (DIVERGED_EXIT, GRACE_SECONDS)
    content = yaml.safe_load(PLAN)
    content.update(reference="mtl_baseline", pairs=[])
    del content["methods"]["single_task"]
    content["grid"]["lr1e30"] = {"model": {"init_args": {"lr": 1e30}}}
    plan.write_text(yaml.safe_dump(content, sort_keys=False))
    out = tmp_path / "out"
    # An experiment's limit of epochs does not end a run before its steps are done: these have one batch.
    (tmp_path / "small.yaml").write_text(
        SMALL.replace("train_images: 12", "train_images: 4").replace("max_steps: 2", "max_epochs: 1, max_steps: 2")
    )
    assert mtdense_main("evidence", "run", plan, "--out", out, "--jobs", "2")[0] == 0
    capsys.readouterr()
    assert main(["evidence", "show", str(plan), "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["settings"]["one-label"]
    assert found["choices"][0]["grid"] == "lr1e-3" and found["choices"][0]["scores"]["lr1e30"] == "-Infinity"
    assert found["table"]["rows"][0]["steps"] == [2]
    # Real records: what the plan sets apart, and nothing else, differs.
    assert not [note for note in found["notes"] if "Not alike" in note]


def test_a_plan_is_listed(mtdense_main: Main, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from mtdense.cli.main import main

    assert main(["evidence", "plan", "evidence/partial_labels.yaml", "--out", str(tmp_path), "--jobs", "2"]) == 0
    printed = capsys.readouterr().out
    assert "one-label/single_task/depth/lr3e-4/seed0" in printed
    assert "random-label/prototype/(chosen)/seed2" in printed
    assert "72 trainings of 240 optimiser steps and 54 tests; 0 of 126 are done." in printed
    assert not list(tmp_path.iterdir())


def test_errors(plan: Path, mtdense_main: Main, tmp_path: Path) -> None:
    content = yaml.safe_load(plan.read_text())
    out = ("--out", tmp_path / "out")

    def message(**changes: object) -> str:
        plan.write_text(yaml.safe_dump({**content, **changes}, sort_keys=False))
        code, err = mtdense_main("evidence", "run", plan, *out)
        assert code == 1
        return err

    assert "unknown key 'sed'" in message(sed=[1])
    assert "no experiment file 'base/evidenc.yaml'" in message(base=["base/evidenc.yaml"])
    methods = {**content["methods"], "new": {"config": {"model": {"class_path": "mtdense.models.MTLBaselin"}}}}
    error = message(methods=methods)
    assert "the model of new, mtdense.models.MTLBaselin, does not exist" in error and "'MTLBaseline'" in error
    # The method by whose first run the choice is made counts whatever --only says.
    broken = {**content["methods"], "mtl_baseline": {"config": {"model": {"class_path": "mtdense.models.MTLBaselin"}}}}
    plan.write_text(yaml.safe_dump({**content, "methods": broken}, sort_keys=False))
    code, err = mtdense_main("evidence", "run", plan, *out, "--only", "single_task")
    assert code == 1 and "the model of mtl_baseline, mtdense.models.MTLBaselin, does not exist" in err
    methods["new"]["config"]["model"]["class_path"] = "mtdense.nowhere.Model"
    assert "cannot be imported" in message(methods=methods)
    plan.write_text(yaml.safe_dump(content))
    assert (
        "neither a setting nor a method 'two-label'" in mtdense_main("evidence", "run", plan, "--only", "two-label")[1]
    )
    assert mtdense_main("evidence", "plan", plan, "--jobs", "0")[0] == 1
    assert "--grace -1" in mtdense_main("evidence", "run", plan, *out, "--grace", "-1")[1]
    assert mtdense_main("evidence", "show", tmp_path / "none.yaml")[0] == 1
    assert mtdense_main("evidence")[0] == 2
    # Nothing was begun.
    assert not (tmp_path / "out").exists()


def weights(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): json.loads(path.read_text())["weights_sha256"]
        for path in out.rglob("records/fit.json")
    }


@pytest.mark.slow
def test_a_killed_comparison_ends_as_an_undisturbed_one(tmp_path: Path, mtdense_main: Main) -> None:
    content = yaml.safe_load(PLAN)
    content.update(seeds=[0, 1])
    content["grid"]["lr1e-4"] = {"model": {"init_args": {"lr": 1e-4}}}
    (tmp_path / "small.yaml").write_text(
        SMALL.replace("max_steps: 2", "max_steps: 100").replace("interval: 2", "interval: 100") + "save_every: 5\n"
    )
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump(content, sort_keys=False))
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    assert mtdense_main("evidence", "run", plan, "--out", calm, "--jobs", "2")[0] == 0
    assert len(weights(calm)) == 2 * (2 + 1)
    assert len(list(calm.rglob("records/test.json"))) == 2 * 2
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-m", "mtdense", "evidence", "run", str(plan), "--out", str(stormy), "--jobs", "2"]
    # Ctrl-C when the first run has saved; then SIGTERM when the third has; then to the end.
    for count, number in ((1, signal.SIGINT), (3, signal.SIGTERM)):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
        while len(list(stormy.rglob("last.ckpt"))) < count and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        printed = process.communicate(timeout=120)[0]
        assert process.returncode == 130, printed
        assert "the same command goes on" in printed
    assert mtdense_main("evidence", "run", plan, "--out", stormy, "--jobs", "2")[0] == 0
    logs = [path.read_text() for path in stormy.rglob("trial.log")]
    assert any("fit --ckpt_path" in log for log in logs)
    assert weights(stormy) == weights(calm)
