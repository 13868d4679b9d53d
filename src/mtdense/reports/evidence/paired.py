"""Paired differences: is one method better than another, given a few seeds of each?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from scipy import stats

from mtdense.core.errors import ConfigError

__all__ = ["CONFIDENCE", "NOT_DECIDED", "Difference", "order_verdict", "t_interval"]

CONFIDENCE = 0.95
NOT_DECIDED = "not decided"


def t_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Student's interval for the mean: mean ± t(n - 1) · s / √n, with s the sample standard deviation.

    Args:
        values: One per seed.
        confidence: Of both sides together.

    Returns:
        (low, high), or None with fewer than two values or one that is no finite number.

    Raises:
        ConfigError: A confidence outside 0..1.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence {confidence}", "give a number between 0 and 1.")
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    half = float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1)) * deviation / math.sqrt(len(values))
    return mean - half, mean + half


@dataclass(frozen=True)
class Difference:
    """How much better method a is than method b in one figure, seed by seed.

    Args:
        a: Method.
        b: Method.
        figure: "delta_m", or "task/metric".
        unit: Unit of the values: "percent" for Δm, else that of the metric.
        seeds: Seeds that both have.
        values: One per seed; positive where a is better, whatever the metric's direction.
        complete: Whether these are all seeds of the comparison.
    """

    a: str
    b: str
    figure: str
    unit: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    complete: bool = True

    @property
    def mean(self) -> float:
        """Mean over seeds; NaN without any."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def interval(self) -> tuple[float, float] | None:
        """See `t_interval`."""
        return t_interval(self.values)

    @property
    def verdict(self) -> str:
        """`a > b`, `b > a` or "not decided": decided where all seeds are there and the interval excludes 0."""
        if not self.complete or self.interval is None:
            return NOT_DECIDED
        low, high = self.interval
        if low > 0:
            return f"{self.a} > {self.b}"
        return f"{self.b} > {self.a}" if high < 0 else NOT_DECIDED


def order_verdict(order: Sequence[Sequence[str]], differences: Sequence[Difference]) -> str:
    """What the Δm of neighbouring tiers say of an expected order, best first.

    Returns:
        "confirmed" (every method beats every one of the next tier), "contradicted" (some pair is decided the other
        way), else "not decided".
    """
    verdicts = {(d.a, d.b): d.verdict for d in differences if d.figure == "delta_m"}
    expected = [(a, b) for tier, following in pairwise(order) for a in tier for b in following]
    found = [verdicts.get(pair, NOT_DECIDED) for pair in expected]
    if any(verdict == f"{b} > {a}" for (a, b), verdict in zip(expected, found, strict=True)):
        return "contradicted"
    confirmed = all(verdict == f"{a} > {b}" for (a, b), verdict in zip(expected, found, strict=True))
    return "confirmed" if confirmed and expected else NOT_DECIDED
