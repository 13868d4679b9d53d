"""Two gloo processes with five and two images score, to the last bit, what one process scores for all seven."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.metrics.detection_worker import results
from tests.ranks import run_ranks


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path: Path) -> None:
    one, two = results(0, 1), run_ranks(results, tmp_path)
    assert two[0] == two[1] == one
    assert "nan" not in json.dumps(one)
    assert 0.1 < float.fromhex(one["amodal"]["mDS"]) < 1
