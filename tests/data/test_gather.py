"""Copying of rows and columns, beside NumPy's own indexing."""

from __future__ import annotations

import numpy as np
import pytest

from mtdense.data.gather import gather


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "float16", "float32", "int64", "float64", "complex128"])
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
@pytest.mark.parametrize("layout", ["C", "F", "every other"])
def test_is_what_indexing_gives(dtype, channels, layout):
    rng = np.random.default_rng(0)
    array = np.asarray(rng.normal(0, 99, (24, 31, *channels)), dtype=dtype)
    array = {"C": array, "F": np.asfortranarray(array), "every other": array[::2]}[layout]
    array.flags.writeable = False
    rows = np.sort(rng.integers(0, len(array), 40))
    cols = np.arange(31)[::-1]
    found = gather(array, rows, cols)
    assert found.dtype == array.dtype
    assert found.tobytes() == array[rows[:, None], cols[None, :]].tobytes()


def test_the_result_is_a_copy():
    array = np.zeros((3, 4))
    gather(array, np.arange(3), np.arange(4))[:] = 1
    assert not array.any()


@pytest.mark.parametrize(("rows", "cols"), [([0, 3], [0]), ([-1], [0]), ([0], [4]), ([0], [2, -1])])
def test_places_outside_are_refused(rows, cols):
    with pytest.raises(IndexError):
        gather(np.zeros((3, 4)), np.array(rows), np.array(cols))


def test_nothing_to_take():
    assert gather(np.zeros((3, 4, 3)), np.arange(0), np.arange(4)).shape == (0, 4, 3)
