from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdense.metrics.functional.fixed_point import PARTS, from_fixed_point, to_fixed_point

SHARES = st.floats(0, 1)


@settings(max_examples=100, deadline=None)
@given(SHARES)
def test_a_number_comes_back(share):
    back = float(from_fixed_point(to_fixed_point(share)))
    assert back == share if share >= 2**-9 or share == 0 else abs(back - share) <= 2**-63


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(2**-9, 1), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_is_the_float_nearest_to_the_true_sum_in_any_order(shares, random):
    expected = float(sum(map(Fraction, shares)))
    assert float(from_fixed_point(to_fixed_point(shares).sum(axis=0))) == expected
    random.shuffle(shares)
    assert float(from_fixed_point(to_fixed_point(shares).sum(axis=0))) == expected


def test_shapes():
    assert to_fixed_point(np.ones((2, 3))).shape == (2, 3, PARTS)
    assert from_fixed_point(np.ones((2, 3, PARTS), dtype=np.int64)).shape == (2, 3)
    assert from_fixed_point(to_fixed_point(np.zeros((0, 4)))).shape == (0, 4)


def test_many_ones_do_not_overflow():
    sums = to_fixed_point(1.0) * 2**31
    assert (sums >= 0).all()
    assert float(from_fixed_point(sums)) == 2.0**31


@pytest.mark.parametrize("share", [-1e-300, 1.0000000000000002, float("nan"), float("inf")])
def test_other_numbers_are_refused(share):
    with pytest.raises(ValueError, match=r"0\.\.1"):
        to_fixed_point([0.5, share])
