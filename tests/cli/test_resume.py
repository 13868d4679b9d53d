"""A run killed anywhere goes on from its last checkpoint as if nothing had happened."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from mtdense.training.stopping import STOPPED
from tests.conftest import CONF

KILLED = Path(__file__).with_name("killed.py")
ROOT = Path(__file__).parents[2]
CONFIG = ("--config", "procedural/one-label/mtl_baseline-resnet18.yaml", "--config", str(CONF / "tiny.yaml"))
EPOCH = 13
# That many batches per epoch, so that epochs end between saves, at saves and at validations.
LONG = ("--trainer.max_steps", "60", "--trainer.val_check_interval", "15", "--save_every", "6")
DATA = ("--data.train_images", "52", "--data.val_images", "9", "--data.num_workers", "2")

# Lightning asks for the number of steps then, and so builds the loader before anything is restored.
EPOCHS = ("--trainer.max_steps", "-1", "--trainer.max_epochs", "4", "--trainer.check_val_every_n_epoch", "1")
EPOCHS = (*EPOCHS, "--trainer.val_check_interval", "1.0")
ANEW = ("--trainer.reload_dataloaders_every_n_epochs",)

# 20 kills in five runs: 6 in saves, 5 in validations (those of the sanity check among them), 9 in steps. `save:2` is of
# best.ckpt, or of the last.ckpt after it: the next session then goes on from the former.
KILLS = [
    ["save:1:half", "batch:7:start", "save:2:before", "batch:44:end"],
    ["batch:5:end", "validation:4", "save:2:written", "batch:33:start"],
    ["validation:2", "save:1:after", "batch:20:backward", "save:2:half"],
    ["batch:12:end", "save:1:written", "validation:1", "batch:39:backward"],
    ["batch:13:start", "validation:2", "validation:3", "batch:59:end"],
]

ENDS = {"ctrl-c": 1, "sigterm": STOPPED, "sigusr1": STOPPED}
"""Exit codes of runs that were asked to stop."""


def run_killed(folder: Path, moments: list[list[str]], *options: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What an undisturbed run ends with, and what runs end with that are killed at these moments."""
    runs = [{"folder": str(folder / f"{i:02d}"), "moments": list(m)} for i, m in enumerate([[], *moments])]
    plan = {"arguments": ["fit", *CONFIG, *LONG, *DATA, *options], "runs": runs}
    (folder / "plan.json").write_text(json.dumps(plan))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    subprocess.run([sys.executable, str(KILLED), str(folder / "plan.json")], check=True, env=environment, cwd=ROOT)
    for run in runs:
        place = Path(run["folder"])
        codes = json.loads((place / "codes.json").read_text())
        logged = (place / "moments.txt").read_text().split() if run["moments"] else []
        asked = [moment.removesuffix(":group").split(":")[-1] for moment in run["moments"]]
        ends = [ENDS.get(how, -signal.SIGKILL) for how in asked]
        assert codes == [*ends, 0], (place / "output.txt").read_text()
        assert logged == run["moments"]
    first, *others = [outcome(Path(run["folder"]) / "run") for run in runs]
    return first, others


def outcome(run: Path) -> dict[str, Any]:
    """Everything that a run ends with and that must not depend on its interruptions."""
    record = json.loads((run / "records" / "fit.json").read_text())
    kept = {key: record[key] for key in ("metrics", "logged", "steps", "weights_sha256", "data")}
    for name in ("last", "best"):
        checkpoint = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        parts = {key: checkpoint[key] for key in ("state_dict", "optimizer_states", "lr_schedulers")}
        kept[name] = {**parts, "epoch": checkpoint["epoch"], "step": checkpoint["global_step"]}
        kept[name]["random"] = checkpoint["mtdense_random_state"]
    kept["validations"] = validations(run)
    return kept


def validations(run: Path) -> dict[str, dict[str, str]]:
    """{step: metrics} of all validations, those of later sessions over those of earlier ones."""
    found: dict[str, dict[str, str]] = {}
    folders = sorted((run / "logs").iterdir(), key=lambda folder: folder.stat().st_ctime_ns)
    for path in (folder / "metrics.csv" for folder in folders):
        rows = csv.DictReader(path.open()) if path.exists() else []
        for row in rows:
            if row.get("val/loss"):
                found[row["step"]] = {key: value for key, value in row.items() if key.startswith("val/")}
    return found


