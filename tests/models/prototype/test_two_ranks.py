"""Two ranks of two images do what one rank of four does, whatever labels each has, in plain DDP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.models.prototype.ddp_worker import OPTIONS, step

WORKER = Path(__file__).with_name("ddp_worker.py")


def run_two(store: Path) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), "2", str(store)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    outputs = [p.communicate(timeout=180) for p in processes]
    assert all(p.returncode == 0 for p in processes), outputs
    return json.loads(outputs[0][0].strip().splitlines()[-1])


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    two = run_two(tmp_path / "store")
    one = {name: step(options, 0, 1) for name, options in OPTIONS.items()}
    for name, expected in one.items():
        assert expected["losses"].keys() == two[name]["losses"].keys()
        for loss, value in expected["losses"].items():
            np.testing.assert_allclose(two[name]["losses"][loss], value, rtol=2e-5, err_msg=f"{name} {loss}")
        assert np.abs(expected["gradient"]).max() > 1e-3
        np.testing.assert_allclose(two[name]["gradient"], expected["gradient"], rtol=1e-3, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(two[name]["codebook"], expected["codebook"], rtol=1e-4, atol=1e-6, err_msg=name)
    assert one["restart"]["codebook"] != one["default"]["codebook"]
    assert {"train/tae/loss", "train/tke/loss", "train/tc/loss"} <= one["default"]["losses"].keys()
