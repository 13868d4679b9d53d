"""Random numbers of one scene: one stream per (seed, index), drawn in blocks because single draws are slow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["Draws"]

T = TypeVar("T")
_BLOCK = 1024


class Draws:
    """Uniform random numbers that depend on (seed, index) alone.

    Args:
        seed: Seed of the data set, non-negative.
        index: Index of the scene, non-negative.
    """

    def __init__(self, seed: int, index: int) -> None:
        # spawn_key keeps (seed, index) injective; a plain list of both would let large values run into each other.
        sequence = np.random.SeedSequence(seed, spawn_key=(index,))
        self._generator = np.random.Generator(np.random.PCG64(sequence))
        self._values = iter(self._generator.random(_BLOCK).tolist())

    def unit(self) -> float:
        """A number in [0, 1)."""
        value = next(self._values, None)
        if value is None:
            self._values = iter(self._generator.random(_BLOCK).tolist())
            value = next(self._values)
        return float(value)

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit()

    def degrees(self, low: float, high: float) -> float:
        """An angle between two limits in degrees, in radians."""
        return math.radians(self.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.unit() < probability

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return low + int(self.unit() * (high - low + 1))

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, all equally likely."""
        return options[int(self.unit() * len(options))]

    def sign(self) -> float:
        """-1.0 or 1.0."""
        return -1.0 if self.unit() < 0.5 else 1.0
