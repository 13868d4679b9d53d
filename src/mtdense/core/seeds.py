"""Random generators that belong to a sample, never to a worker or a rank."""

from __future__ import annotations

import hashlib
import json

import numpy as np

__all__ = ["derive_rng", "derive_seed"]


def derive_seed(*parts: int | str) -> int:
    """A 128-bit seed that depends on the values of `parts` alone.

    Unlike `hash`, it is the same in every process and on every machine, and 1 and "1" give different seeds.

    Args:
        parts: Whole numbers and strings, for example `(seed, "augment", epoch, id)`.

    Raises:
        TypeError: A part is neither a whole number nor a string.
    """
    plain: list[int | str] = []
    for part in parts:
        if isinstance(part, str):
            plain.append(part)
        elif isinstance(part, (int, np.integer)):
            plain.append(int(part))
        else:
            raise TypeError(f"a seed is made of whole numbers and strings, not {type(part).__name__}: {part!r}")
    digest = hashlib.sha256(json.dumps(plain).encode()).digest()
    return int.from_bytes(digest[:16], "big")


def derive_rng(*parts: int | str) -> np.random.Generator:
    """A generator (PCG64) seeded by `derive_seed(*parts)`."""
    return np.random.Generator(np.random.PCG64(derive_seed(*parts)))
