"""Two torchrun agents, as on two machines, meet over the loopback address and train what one machine trains."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CONF

ROOT = Path(__file__).parents[2]
RUN = ("--config", "procedural/one-label/mtl_baseline-resnet18.yaml", "--config", str(CONF / "tiny.yaml"))
RUN = (*RUN, "--data.train_images", "40", "--data.val_images", "4", "--data.batch_size", "2", "--resume", "auto")
RUN = (*RUN, "--trainer.strategy", "ddp")


def start(log: Path, program: list[str], *options: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *program, "mtdense", "fit", *RUN, *options]
    with log.open("w") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)


@pytest.mark.slow
def test_two_nodes_train_what_two_processes_of_one_train(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # As docs/distributed.md has it, on one machine and with one process a node.
    agent = ["torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1", "--rdzv_backend", "c10d"]
    agent += ["--rdzv_endpoint", f"127.0.0.1:{port}", "-m"]
    nodes = ("--trainer.num_nodes", "2", "--trainer.devices", "1", "--run_dir", str(tmp_path / "nodes"))
    logs = [tmp_path / name for name in ("first.txt", "second.txt", "one.txt")]
    processes = [start(log, agent, *nodes) for log in logs[:2]]
    processes += [start(logs[2], [], "--trainer.devices", "2", "--run_dir", str(tmp_path / "one"))]
    try:
        codes = [process.wait(timeout=1500) for process in processes]
    finally:
        for process in processes:
            process.terminate()  # torchrun passes it on
    assert codes == [0, 0, 0], "\n".join(log.read_text() for log in logs)
    assert sum("GLOBAL_RANK: 0, MEMBER: 1/2" in log.read_text() for log in logs[:2]) == 1
    assert sum("GLOBAL_RANK: 1, MEMBER: 2/2" in log.read_text() for log in logs[:2]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"nodes", "one", *(log.name for log in logs)}
    files = [{p.relative_to(run).as_posix() for p in run.rglob("*")} for run in (tmp_path / "nodes", tmp_path / "one")]
    assert files[0] == files[1]
    records = [json.loads((tmp_path / name / "records" / "fit.json").read_text()) for name in ("nodes", "one")]
    assert records[0]["steps"] == records[1]["steps"] == 3
    assert records[0]["weights_sha256"] == records[1]["weights_sha256"]
