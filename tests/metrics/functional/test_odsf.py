from __future__ import annotations

import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from mtdense.core.errors import ConfigError, DataError
from mtdense.metrics.functional.edge_nms import suppress_non_maxima
from mtdense.metrics.functional.odsf import (
    average_precision,
    best_counts,
    edge_counts,
    edge_counts_reference,
    ods,
    ois,
    precision_recall,
    seism_target,
    seism_thresholds,
)
from mtdense.metrics.functional.thinning import thin

ORACLE = os.environ.get("MTDENSE_ORACLE")


def discs(seed: int, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    """A label map of overlapping discs."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int64)
    for k in range(1, 9):
        row, column, radius = rng.integers(shape[0]), rng.integers(shape[1]), rng.integers(6, 25)
        labels[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = k
    return labels


def network_like(target: np.ndarray, seed: int) -> np.ndarray:
    """A blurred, shifted and noisy prediction of a target, as PNGs store it."""
    rng = np.random.default_rng(seed)
    strength = ndimage.gaussian_filter(np.roll(target, 1, axis=seed % 2).astype(np.float64), 1.5)
    noise = ndimage.gaussian_filter(rng.random(target.shape), 1.5)
    return np.clip(255 * (2.5 * strength + 2 * np.abs(noise - 0.5)), 0, 255).astype(np.uint8)


def sparse(seed: int, share: float, shape: tuple[int, int] = (32, 44)) -> np.ndarray:
    """Strengths of pixels that do not touch one another, so that thinning takes none away."""
    rng = np.random.default_rng(seed)
    found = np.zeros(shape, np.float32)
    found[::2, ::2] = np.where(rng.random((shape[0] // 2, shape[1] // 2)) < share, rng.random(), 0)
    found[::2, ::2] *= rng.random((shape[0] // 2, shape[1] // 2)).astype(np.float32)
    return found


def test_thresholds_are_those_of_the_published_scripts():
    expected = [0.001, *(k / 100 for k in range(1, 100)), 0.999]
    assert seism_thresholds().tolist() == expected
    assert (np.diff(seism_thresholds(999)) > 0).all()
    for number in (2, 1000):
        with pytest.raises(ConfigError, match=str(number)):
            seism_thresholds(number)


def test_the_target_is_a_thin_line_between_regions():
    labels = np.zeros((20, 30), np.uint8)
    labels[:, 15:] = 7
    target = seism_target(labels)
    assert (target.sum(1) == 1).all() and target[:, 14].all()
    # An edge map given as labels: lines are doubled and thinned again.
    edge = np.zeros((20, 30), bool)
    edge[10] = True
    assert (seism_target(edge).sum(0) <= 1).all() and seism_target(edge)[[9, 10]].sum() >= 26


@pytest.mark.parametrize("nms", [True, False])
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("max_dist", [0.0075, 0.03])
def test_equals_the_plain_version(nms, strict, max_dist):
    options = {"nms": nms, "strict": strict, "max_dist": max_dist, "thresholds": np.arange(1, 20) / 20}
    for seed in range(3):
        target = seism_target(discs(seed))
        pred = network_like(target, seed)
        counts = edge_counts(pred, [target], **options)
        assert counts.dtype == np.int64 and counts.shape == (19, 4)
        assert np.array_equal(counts, edge_counts_reference(pred, [target], **options))
        assert 0.2 < ods(counts) < 1
        # Strengths as numbers are what the PNG stands for.
        assert np.array_equal(counts, edge_counts(pred / 255, [target], **options))
        assert np.array_equal(counts, edge_counts((pred / 255).astype(np.float32), [target], **options))


def test_a_value_on_the_threshold():
    pred, target = np.zeros((9, 9), np.uint8), np.zeros((9, 9), bool)
    pred[4, 4], target[4, 4] = 51, True  # 51 / 255 = 0.2
    options = {"nms": False, "thresholds": np.array([0.1, 0.2, 0.3])}
    assert edge_counts(pred, [target], strict=True, **options)[:, 3].tolist() == [1, 0, 0]
    assert edge_counts(pred, [target], strict=False, **options)[:, 3].tolist() == [1, 1, 0]


def test_several_annotators():
    first, second = (seism_target(discs(seed)) for seed in (0, 1))
    pred = network_like(first | second, 0)
    options = {"nms": False, "thresholds": np.arange(1, 10) / 10, "max_dist": 0.02}
    alone = [edge_counts(pred, [target], **options) for target in (first, second)]
    both = edge_counts(pred, [first, second], **options)
    assert np.array_equal(both[:, :2], alone[0][:, :2] + alone[1][:, :2])
    assert np.array_equal(both[:, 3], alone[0][:, 3])
    assert (both[:, 2] >= np.maximum(alone[0][:, 2], alone[1][:, 2])).all()
    assert (both[:, 2] <= both[:, 0]).all() and (both[:, 2] < both[:, 0]).any()
    reference = edge_counts_reference(pred, [first, second], **options)
    assert np.array_equal(both[:, [0, 1, 3]], reference[:, [0, 1, 3]])
    # The same annotator twice: every pair twice, every predicted pixel once.
    twice = edge_counts(pred, [first, first], **options)
    assert np.array_equal(twice[:, 0], 2 * twice[:, 2]) and np.array_equal(twice[:, 2], alone[0][:, 2])


def test_a_perfect_prediction_scores_one():
    target = seism_target(discs(2))
    for pred in (target.astype(np.float64), (255 * target).astype(np.uint8)):
        counts = edge_counts(pred, [target], nms=False)
        assert ods(counts) == ois(best_counts(counts)) == 1.0
    # Suppression fades the border, and that is part of the protocol.
    assert 0.9 < ods(edge_counts(target.astype(np.float64), [target])) < 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.05, 0.6), more=st.floats(0.01, 0.3))
def test_false_positives_never_raise_precision(seed, share, more):
    # The target lies in the left half, the additions where no target pixel is near.
    rng = np.random.default_rng(seed)
    target = rng.random((32, 44)) < 0.2
    target[:, 20:] = False
    pred = sparse(seed, share)
    added = np.maximum(pred, sparse(seed + 1, more))
    added[:, :26] = pred[:, :26]
    before, after = (edge_counts(p, [target], nms=False, max_dist=0.05) for p in (pred, added))
    assert np.array_equal(before[:, :3], after[:, :3])
    assert (after[:, 3] >= before[:, 3]).all()
    lower, higher = precision_recall(after)[0], precision_recall(before)[0]
    assert (lower <= higher).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.05, 1.0), wanted=st.floats(0.02, 0.5))
def test_higher_thresholds_find_less(seed, share, wanted):
    # Without thinning the sets are nested; with it they are not.
    target = np.random.default_rng(seed).random((32, 44)) < wanted
    counts = edge_counts(sparse(seed, share), [target], nms=False, max_dist=0.03)
    assert (np.diff(counts[:, [0, 2, 3]], axis=0) <= 0).all()
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, 0] <= np.minimum(counts[:, 1], counts[:, 3])).all()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_larger_distance_finds_more(seed):
    target = seism_target(discs(seed))
    pred = network_like(target, seed)
    found = [edge_counts(pred, [target], max_dist=d)[:, 0] for d in (0.0, 0.0075, 0.011, 0.05)]
    assert (np.diff(found, axis=0) >= 0).all()


def test_threads_agree():
    targets = [seism_target(discs(seed)) for seed in range(4)]
    preds = [network_like(target, seed) for seed, target in enumerate(targets)]
    expected = [edge_counts(pred, [target]) for pred, target in zip(preds, targets, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: edge_counts(preds[k % 4], [targets[k % 4]]), range(12)))
    assert all(np.array_equal(counts, expected[k % 4]) for k, counts in enumerate(found))


def test_special_cases_of_precision_and_recall():
    counts = np.array([[0, 0, 0, 5], [0, 5, 0, 0], [0, 0, 0, 0], [0, 3, 0, 4], [3, 6, 2, 4]])
    precision, recall, f = precision_recall(counts)
    assert precision.tolist()[:2] == [0, 1] and recall.tolist()[:2] == [1, 0] and f.tolist()[:2] == [0, 0]
    assert np.isnan([precision[2], recall[2], f[2]]).all()
    assert (precision[3], recall[3], f[3]) == (0, 0, 0)
    assert (precision[4], recall[4], f[4]) == (0.5, 0.5, 0.5)


def test_scores_by_hand():
    first = np.array([[4, 4, 4, 8], [2, 4, 2, 2]])  # F 2/3, 2/3
    second = np.array([[1, 4, 1, 8], [3, 4, 3, 4]])  # F 1/6, 3/4
    assert best_counts(first).tolist() == [4, 4, 4, 8]
    assert best_counts(second).tolist() == [3, 4, 3, 4]
    assert ods(first + second) == pytest.approx(10 / 14)
    assert ois(best_counts(first) + best_counts(second)) == pytest.approx(2 * 7 / 20)
    # Recall 5/8 at both thresholds, of which the lower one counts: a single point of a curve between two recalls.
    curve = np.array([[8, 8, 8, 16], [4, 8, 4, 4]])
    expected = sum(0.5 + (1 - r / 100) for r in range(50, 101)) / 100
    assert average_precision(curve) == pytest.approx(expected)


def test_nothing_to_score_is_nan():
    nothing = edge_counts(np.zeros((8, 9), np.uint8), [np.zeros((8, 9), bool)])
    assert not nothing.any()
    assert math.isnan(ods(nothing)) and math.isnan(average_precision(nothing))
    assert math.isnan(ois(best_counts(nothing)))


GOOD, TARGET = np.zeros((6, 7), np.float32), np.zeros((6, 7), bool)


@pytest.mark.parametrize(
    ("pred", "targets", "options", "error", "named"),
    [
        (GOOD, [], {}, DataError, "empty"),
        (GOOD, TARGET, {}, DataError, "(6, 7)"),
        (GOOD, [TARGET, TARGET[:5]], {}, DataError, "(5, 7)"),
        (GOOD, [TARGET.astype(np.uint8)], {}, DataError, "uint8"),
        (GOOD[None], [TARGET], {}, DataError, "(1, 6, 7)"),
        (GOOD[:1], [TARGET[:1]], {}, DataError, "(1, 7)"),
        (GOOD.astype(np.int64), [TARGET], {}, DataError, "int64"),
        (TARGET, [TARGET], {}, DataError, "bool"),
        (np.where(np.eye(6, 7), np.nan, GOOD), [TARGET], {}, DataError, "nan"),
        (GOOD + 1.25, [TARGET], {}, DataError, "1.25"),
        (GOOD - 0.5, [TARGET], {}, DataError, "-0.5"),
        (GOOD, [TARGET], {"max_dist": -0.1}, ConfigError, "-0.1"),
        (GOOD, [TARGET], {"max_dist": math.nan}, ConfigError, "nan"),
        (GOOD, [TARGET], {"max_dist": 4.0}, ConfigError, "4.0"),
        (GOOD, [TARGET], {"thresholds": np.array([])}, ConfigError, "(0,)"),
        (GOOD, [TARGET], {"thresholds": np.array([0.5, 0.2])}, ConfigError, "0.2"),
        (GOOD, [TARGET], {"thresholds": np.array([0.5, 1.2])}, ConfigError, "1.2"),
        (GOOD, [TARGET], {"thresholds": np.array([math.nan])}, ConfigError, "nan"),
    ],
)
def test_bad_input_is_named(pred, targets, options, error, named):
    for function in (edge_counts, edge_counts_reference):
        with pytest.raises(error) as caught:
            function(pred, targets, **options)
        assert named in caught.value.problem and caught.value.mend


@pytest.mark.skipif(ORACLE is None, reason="MTDENSE_ORACLE does not name a folder of evaluator results")
@pytest.mark.parametrize(
    ("protocol", "max_dist", "images"),
    [("seism_pascal", 0.0075, 12), ("seism_nyud", 0.011, 12), ("mti_nonms", 0.0075, 3)],
)
def test_equals_the_benchmark_code(protocol, max_dist, images):
    folder = Path(str(ORACLE)) / "odsf"
    ours, theirs, files = 0, 0, sorted((folder / "counts").glob(f"{protocol}_*_r0.npz"))
    assert len(files) == images
    for file in files:
        name = file.stem.removeprefix(f"{protocol}_").removesuffix("_r0")
        assert name in json.loads((folder / "ids.json").read_text(encoding="utf-8"))
        with np.load(file, allow_pickle=False) as arrays:
            thresholds = arrays["thr"]
            expected = np.stack([arrays[key] for key in ("cntR", "sumR", "cntP", "sumP")], 1).astype(np.int64)
        nyud = protocol == "seism_nyud"
        labels = read(folder / "gt" / (f"{name}_b0.png" if nyud else f"{name}_seg0.png"))
        seism = protocol != "mti_nonms"
        counts = edge_counts(
            read(folder / "pred" / f"{name}.png"),
            [seism_target(labels > 0 if nyud else labels)],
            max_dist=max_dist,
            thresholds=thresholds,
            nms=seism,
            strict=seism,
        )
        assert np.array_equal(counts[:, [1, 3]], expected[:, [1, 3]]), name
        # The benchmark's random outlier edges lose pairs, never find more.
        assert ((counts - expected)[:, 0] >= 0).all() and ((counts - expected)[:, 0] <= 10).all(), name
        ours, theirs = ours + counts, theirs + expected
    assert abs(ods(ours) - ods(theirs)) < 5e-4


@pytest.mark.skipif(ORACLE is None, reason="MTDENSE_ORACLE does not name a folder of evaluator results")
def test_comes_close_to_the_benchmark_code_with_several_annotators():
    folder = Path(str(ORACLE)) / "odsf"
    ours, theirs = 0, 0
    for file in sorted((folder / "counts").glob("bsds_*_r0.npz")):
        name = file.stem.removeprefix("bsds_").removesuffix("_r0")
        with np.load(file, allow_pickle=False) as arrays:
            thresholds = arrays["thr"]
            expected = np.stack([arrays[key] for key in ("cntR", "sumR", "cntP", "sumP")], 1).astype(np.int64)
        edges = suppress_non_maxima((read(folder / "pred" / f"{name}.png") / 255).astype(np.float32))
        targets = [read(path) > 0 for path in sorted((folder / "gt").glob(f"{name}_b*.png"))]
        coded = np.rint(255 * edges).astype(np.uint8)
        counts = edge_counts(coded, targets, thresholds=thresholds, nms=False, strict=False)
        assert np.array_equal(counts[:, [1, 3]], expected[:, [1, 3]]), name
        assert ((counts - expected)[:, 0] >= 0).all() and ((counts - expected)[:, 0] <= 10).all(), name
        ours, theirs = ours + counts, theirs + expected
    # Which pixels are paired is not unique, and precision depends on it.
    assert abs(ods(ours) - ods(theirs)) < 1e-3


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_thinning_of_the_target_is_the_callers():
    # Edge maps count as they are; only label maps are turned into thin lines, by `seism_target`.
    target = np.zeros((20, 30), bool)
    target[8:11, 5:25] = True
    assert edge_counts(np.zeros((20, 30), np.uint8), [target])[0, 1] == 60 > thin(target).sum()
