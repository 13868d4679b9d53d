"""Weights split over two processes (FSDP 2, on gloo) train as one process does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import sharded_worker as worker
from tests.models.exact_ranks_worker import difference
from tests.ranks import run_ranks

# BridgeNet on the kinds of backbone that docs/distributed.md shards: small ones of the same form.
NAMES = "MTLBaseline,BridgeNet,TaskPrompter-vit,BridgeNet-vit,BridgeNet-internimage"


@pytest.mark.slow
def test_two_ranks_with_half_of_the_weights_each(tmp_path: Path) -> None:
    two, one = run_ranks(worker.run, tmp_path, NAMES, seconds=900)[0], worker.run(0, 1, NAMES)
    for name, values in one.items():
        for kind, (far, where) in difference(values, two[name]).items():
            print(f"{name} {kind}: {far:.1e}")
            assert far <= 1e-5, f"{name}: {where}"
