"""Matching at all thresholds at once against matching at each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdense.metrics.functional.detection_matching import THRESHOLDS, ignored_boxes, match_boxes, pixel_iou


def plain_matches(iou: np.ndarray, there: np.ndarray) -> set[tuple[int, int]]:
    """The largest overlap, its row and column removed, and again; only columns that are there."""
    left = np.where(there[None, :], iou, 0.0)
    found = set()
    while left.size and left.max() > 0.7:
        row, column = np.argwhere(left == left.max())[0].tolist()
        found.add((row, column))
        left[row] = 0
        left[:, column] = 0
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 6), st.integers(0, 9))
def test_equals_matching_at_each_threshold(seed, targets, preds):
    rng = np.random.default_rng(seed)
    iou = rng.choice([0.0, 0.5, 0.7, 0.75, 0.8, 0.95, 1.0], (targets, preds))  # many ties
    scores = np.round(rng.random(preds), 1 + int(rng.integers(0, 3)))
    matches = match_boxes(iou, scores)
    pairs = list(zip(matches.targets.tolist(), matches.preds.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    for k, threshold in enumerate(THRESHOLDS):
        there = scores >= threshold
        expected = plain_matches(iou, there)
        assert {pair for pair, paired in zip(pairs, matches.paired, strict=True) if paired[k]} == expected
        lonely = set(np.flatnonzero(there).tolist()) - {column for _, column in expected}
        assert set(np.flatnonzero(matches.unpaired[:, k]).tolist()) == lonely


def test_the_largest_overlap_wins_not_the_highest_score():
    matches = match_boxes(np.array([[0.8, 0.9]]), np.array([0.99, 0.31]))
    assert matches.preds.tolist() == [1, 0]
    assert matches.paired.sum(axis=1).tolist() == [16, 50 - 16]  # up to .30; from .32 to .98 the other
    assert matches.unpaired.sum(axis=1).tolist() == [16, 0]


def test_thresholds_are_those_of_the_official_evaluation():
    assert len(THRESHOLDS) == 51
    assert THRESHOLDS[35] > 0.7  # its rounding: a score of 0.7 does not reach it
    assert match_boxes(np.zeros((0, 1)), np.array([0.7])).unpaired.sum() == 35
    assert match_boxes(np.zeros((0, 1)), np.array([1.0])).unpaired.sum() == 51
    assert match_boxes(np.zeros((0, 1)), np.array([0.0])).unpaired.sum() == 1


def test_last_pixels_belong_to_boxes():
    # 10x10 and 10x5 pixels, the one in the other.
    iou = pixel_iou(np.array([[0.0, 0.0, 9.0, 9.0]]), np.array([[0.0, 0.0, 9.0, 4.0], [20.0, 0.0, 29.0, 9.0]]))
    assert iou[0].tolist() == pytest.approx([0.5, 0.0])
    # One pixel each, 0 apart by corners: they share nothing; by corners alone both would have no area.
    assert pixel_iou(np.array([[3.0, 3.0, 3.0, 3.0]]), np.array([[3.0, 3.0, 3.0, 3.0]])) == pytest.approx(1.0)


def test_an_overlap_of_exactly_the_limit_is_none():
    assert not len(match_boxes(np.array([[0.7]]), np.array([1.0])).targets)
    # 7 of 10 pixels in the region, and 8.
    boxes = np.array([[0.0, 0.0, 9.0, 0.0], [-1.0, 0.0, 8.0, 0.0]])
    assert ignored_boxes(boxes, np.array([[-5.0, 0.0, 6.0, 0.0]])).tolist() == [False, True]


def test_nothing_to_ignore():
    boxes = np.array([[0.0, 0.0, 9.0, 9.0]])
    assert ignored_boxes(boxes, np.zeros((0, 4))).tolist() == [False]
    assert ignored_boxes(np.zeros((0, 4)), boxes).tolist() == []
    # Two halves in two regions are in neither.
    halves = np.array([[0.0, 0.0, 9.0, 4.0], [0.0, 5.0, 9.0, 9.0]])
    assert ignored_boxes(boxes, halves).tolist() == [False]
