"""Each method in two processes, none with labels of all tasks: it trains, and with the gradient of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.models import uneven_ranks_worker as worker

ROOT = Path(__file__).parents[2]


def run(method: str, folder: Path, world: int = 2) -> list[dict[str, dict[str, torch.Tensor]]]:
    """What each rank ends with."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.models.uneven_ranks_worker", method, str(rank), str(world), str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        for rank in range(world)
    ]
    try:
        outputs = [p.communicate(timeout=240)[0] for p in processes]
    finally:
        for p in processes:
            p.kill()
    assert all(p.returncode == 0 for p in processes), "\n".join(outputs)
    return [torch.load(folder / f"rank{rank}of{world}.pt", weights_only=True) for rank in range(world)]


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=() if m == "mtl_baseline" else pytest.mark.slow) for m in worker.METHODS]
)
def test_trains_where_a_rank_has_no_label_of_a_task(tmp_path: Path, method: str) -> None:
    first, second = run(method, tmp_path)
    start = dict(worker.build(method).named_parameters())
    for name, weight in first["weights"].items():
        assert torch.isfinite(weight).all(), name
        assert torch.equal(weight, second["weights"][name]), name
        assert not torch.equal(weight, start[name]), name
    alone = worker.gradients(method, 0, 1)
    largest = max(float(g.abs().max()) for g in alone.values())
    assert largest > 1e-3
    assert alone.keys() == first["gradients"].keys()
    for name, gradient in alone.items():
        torch.testing.assert_close(
            first["gradients"][name], gradient, rtol=1e-3, atol=1e-5 * largest, msg=lambda m, n=name: f"{n}: {m}"
        )
