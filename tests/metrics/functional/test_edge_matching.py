from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from mtdense.metrics.functional.edge_matching import (
    match_levels,
    match_levels_nearest_first,
    matched_pixels_reference,
)
from mtdense.metrics.functional.thinning import ThinnedLevels


def levels_of(maps: Sequence[np.ndarray]) -> ThinnedLevels:
    """Any sequence of maps as differences; the order of pixels is drawn, as nothing may depend on it."""
    rng = np.random.default_rng(len(maps))
    before = np.zeros_like(maps[0])
    added, removed = [], []
    for now in maps:
        added.append(rng.permutation(np.flatnonzero(now & ~before)).astype(np.int32))
        removed.append(rng.permutation(np.flatnonzero(before & ~now)).astype(np.int32))
        before = now
    return ThinnedLevels(
        maps[0].shape,
        np.concatenate(added),
        np.cumsum([len(part) for part in added], dtype=np.int64),
        np.concatenate(removed),
        np.cumsum([len(part) for part in removed], dtype=np.int64),
    )


def largest(maps: Sequence[np.ndarray], target: np.ndarray, radius: float) -> list[int]:
    return [int(matched_pixels_reference(one, target, radius).sum()) for one in maps]


def least_distance(pred: np.ndarray, target: np.ndarray, radius: float) -> np.ndarray:
    """Predicted pixels of a maximum matching of least total distance."""
    ours, theirs = np.argwhere(pred), np.argwhere(target)
    distance = np.sqrt(((ours[:, None] - theirs[None]) ** 2).sum(-1))
    rows, columns = linear_sum_assignment(np.where(distance <= radius, distance, 1e6))
    matched = np.zeros_like(pred)
    matched[tuple(ours[rows[distance[rows, columns] <= radius]].T)] = True
    return matched


def stripes(shape: tuple[int, int], step: int, start: int) -> np.ndarray:
    found = np.zeros(shape, bool)
    found[start::step] = True
    return found


def test_one_to_one_by_hand():
    pred, target = np.zeros((5, 9), bool), np.zeros((5, 9), bool)
    target[2, [2, 6]] = True
    pred[2, [1, 3]] = True  # both near the first target pixel, none near the second
    assert match_levels(levels_of([pred]), target, 1.0).tolist() == [1]
    pred[2, 5] = True
    assert match_levels(levels_of([pred]), target, 1.0).tolist() == [2]


def test_an_augmenting_path_is_found():
    # Nearest first, the middle prediction takes the target that the outer one needs.
    pred, target = np.zeros((3, 12), bool), np.zeros((3, 12), bool)
    pred[1, [3, 6]] = True
    target[1, [1, 4, 8]] = True
    for radius, pairs in ((2.0, 2), (1.0, 1), (0.5, 0)):
        assert match_levels(levels_of([pred]), target, radius).tolist() == [pairs]
        assert match_levels_nearest_first(levels_of([pred]), [target], radius)[0].tolist() == [pairs]


def test_the_radius_belongs_to_the_circle():
    pred, target = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    pred[0, 0] = target[3, 4] = True
    for radius, pairs in ((4.999, 0), (5.0, 1)):
        assert match_levels(levels_of([pred]), target, radius).tolist() == [pairs]
        assert matched_pixels_reference(pred, target, radius).sum() == pairs


@pytest.mark.parametrize("radius", [0.0, 1.0, 2.3, 4.3])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.4])
def test_equals_hopcroft_karp_on_random_maps(radius, share):
    rng = np.random.default_rng(7)
    target = rng.random((30, 40)) < share
    # Not nested: every second level is drawn anew in part.
    maps = [rng.random(target.shape) < share]
    for _ in range(8):
        maps.append(np.where(rng.random(target.shape) < 0.3, rng.random(target.shape) < share, maps[-1]))
    expected = largest(maps, target, radius)
    assert max(expected) > 0
    assert match_levels(levels_of(maps), target, radius).tolist() == expected
    pairs, union = match_levels_nearest_first(levels_of(maps), [target], radius)
    assert pairs.tolist() == expected and union.tolist() == expected


def test_equals_hopcroft_karp_on_structured_maps():
    shape = (36, 44)
    target = stripes(shape, 7, 3) | stripes(shape[::-1], 9, 4).T
    # Lines that move, thicken, vanish and come back: long augmenting paths, and many pixels that leave at once.
    maps = [stripes(shape, 7, k) | stripes(shape[::-1], 11, 2 * k).T for k in range(6)]
    maps += [stripes(shape, 2, 0), np.zeros(shape, bool), np.ones(shape, bool), target, target[:, ::-1]]
    for radius in (1.0, 2.9, 4.5):
        expected = largest(maps, target, radius)
        assert match_levels(levels_of(maps), target, radius).tolist() == expected
        assert match_levels_nearest_first(levels_of(maps), [target], radius)[0].tolist() == expected


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 9),
    width=st.integers(1, 14),
    share=st.floats(0.05, 0.9),
    wanted=st.floats(0.05, 0.9),
    radius=st.floats(0.0, 4.0),
)
def test_equals_hopcroft_karp_however_pixels_come_and_go(seed, height, width, share, wanted, radius):
    rng = np.random.default_rng(seed)
    target = rng.random((height, width)) < wanted
    maps = [rng.random(target.shape) < share * rng.random() for _ in range(12)]
    assert match_levels(levels_of(maps), target, radius).tolist() == largest(maps, target, radius)


def test_nothing_to_match():
    empty, full = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    for pred, target in ((empty, full), (full, empty), (empty, empty)):
        assert match_levels(levels_of([pred]), target, 2.0).tolist() == [0]
        pairs, union = match_levels_nearest_first(levels_of([pred]), [target, target], 2.0)
        assert pairs.tolist() == union.tolist() == [0]
        assert not matched_pixels_reference(pred, target, 2.0).any()


def test_a_radius_beyond_the_image():
    pred, target = np.zeros((3, 40), bool), np.zeros((3, 40), bool)
    pred[0, 0] = target[2, 39] = True
    assert match_levels(levels_of([pred]), target, 100.0).tolist() == [1]


def test_several_annotators_share_what_is_nearest():
    # Both annotators draw the same pixel; the nearer of two predictions serves both.
    pred, target = np.zeros((3, 9), bool), np.zeros((3, 9), bool)
    pred[1, [1, 5]] = True
    target[1, 4] = True
    pairs, union = match_levels_nearest_first(levels_of([pred]), [target, target], 3.0)
    assert pairs.tolist() == [2] and union.tolist() == [1]
    # An annotator who draws something else needs the other one.
    other = np.zeros_like(target)
    other[1, 0] = True
    assert match_levels_nearest_first(levels_of([pred]), [target, other], 3.0)[1].tolist() == [2]


def test_several_annotators_come_close_to_the_least_distance():
    rng = np.random.default_rng(3)
    shape, radius = (40, 50), 3.2
    target = stripes(shape, 8, 4)
    targets = [target & (rng.random(shape) < 0.9), np.roll(target, 1, 0), np.roll(target, 2, 1)]
    maps = [np.roll(target, 1, 0) | (rng.random(shape) < share) for share in (0.05, 0.1, 0.2)]
    pairs, union = match_levels_nearest_first(levels_of(maps), targets, radius)
    for k, one in enumerate(maps):
        found = [least_distance(one, annotator, radius) for annotator in targets]
        assert pairs[k] == sum(part.sum() for part in found)
        expected = np.logical_or.reduce(found).sum()
        assert abs(int(union[k]) - int(expected)) <= 0.05 * expected
