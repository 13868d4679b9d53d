"""A run of two processes of which one dies, or is asked to stop: through Lightning's launcher and torchrun's."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mtdense.training.stopping import STOPPED
from tests.conftest import CONF

ROOT = Path(__file__).parents[2]
RUN = ("--config", "procedural/one-label/mtl_baseline-resnet18.yaml", "--config", str(CONF / "tiny.yaml"))
RUN = (*RUN, "--data.train_images", "40", "--data.val_images", "4", "--data.batch_size", "2", "--save_every", "1")
RUN = (*RUN, "--trainer.devices", "2", "--trainer.strategy", "ddp")
LONG = ("--trainer.max_steps", "400", "--trainer.val_check_interval", "400")
SECONDS = 60
MESSAGE = "another of the 2 processes of this run has died"


def launch(how: str, folder: Path, *options: str, strike: tuple[int, int] | None = None) -> tuple[int, str, float]:
    """Exit code, output, and seconds from the strike (or the beginning) to the end."""
    program = [sys.executable, "-m", "mtdense"]
    if how == "torchrun":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        program = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
        program += ["-m", "mtdense"]
    if strike is not None:
        config = folder / "strike.yaml"
        entry = {"class_path": "tests.cli.lost_rank.StrikeRank", "init_args": {"rank": strike[0], "number": strike[1]}}
        config.write_text(json.dumps({"trainer": {"callbacks": [entry]}}))
        options = (*options, "--config", str(config))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    command = [*program, "fit", *RUN, *options, "--run_dir", str(folder / "run")]
    log = folder / "output.txt"
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)
    try:
        begun, end = time.monotonic(), time.monotonic() + 400
        # Where the main process is what was killed, its child ends after it.
        while process.poll() is None or (process.poll() == -9 and MESSAGE not in log.read_text()):
            if time.monotonic() > end or (process.poll() is not None and time.monotonic() > begun + SECONDS):
                break
            if strike is not None and "gets signal" not in log.read_text():
                begun = time.monotonic()
            time.sleep(0.2)
        seconds = time.monotonic() - begun
    finally:
        process.kill()
    return process.wait(), log.read_text(), seconds


@pytest.mark.slow
@pytest.mark.parametrize("how", ["lightning", "torchrun"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_run(tmp_path: Path, how: str, rank: int) -> None:
    code, output, seconds = launch(how, tmp_path, *LONG, strike=(rank, signal.SIGKILL))
    print(f"{how}, rank {rank} killed: exit code {code} after {seconds:.0f} s\n{output}")
    assert seconds < SECONDS
    assert code != 0
    if how == "torchrun":
        assert "Signal 9 (SIGKILL) received by PID" in output
    assert MESSAGE in output or "terminated with code -9" in output
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(("how", "number"), [("lightning", signal.SIGTERM), ("torchrun", signal.SIGUSR1)])
def test_one_rank_that_hears_the_end_stops_all_and_the_run_goes_on(tmp_path: Path, how: str, number: int) -> None:
    steps = ("--trainer.max_steps", "9", "--trainer.val_check_interval", "9", "--save_every", "100", "--resume", "auto")
    (tmp_path / "whole").mkdir()
    assert launch(how, tmp_path / "whole", *steps)[0] == 0
    code, output, _ = launch(how, tmp_path, *steps, strike=(1, number))
    print(output)
    assert code == (STOPPED if how == "lightning" else 1), output
    # Heard in the third step, agreed on in the fourth.
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4
    code, output, _ = launch(how, tmp_path, *steps)
    assert code == 0, output
    records = [json.loads((f / "run" / "records" / "fit.json").read_text()) for f in (tmp_path / "whole", tmp_path)]
    assert records[0]["steps"] == records[1]["steps"] == 9
    assert records[0]["weights_sha256"] == records[1]["weights_sha256"]
