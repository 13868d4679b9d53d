from __future__ import annotations

import numpy as np
import pytest

from mtdense.core.errors import DataError
from mtdense.metrics.functional.label_boundaries import label_boundaries


def test_by_hand():
    labels = np.array(
        [
            [1, 1, 2],
            [1, 1, 2],
            [3, 3, 2],
        ]
    )
    expected = np.array(
        [
            [0, 1, 0],
            [1, 1, 0],
            [0, 1, 0],
        ],
        dtype=bool,
    )
    # The corner: (0, 0) differs from no neighbour, (1, 0) from the one below, (2, 1) from the one on the right.
    assert np.array_equal(label_boundaries(labels), expected)


@pytest.mark.parametrize("shape", [(7, 5), (1, 6), (6, 1), (1, 1)])
def test_equals_the_rule_pixel_by_pixel(shape):
    labels = np.random.default_rng(0).integers(0, 3, shape)
    height, width = shape
    for row in range(height):
        for column in range(width):
            neighbours = [(row, column + 1), (row + 1, column), (row + 1, column + 1)]
            expected = any(labels[row, column] != labels[y, x] for y, x in neighbours if y < height and x < width)
            assert label_boundaries(labels)[row, column] == expected


def test_only_differences_count():
    labels = np.random.default_rng(1).integers(0, 4, (20, 30))
    assert np.array_equal(label_boundaries(labels), label_boundaries(200 - 7 * labels))
    assert np.array_equal(label_boundaries(labels > 1), label_boundaries((labels > 1).astype(np.uint8)))
    assert not label_boundaries(np.full((4, 5), 255, np.uint8)).any()


@pytest.mark.parametrize(
    ("labels", "named"),
    [(np.zeros((2, 3)), "float64"), (np.zeros((1, 2, 3), int), "(1, 2, 3)"), (np.zeros((0, 3), int), "(0, 3)")],
)
def test_bad_input_is_named(labels, named):
    with pytest.raises(DataError) as error:
        label_boundaries(labels)
    assert named in error.value.problem and error.value.mend
