"""Two processes: training with partial labels runs, and evaluation gives exactly the figures of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import CONF

MULTI = ("--config", "procedural/one-label/mtl_baseline-resnet18.yaml", "--config", str(CONF / "tiny.yaml"))
# 5 test images on 2 ranks: a padding sampler would count one twice.
SMALL = ("--data.train_images", "12", "--data.val_images", "5", "--data.test_images", "5", "--data.batch_size", "2")
ONE_BY_ONE = ("--data.eval_batch_size", "1")
TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")


def mtdense(*arguments: str) -> None:
    command = [sys.executable, "-m", "mtdense", *arguments]
    # One thread and one image at a time, so that a prediction's last digits do not depend on who else is in the batch:
    # what is compared is that no image is lost or counted twice.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


def metrics(run: Path) -> dict[str, float]:
    stored = json.loads((run / "records" / "test.json").read_text())
    return {f"{m['task']}/{m['name']}": m["value"] for m in stored["metrics"]}


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    mtdense("fit", *MULTI, *SMALL, *ONE_BY_ONE, *TWO, "--run_dir", str(tmp_path / "run"))
    checkpoint = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    for name, options in (("one", ()), ("two", TWO)):
        scores = ("--per-image", str(tmp_path / f"{name}.csv"))
        mtdense("test", "--ckpt_path", checkpoint, *options, "--run_dir", str(tmp_path / name), *scores)
    one = metrics(tmp_path / "one")
    assert set(one) == {"semseg/mIoU", "depth/RMSE", "depth/absErr", "normals/mErr"}
    assert metrics(tmp_path / "two") == one
    assert (tmp_path / "two.csv").read_text() == (tmp_path / "one.csv").read_text()


@pytest.mark.slow
def test_two_processes_go_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    constant = tmp_path / "constant.yaml"
    constant.write_text("model: {init_args: {schedule: constant}}\n", encoding="utf-8")
    options = ("fit", *MULTI, "--config", str(constant), *SMALL, *TWO, "--data.min_labelled", "1", "--save_every", "5")
    steps = ("--trainer.val_check_interval", "20", "--trainer.max_steps")
    mtdense(*options, *steps, "9", "--run_dir", str(tmp_path / "whole"))
    mtdense(*options, *steps, "5", "--run_dir", str(tmp_path / "run"))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    loader = torch.load(last, weights_only=True)["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]
    assert (loader["epoch"], loader["batches"]) == (1, 2)
    mtdense(*options, *steps, "9", "--run_dir", str(tmp_path / "run"), "--ckpt_path", str(last))
    records = [json.loads((tmp_path / name / "records" / "fit.json").read_text()) for name in ("whole", "run")]
    assert records[0]["steps"] == records[1]["steps"] == 9
    assert records[0]["weights_sha256"] == records[1]["weights_sha256"]
