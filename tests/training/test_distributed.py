"""Sums over ranks: identities in one process, exact with their gradient in two."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtdense.training.distributed import rank, shared_sum, sum_over_ranks, world_size
from tests.ranks import run_ranks
from tests.training.shared_sum_worker import main


def test_one_process() -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    assert (rank(), world_size()) == (0, 1)
    assert shared_sum(values) is values
    assert not sum_over_ranks(values).requires_grad


def test_gradient_of_a_shared_sum(tmp_path: Path) -> None:
    one, two = main(0, 1), run_ranks(main, tmp_path)
    assert one["count"] == 3
    assert max(abs(x) for x in one["gradient"]) > 1
    for of_rank in two:
        assert of_rank["count"] == 3
        for name in ("total", "loss", "gradient"):
            assert of_rank[name] == pytest.approx(one[name], rel=1e-6), name
