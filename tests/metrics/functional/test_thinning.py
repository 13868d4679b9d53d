from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mtdense.core.errors import DataError
from mtdense.metrics.functional import thinning
from mtdense.metrics.functional.thinning import thin, thin_levels, thin_levels_reference, thin_reference

EIGHT = np.ones((3, 3), dtype=int)


def smooth_map(seed: int, shape: tuple[int, int] = (40, 50), scale: float = 2.0) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), scale)


def masks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    found = [rng.random((33, 47)) < share for share in (0.05, 0.3, 0.6, 0.95)]
    found += [smooth_map(seed, scale=scale) > 0 for seed, scale in enumerate((0.7, 1.5, 4.0))]
    frame = np.ones((20, 30), bool)
    frame[6:-6, 6:-6] = False
    return [*found, frame, np.ones((1, 9), bool), np.ones((9, 1), bool), np.zeros((3, 3), bool)]


def grown(field: np.ndarray, cuts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels by falling value, and how many exceed each cut."""
    order = np.argsort(-field.ravel(), kind="stable").astype(np.int32)
    ends = np.array([(field > cut).sum() for cut in cuts], dtype=np.int64)
    return order[: ends[-1]], ends


def level_sets(levels: thinning.ThinnedLevels) -> list[set[int]]:
    found, now, into, out = [], set(), 0, 0
    for join, leave in zip(levels.added_ends, levels.removed_ends, strict=True):
        joining, leaving = set(levels.added[into:join].tolist()), set(levels.removed[out:leave].tolist())
        assert leaving <= now and not joining & now and len(joining) == join - into
        now = (now - leaving) | joining
        found.append(now)
        into, out = join, leave
    return found


def test_a_bar_becomes_its_middle_line():
    mask = np.zeros((9, 20), bool)
    mask[3:6, 2:18] = True
    thinned = thin(mask)
    assert thinned[4, 4:16].all() and thinned.sum() <= 16
    assert not thinned[[0, 1, 2, 6, 7, 8]].any()


def test_lines_one_pixel_wide_stay():
    mask = np.zeros((12, 12), bool)
    mask[2, 1:11] = True
    mask[np.arange(4, 11), np.arange(4, 11)] = True
    assert np.array_equal(thin(mask), mask)


@pytest.mark.parametrize("mask", masks())
def test_equals_the_plain_version_and_thins(mask):
    before = mask.copy()
    thinned = thin(mask)
    assert np.array_equal(mask, before)
    assert np.array_equal(thinned, thin_reference(mask))
    assert not (thinned & ~mask).any()
    assert np.array_equal(thin(thinned), thinned)
    # Components stay, and so do holes (which connect through edges only).
    assert ndimage.label(thinned, EIGHT)[1] == ndimage.label(mask, EIGHT)[1]
    assert ndimage.label(~np.pad(thinned, 1))[1] == ndimage.label(~np.pad(mask, 1))[1]
    # A block of 3 x 3 is never thin.
    assert not ndimage.binary_erosion(thinned, EIGHT).any()


@pytest.mark.parametrize("patience", [0, 4, 10**6], ids=["afresh", "mixed", "replay"])
@pytest.mark.parametrize("scale", [0.5, 1.5, 5.0])
def test_levels_equal_thinning_each_set(patience, scale, monkeypatch):
    monkeypatch.setattr(thinning, "_PATIENCE", patience)
    field = smooth_map(3, scale=scale)
    # Two cuts that let nothing new through: levels may repeat, and the first may be empty.
    cuts = np.quantile(field, [1, 0.99, 0.95, 0.9, 0.8, 0.8, 0.6, 0.4, 0.1])
    pixels, ends = grown(field, cuts)
    levels, expected = thin_levels(pixels, ends, field.shape), thin_levels_reference(pixels, ends, field.shape)
    assert level_sets(levels) == level_sets(expected)
    assert np.array_equal(levels.sizes, [len(level) for level in level_sets(expected)])
    assert np.array_equal(levels.sizes, [thin_reference(field > cut).sum() for cut in cuts])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 12), width=st.integers(1, 12), steps=st.integers(1, 12))
def test_levels_of_any_growth(seed, height, width, steps):
    field = np.random.default_rng(seed).random((height, width))
    pixels, ends = grown(field, np.linspace(0.95, 0, steps))
    levels, expected = (f(pixels, ends, field.shape) for f in (thin_levels, thin_levels_reference))
    assert level_sets(levels) == level_sets(expected)


@pytest.mark.parametrize(
    ("mask", "named"),
    [
        (np.zeros((2, 3), np.uint8), "uint8"),
        (np.zeros((1, 2, 3), bool), "(1, 2, 3)"),
        (np.zeros((0, 3), bool), "(0, 3)"),
    ],
)
def test_bad_input_is_named(mask, named):
    for function in (thin, thin_reference):
        with pytest.raises(DataError) as error:
            function(mask)
        assert named in error.value.problem and error.value.mend
