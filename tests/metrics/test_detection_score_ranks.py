"""Two gloo processes with five and two images score, to the last bit, what one process scores for all seven."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).with_name("detection_worker.py")


def run(world: int, store: Path) -> list[dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if name != "LOCAL_WORLD_SIZE"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), str(world), str(store)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(world)
    ]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert all(process.returncode == 0 for process in processes), outputs
    return [json.loads(output.strip().splitlines()[-1]) for output, _ in outputs]


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path: Path) -> None:
    ((one,), two) = run(1, tmp_path / "one"), run(2, tmp_path / "two")
    assert two[0] == two[1] == one
    assert "nan" not in json.dumps(one)
    assert 0.1 < float.fromhex(one["amodal"]["mDS"]) < 1