def assert_same(one: Any, other: Any, path: str = "") -> None:
    """Equality to the last bit, naming where it ends."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{path}/{i}")
    else:
        assert one == other or (one != one and other != other), f"{path}: {one} and {other}"


def test_killed_runs_end_alike(tmp_path: Path) -> None:
    moments = [["save:2:half", "batch:20:backward"], ["validation:7", "save:3:written"], ["batch:25:end"]]
    first, others = run_killed(tmp_path, moments)
    for other in others:
        assert_same(first, other)


def test_signals_to_all_processes_spare_the_workers_and_the_run_goes_on(tmp_path: Path) -> None:
    # In a validation, in the step before one, and in the middle of an epoch.
    asked = ["validation:4:ctrl-c", "batch:29:start:sigusr1:group", "batch:46:start:sigterm:group"]
    first, others = run_killed(tmp_path, [asked])
    assert_same(first, others[0])
    output = (tmp_path / "01" / "output.txt").read_text()
    assert output.count("Stopping after this step or validation") == 3
    assert "Traceback" not in output


@pytest.mark.slow
def test_sigterm_and_sigusr1_save_and_the_same_command_goes_on(tmp_path: Path) -> None:
    first, others = run_killed(tmp_path, [["batch:8:start:sigterm", "validation:4:sigusr1", "batch:46:start:sigterm"]])
    assert_same(first, others[0])
    output = (tmp_path / "01" / "output.txt").read_text()
    assert output.count("SIGTERM: Stopping after this step or validation, and saving") == 2
    assert "Traceback" not in output


def test_a_run_bounded_by_epochs_goes_on(tmp_path: Path) -> None:
    first, others = run_killed(tmp_path, [["batch:34:backward"]], *EPOCHS)
    assert_same(first, others[0])


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    moments = [moment.split(":") for run in KILLS for moment in run]
    assert len(moments) == 20
    kinds = Counter(kind for kind, *_ in moments)
    assert kinds["save"] >= 5 and kinds["validation"] >= 5
    # Neither an epoch's first step nor its last.
    inside = [step for kind, step, *_ in moments if kind == "batch" and int(step) % EPOCH not in (0, EPOCH - 1)]
    assert len(inside) >= 5
    first, others = run_killed(tmp_path, KILLS)
    for moments, other in zip(KILLS, others, strict=True):
        assert_same(first, other, "+".join(moments))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--data.num_workers", "0", "--trainer.check_val_every_n_epoch", "1", "--trainer.val_check_interval", "1.0"),
        ("--trainer.accumulate_grad_batches", "2", "--trainer.val_check_interval", "5"),
        ("--trainer.check_val_every_n_epoch", "2", "--trainer.val_check_interval", "1.0", "--save_every", "13"),
        (
            "--trainer.limit_train_batches",
            "7",
            "--trainer.check_val_every_n_epoch",
            "1",
            "--trainer.val_check_interval",
            "3",
        ),
        EPOCHS,
        (*ANEW, "1"),
        (*EPOCHS, "--trainer.max_epochs", "8", *ANEW, "2", "--trainer.accumulate_grad_batches", "2"),
    ],
    ids=[
        "no workers, validation by epoch",
        "accumulated gradients",
        "saves where epochs end",
        "short epochs",
        "bounded by epochs",
        "loaders made anew",
        "bounded by epochs, loaders made anew, accumulated gradients",
    ],
)
def test_other_schedules(tmp_path: Path, options: tuple[str, ...]) -> None:
    first, others = run_killed(
        tmp_path, [[m] for m in ("batch:14:start", "batch:27:backward", "batch:40:end")], *options
    )
    for other in others:
        assert_same(first, other)


@pytest.mark.slow
def test_a_schedule_by_epoch_of_a_run_bounded_by_steps(tmp_path: Path) -> None:
    config = tmp_path / "by_epoch.yaml"
    config.write_text("model: {init_args: {schedule_interval: epoch}}\n", encoding="utf-8")
    first, others = run_killed(tmp_path, [["batch:34:backward"]], "--config", str(config))
    assert_same(first, others[0])
