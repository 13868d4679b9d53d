"""Timing of two ways to the same result."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtdense.core.errors import DataError

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Args:
        name: What was measured.
        baseline: The named public function or plain version it was measured against.
        ours: Seconds per item, median over runs.
        theirs: Seconds per item of the baseline, median over runs.
        difference: Largest difference of the two results.
        state_bytes: Memory of the metric's states; None where there are none.
    """

    name: str
    baseline: str
    ours: float
    theirs: float
    difference: float
    state_bytes: int | None = None

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.theirs / self.ours


def compare(
    name: str,
    baseline: str,
    ours: Sequence[Callable[[], Any]],
    theirs: Sequence[Callable[[], Any]],
    *,
    items: int,
    tolerance: float,
    state_bytes: int | None = None,
) -> Comparison:
    """Runs ours and theirs in turn and takes medians.

    Each call runs once before its clock starts: compilation, and what the other one left in the caches, are not what is
    measured.

    Args:
        name: See `Comparison`.
        baseline: See `Comparison`.
        ours: One call per run.
        theirs: As many, that give the same results; what they return is compared as arrays.
        items: Items (images, batches) per call.
        tolerance: Largest difference of results that is allowed.
        state_bytes: See `Comparison`.

    Raises:
        DataError: The two do not give the same results, so that their times mean nothing.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    difference = 0.0
    for mine, other in zip(ours, theirs, strict=True):
        results = []
        for call, times in ((mine, seconds[0]), (other, seconds[1])):
            call()
            clock = time.perf_counter()
            results.append(np.asarray(call(), dtype=np.float64))
            times.append((time.perf_counter() - clock) / items)
        # np.maximum keeps a NaN, max() would drop it.
        difference = float(np.maximum(difference, np.abs(results[0] - results[1]).max()))
    if not difference <= tolerance:
        raise DataError(
            f"{name} differs from {baseline} by {difference} (allowed: {tolerance}): their times mean nothing",
            "please report this with the versions that `mtdense doctor` prints.",
        )
    return Comparison(
        name, baseline, statistics.median(seconds[0]), statistics.median(seconds[1]), difference, state_bytes
    )
