"""Colours: driven by the sample's own seed, steps independent of each other."""

from __future__ import annotations

import numpy as np
import pytest

from mtdense.core.errors import ConfigError
from mtdense.data.photometric import Photometric

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)


@pytest.mark.parametrize("strength", ["mild", "strong"])
def test_depends_on_the_seed_alone(strength: str) -> None:
    one, two = Photometric(strength), Photometric(strength)
    outcomes = [one(IMAGE, seed) for seed in range(8)]
    for seed in reversed(range(8)):
        np.testing.assert_array_equal(two(IMAGE, seed), outcomes[seed])
    assert len({outcome.tobytes() for outcome in outcomes}) > 4
    assert all(outcome.dtype == np.uint8 and outcome.shape == IMAGE.shape for outcome in outcomes)


def test_none_changes_nothing() -> None:
    assert Photometric("none")(IMAGE, 3) is IMAGE


def test_steps_are_drawn_independently() -> None:
    # A grey image feels brightness and contrast only (each with probability 1/2): unchanged in a quarter of the draws.
    # Were all steps seeded alike, a change of one would imply a change of the other, and half would be unchanged.
    grey = np.full((4, 4, 3), 100, np.uint8)
    strong = Photometric("strong")
    unchanged = np.mean([np.array_equal(strong(grey, seed), grey) for seed in range(400)])
    assert abs(unchanged - 0.25) < 0.09


def test_strengths_stay_within_bounds() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    values = [int(Photometric("strong")(grey, seed).max()) for seed in range(200)]
    assert max(values) <= round((100 + 32) * 1.5) and min(values) >= round((100 - 32) * 0.5) - 1
    assert max(values) > 140 and min(values) < 60


def test_unknown_strength() -> None:
    with pytest.raises(ConfigError, match="wild"):
        Photometric("wild")


def test_the_library_is_loaded_before_any_worker_forks() -> None:
    assert Photometric("mild")._compose is not None
    assert Photometric("none")._compose is None
