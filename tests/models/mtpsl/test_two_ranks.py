"""Both methods of two views under plain DDP: two ranks of two images give the gradient of one rank of four."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.models.mtpsl.ddp_worker import gradients
from tests.ranks import run_ranks


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    one, two = gradients(0, 1), run_ranks(gradients, tmp_path)[0]
    for case, expected in one.items():
        assert np.abs(expected).max() > 1e-3, case
        scale = np.abs(expected).max()
        np.testing.assert_allclose(two[case], expected, rtol=1e-3, atol=1e-5 * scale, err_msg=case)
