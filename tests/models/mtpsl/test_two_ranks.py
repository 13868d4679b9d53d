"""Both methods of two views under plain DDP: two ranks of two images give the gradient of one rank of four."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

WORKER = Path(__file__).with_name("ddp_worker.py")
ROOT = Path(__file__).parents[3]


def run(world: int, store: Path) -> dict[str, list[float]]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), str(world), str(store)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(world)
    ]
    outputs = [p.communicate(timeout=180) for p in processes]
    assert all(p.returncode == 0 for p in processes), outputs
    return json.loads(outputs[0][0].strip().splitlines()[-1])


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    one, two = run(1, tmp_path / "one"), run(2, tmp_path / "two")
    for case, expected in one.items():
        assert np.abs(expected).max() > 1e-3, case
        scale = np.abs(expected).max()
        np.testing.assert_allclose(two[case], expected, rtol=1e-3, atol=1e-5 * scale, err_msg=case)
