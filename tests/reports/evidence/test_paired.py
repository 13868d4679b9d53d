"""Intervals and verdicts, against tables and by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdense.core.errors import ConfigError
from mtdense.reports.evidence import Difference, order_verdict, t_interval

# Two-sided 95 %: printed in any table of Student's t.
TABLE = {2: 12.706, 3: 4.303, 4: 3.182, 6: 2.571, 11: 2.228, 31: 2.042}


@pytest.mark.parametrize("n", TABLE)
def test_the_quantile_is_that_of_the_tables(n: int) -> None:
    # Values 1..n have mean (n + 1) / 2 and variance n (n + 1) / 12.
    low, high = t_interval([float(i) for i in range(1, n + 1)]) or (0, 0)
    assert (low + high) / 2 == pytest.approx((n + 1) / 2)
    assert (high - low) / 2 == pytest.approx(TABLE[n] * math.sqrt((n + 1) / 12), rel=3e-4)


def test_by_hand() -> None:
    # 1, 2, 3: mean 2, s = 1, half-width 4.30265 / sqrt(3).
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx((-0.484138, 4.484138), abs=1e-5)
    # At 90 % t(2) is 2.91999.
    assert t_interval([1.0, 2.0, 3.0], 0.9) == pytest.approx((2 - 1.685854, 2 + 1.685854), abs=1e-5)


def test_no_interval() -> None:
    assert t_interval([1.0]) is None
    assert t_interval([]) is None
    assert t_interval([1.0, math.nan]) is None
    with pytest.raises(ConfigError, match="confidence 95"):
        t_interval([1.0, 2.0], 95)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=6), st.floats(-10, 10), st.floats(0.1, 10))
def test_it_moves_and_scales_with_the_values(values: list[float], shift: float, scale: float) -> None:
    low, high = t_interval(values) or (0.0, 0.0)
    moved = t_interval([scale * value + shift for value in values]) or (0.0, 0.0)
    assert moved == pytest.approx((scale * low + shift, scale * high + shift), abs=1e-6)


def difference(a: str, b: str, *values: float, complete: bool = True, figure: str = "delta_m") -> Difference:
    return Difference(a, b, figure, "percent", tuple(range(len(values))), values, complete)


def test_verdicts() -> None:
    assert difference("a", "b", 1.0, 1.1, 1.2).verdict == "a > b"
    assert difference("a", "b", -1.0, -1.1, -1.2).verdict == "b > a"
    # Better with every seed, and yet: -0.48 to 4.48.
    assert difference("a", "b", 1.0, 2.0, 3.0).verdict == "not decided"
    assert difference("a", "b", 0.0, 0.0, 0.0).verdict == "not decided"
    assert difference("a", "b", 1.0).verdict == "not decided"
    assert difference("a", "b", 1.0, 1.1, complete=False).verdict == "not decided"
    assert difference("a", "b", 1.0, 1.1, math.nan).verdict == "not decided"
    assert math.isnan(difference("a", "b").mean)


def test_an_expected_order() -> None:
    order = [["a"], ["b", "c"], ["d"]]
    wins = [difference(x, y, 1.0, 1.1, 1.2) for x, y in ("ab", "ac", "bd", "cd")]
    assert order_verdict(order, wins) == "confirmed"
    assert order_verdict(order, wins[:-1]) == "not decided"
    assert order_verdict(order, [*wins[:-1], difference("c", "d", 1.0, -1.0, 0.5)]) == "not decided"
    assert order_verdict(order, [difference("a", "b", -1.0, -1.1, -1.2), *wins[1:]]) == "contradicted"
    # Δm alone decides.
    assert order_verdict(order, [*wins[:-1], difference("c", "d", 1.0, 1.1, 1.2, figure="depth/RMSE")]) == "not decided"
    assert order_verdict([["a"]], []) == "not decided"
