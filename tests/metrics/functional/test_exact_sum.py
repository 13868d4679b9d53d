from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdense.metrics.functional.exact_sum import LIMBS, exact_sum, exact_value, sum_per_image

DOUBLES = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=12)


def total(values: list[float]) -> float:
    return exact_value(exact_sum(torch.tensor(values, dtype=torch.float64))).item()


@settings(max_examples=100, deadline=None)
@given(DOUBLES)
def test_is_the_float_nearest_to_the_true_sum(values):
    exact = sum(map(Fraction, values))
    try:
        expected = float(exact)
    except OverflowError:
        expected = math.inf if exact > 0 else -math.inf
    assert total(values) == expected


@settings(max_examples=50, deadline=None)
@given(DOUBLES, DOUBLES)
def test_sums_of_sums_are_sums(one, other):
    parts = exact_sum(torch.tensor(one, dtype=torch.float64)) + exact_sum(torch.tensor(other, dtype=torch.float64))
    assert exact_value(parts).item() == total(one + other) == total(other + one)


def test_keeps_what_float64_loses():
    assert total([1e16, 1.0, -1e16]) == 1.0
    assert total([5e-324, 1e308, -1e308]) == 5e-324


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, math.nan], math.nan),
        ([1.0, math.inf], math.inf),
        ([-math.inf], -math.inf),
        ([math.inf, -math.inf], math.nan),
        ([1.7e308] * 2, math.inf),
        ([-1.7e308] * 2, -math.inf),
    ],
)
def test_what_is_not_finite(values, expected):
    assert total(values) == pytest.approx(expected, nan_ok=True)


def test_columns_and_nothing():
    sums = exact_sum(torch.tensor([[1.0, 2.0], [3.0, -5.0]]))
    assert sums.shape == (2, LIMBS)
    assert exact_value(sums).tolist() == [4.0, -3.0]
    assert exact_value(exact_sum(torch.zeros(0, 2))).tolist() == [0.0, 0.0]
    assert exact_sum(torch.zeros(0)).shape == (LIMBS,)


@pytest.mark.parametrize("shape", [(3,), (3, 7), (3, 5, 7), (3, 2, 5, 7)])
def test_an_image_does_not_see_its_batch(shape):
    values = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sums = sum_per_image(values)
    assert sums.tolist() == pytest.approx(values.reshape(3, -1).sum(1).tolist())
    assert torch.equal(sums[1:2], sum_per_image(values[1:2]))
    assert torch.equal(sums.flip(0), sum_per_image(values.flip(0)))
    assert sum_per_image(values[:0]).shape == (0,)
