"""Tables of numbers as pictures."""

from __future__ import annotations

import numpy as np

from mtdense.models import TIF, MTLBaseline
from mtdense.models.diagnosis import Diagnosed, draw_tables
from tests.models.helpers import SPECS


def test_table_is_brightest_where_tasks_are_far() -> None:
    table = np.array([[0.0, 0.9], [0.9, np.nan]], dtype=np.float32)
    picture = draw_tables({"scale 3": table, "scale 2": np.zeros((2, 2), np.float32)}, ["depth", "normals"])
    assert picture.dtype == np.uint8 and picture.ndim == 3
    side = 2 * 56
    left = picture.shape[1] - 2 * (side + 16)
    cells = picture[18 : 18 + side, left : left + side]
    light = cells.astype(int).sum(-1)
    assert light[2, 58] == light[58, 2] > light[2, 2]
    assert cells[110, 110].tolist() == [128, 128, 128]
    # Both tables are on one scale, the cells hold numbers, and titles and names stand around them.
    assert picture[20, left + side + 16 + 2].tolist() == cells[2, 2].tolist()
    assert len(np.unique(cells[:56, :56].reshape(-1, 3), axis=0)) > 2
    assert all((part < 200).any() for part in (picture[:18], picture[:, :left], picture[18 + side :]))


def test_who_has_numbers() -> None:
    options = {"tasks": SPECS, "backbone": "tiny", "preset": "tiny"}
    assert isinstance(TIF(**options), Diagnosed)
    assert not isinstance(MTLBaseline(**options), Diagnosed)
