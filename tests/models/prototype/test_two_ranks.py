"""Two ranks of two images do what one rank of four does, whatever labels each has, in plain DDP."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.models.prototype.ddp_worker import steps
from tests.ranks import run_ranks


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    two, one = run_ranks(steps, tmp_path)[0], steps(0, 1)
    for name, expected in one.items():
        assert expected["losses"].keys() == two[name]["losses"].keys()
        for loss, value in expected["losses"].items():
            np.testing.assert_allclose(two[name]["losses"][loss], value, rtol=2e-5, err_msg=f"{name} {loss}")
        assert np.abs(expected["gradient"]).max() > 1e-3
        np.testing.assert_allclose(two[name]["gradient"], expected["gradient"], rtol=1e-3, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(two[name]["codebook"], expected["codebook"], rtol=1e-4, atol=1e-6, err_msg=name)
    assert one["restart"]["codebook"] != one["default"]["codebook"]
    assert {"train/tae/loss", "train/tke/loss", "train/tc/loss"} <= one["default"]["losses"].keys()
