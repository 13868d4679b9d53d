"""Two gloo processes with five and two images give, to the last bit, what one process gives for all seven."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).with_name("ddp_worker.py")


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
def test_two_processes_equal_one(tmp_path: Path) -> None:
    ((one,), two) = run(1, tmp_path / "one"), run(2, tmp_path / "two")
    assert two[0] == two[1], "every rank knows the result"
    # What one process makes of all images is another batch than the two ranks' first.
    for name, value in one.items():
        if not name.endswith("/first batch"):
            assert two[0][name] == value, name
            assert "nan" not in json.dumps(value), name
    for name, value in two[0].items():
        if name.endswith("/first batch"):
            assert "nan" not in json.dumps(value), "a rank without images does no harm"
