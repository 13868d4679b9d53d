"""Two ranks of two images give the gradient of one rank of four, whatever labels each rank has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ranks import run_ranks
from tests.training.ddp_worker import gradients


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    one, two = gradients(0, 1), run_ranks(gradients, tmp_path)[0]
    for mode, expected in one.items():
        assert np.abs(expected).max() > 1e-3, mode
        np.testing.assert_allclose(two[mode], expected, rtol=1e-5, atol=1e-7, err_msg=mode)
