"""Two ranks of two images give the gradient of one rank of four, whatever labels each rank has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

WORKER = Path(__file__).with_name("ddp_worker.py")


def run(world: int, store: Path) -> dict[str, list[float]]:
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), str(world), str(store)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    outputs = [p.communicate(timeout=120) for p in processes]
    assert all(p.returncode == 0 for p in processes), outputs
    return json.loads(outputs[0][0].strip().splitlines()[-1])


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    one, two = run(1, tmp_path / "one"), run(2, tmp_path / "two")
    for mode, expected in one.items():
        assert np.abs(expected).max() > 1e-3, mode
        np.testing.assert_allclose(two[mode], expected, rtol=1e-5, atol=1e-7, err_msg=mode)
