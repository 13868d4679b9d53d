"""Two gloo processes with five and two images give, to the last bit, what one process gives for all seven."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.metrics.ddp_worker import results
from tests.ranks import run_ranks


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    one, two = results(0, 1), run_ranks(results, tmp_path)
    assert two[0] == two[1], "every rank knows the result"
    # What one process makes of all images is another batch than the two ranks' first.
    for name, value in one.items():
        if not name.endswith("/first batch"):
            assert two[0][name] == value, name
            assert "nan" not in json.dumps(value), name
    for name, value in two[0].items():
        if name.endswith("/first batch"):
            assert "nan" not in json.dumps(value), "a rank without images does no harm"
