"""Weights split over two processes (FSDP 2, on gloo) train as one process does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import sharded_worker as worker
from tests.models.exact_ranks_worker import difference
from tests.ranks import run_ranks


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MTLBaseline", "BridgeNet", "TaskPrompter-vit"])
def test_two_ranks_with_half_of_the_weights_each(tmp_path: Path, name: str) -> None:
    two, one = run_ranks(worker.run, tmp_path, name)[0][name], worker.run(0, 1, name)[name]
    for kind, (far, where) in difference(one, two).items():
        print(f"{name} {kind}: {far:.1e}")
        assert far <= 2e-5, where
