"""Each method in two processes, none with labels of all tasks: it trains, and with the gradient of one process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.models import uneven_ranks_worker as worker
from tests.ranks import run_ranks


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=() if m == "mtl_baseline" else pytest.mark.slow) for m in worker.METHODS]
)
def test_trains_where_a_rank_has_no_label_of_a_task(tmp_path: Path, method: str) -> None:
    first, second = run_ranks(worker.run, tmp_path, method)
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
