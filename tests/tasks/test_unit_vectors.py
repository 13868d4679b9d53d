"""The compiled scaling of vectors beside the same in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from mtdense.tasks.unit_vectors import scale_to_unit


def example() -> np.ndarray:
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 0.6, (40, 50, 3)).astype(np.float32)
    vectors[:3] = 0
    vectors[3] = [-0.0, 0.0, -1.0]
    vectors[4] = [0.3, 0.4, 0.0]  # about 0.5 long
    return vectors


def plain(vectors):
    x, y, z = np.moveaxis(vectors * vectors, -1, 0)
    lengths = np.sqrt((x + y) + z)
    some = lengths > 0.5
    return np.where(some[..., None], vectors / np.where(some, lengths, 1)[..., None], 0).astype(np.float32), lengths


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("layout", ["C", "F", "double"])
def test_same_bits_as_numpy(planar, layout):
    vectors = example()
    given = {"C": vectors, "F": np.asfortranarray(vectors), "double": vectors.astype(np.float64)}[layout]
    found, seen = scale_to_unit(given, 0.5, 0.9, planar=planar)
    unit, lengths = plain(vectors)
    assert np.ascontiguousarray(found).tobytes() == unit.tobytes()
    counted = lengths[lengths > 0.5]
    assert (seen.infinite, seen.counted, seen.long_enough) == (0, len(counted), (counted >= np.float32(0.9)).sum())
    assert np.float32(seen.longest) == counted.max()
    assert found.transpose(2, 0, 1).flags.c_contiguous == planar


def test_vectors_that_are_not_finite_are_counted():
    vectors = example()
    vectors[5, :4, 1] = [np.nan, np.inf, -np.inf, np.nan]
    vectors[6, 0] = 3e38  # finite, but its length is not
    seen = scale_to_unit(vectors, 0.5)[1]
    assert seen.infinite == 4 and seen.longest == np.inf


def test_nothing_counts_in_an_empty_map():
    found, seen = scale_to_unit(np.zeros((2, 3, 3), np.float32), 0.5)
    assert not found.any() and seen.counted == 0 and seen.longest == 0
