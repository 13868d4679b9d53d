"""TKE, TC and the reconstruction error by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from mtdense.models.prototype.losses import GlobalBatch, consistency_loss, embedding_loss, reconstruction_errors

LN3 = math.log(3)


def batch(*rows: list[bool]) -> GlobalBatch:
    """Flags of each task, a row per task."""
    names = [str(i) for i in range(len(rows))]
    flags = {name: torch.tensor(row) for name, row in zip(names, rows, strict=True)}
    return GlobalBatch.of(names, flags, torch.zeros(len(rows[0]), 3, 2, 2))


def test_counts() -> None:
    counts = GlobalBatch.of(["a", "b"], {"a": torch.tensor([True, False])}, torch.zeros(2, 3, 4, 4))
    assert counts.mask.tolist() == [[1, 0], [0, 0]]
    assert counts.images.item() == 2
    assert counts.labelled.tolist() == [1, 0]
    assert counts.mean(torch.tensor([1.0, 4.0])).item() == 2.5


# Logits (ln 3, 0) are probabilities (3/4, 1/4); (0, 0) halves. Two images of two positions.
SCORES = [
    torch.tensor([[[LN3, 0.0], [0.0, 0.0]], [[0.0, LN3], [0.0, LN3]]]),
    torch.tensor([[[LN3, 0.0], [LN3, 0.0]], [[0.0, 0.0], [0.0, LN3]]]),
]
# Minus the logarithm of the own slot's affinity, mean over positions: task 0, then task 1.
HALF, THREE, ONE = math.log(2), math.log(4 / 3), math.log(4)
PAIRS = [[(THREE + HALF) / 2, ONE], [ONE, (HALF + THREE) / 2]]


@pytest.mark.parametrize(
    ("flags", "average", "everywhere", "expected"),
    [
        ([[True, False], [False, True]], "pairs", False, (PAIRS[0][0] + PAIRS[1][1]) / 2),
        ([[True, True], [False, True]], "pairs", False, (PAIRS[0][0] + PAIRS[0][1] + PAIRS[1][1]) / 3),
        ([[True, True], [False, True]], "tasks", False, ((PAIRS[0][0] + PAIRS[0][1]) / 2 + PAIRS[1][1]) / 2),
        ([[True, True], [False, False]], "tasks", False, (PAIRS[0][0] + PAIRS[0][1]) / 2),
        ([[True, True], [False, True]], "images", False, (PAIRS[0][0] + PAIRS[0][1] + PAIRS[1][1]) / 2),
        ([[True, False], [False, False]], "pairs", True, sum(PAIRS[0] + PAIRS[1]) / 4),
        ([[True, False], [False, False]], "tasks", True, sum(PAIRS[0] + PAIRS[1]) / 4),
        ([[True, False], [False, False]], "images", True, sum(PAIRS[0] + PAIRS[1]) / 2),
        ([[False, False], [False, False]], "pairs", False, 0.0),
        ([[False, False], [False, False]], "tasks", False, 0.0),
    ],
)
def test_embedding_loss_by_hand(flags: list[list[bool]], average: str, everywhere: bool, expected: float) -> None:
    value = embedding_loss(SCORES, batch(*flags), average, everywhere)
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_embedding_gradient_by_hand() -> None:
    """Cross-entropy's gradient is affinity minus one-hot, over positions and pairs; unlabelled pairs get none."""
    scores = [s.clone().requires_grad_() for s in SCORES]
    embedding_loss(scores, batch([True, False], [False, True]), "pairs", False).backward()
    assert_close(scores[0].grad[0], torch.tensor([[-0.25, 0.25], [-0.5, 0.5]]) / 4)
    assert not scores[0].grad[1].any()
    assert not scores[1].grad[0].any()


# Two images of two positions; means over positions: task 0 (2, 1) and (0, -1), task 1 (0, 3) and (0, 1).
TOKENS = [
    torch.tensor([[[2.0, 2.0], [2.0, 0.0]], [[0.0, -1.0], [0.0, -1.0]]]),
    torch.tensor([[[0.0, 3.0], [0.0, 3.0]], [[1.0, 1.0], [-1.0, 1.0]]]),
]
SLOTS = torch.tensor([[2.0, 0.0], [0.6, 0.8]])
BOTH = [[True, True], [True, True]]


def test_consistency_of_the_batch_mean_by_hand() -> None:
    # Means of the batch: (1, 0) and (0, 2). Cosines: task 0 to its slot 1, to the other 0.6; task 1: 0.8, 0.
    value = consistency_loss(TOKENS, SLOTS, batch(*BOTH), "hinge", "batch", 0.1)
    assert value.item() == pytest.approx((0 + 0.2) / 2 + (0.6 + 0) / 2)
    # Labels do not matter: unlabelled images count alike.
    unlabelled = consistency_loss(TOKENS, SLOTS, batch([True, False], [False, False]), "hinge", "batch", 0.1)
    assert unlabelled.item() == value.item()


def test_negative_cosines_cost_nothing() -> None:
    slots = torch.tensor([[1.0, 0.0], [-0.6, 0.8]])
    value = consistency_loss(TOKENS, slots, batch(*BOTH), "hinge", "batch", 0.1)
    assert value.item() == pytest.approx((0 + 0.2) / 2)


def test_consistency_of_each_image_by_hand() -> None:
    root = 5**0.5
    # Task 0: (2, 1) has cosines 2/root, 2/root to the slots; (0, -1) has 0, -0.8. Task 1: both 0.8 and 0.
    first = ((1 - 2 / root) + 0.2) / 2 + (2 / root + 0) / 2
    second = ((1 - 0) + 0.2) / 2 + 0
    value = consistency_loss(TOKENS, SLOTS, batch(*BOTH), "hinge", "image", 0.1)
    assert value.item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_contrast_by_hand() -> None:
    value = consistency_loss(TOKENS, SLOTS, batch(*BOTH), "infonce", "batch", 0.5)
    own = math.exp(2), math.exp(1.6)
    other = math.exp(1.2), math.exp(0)
    expected = sum(-math.log(a / (a + b)) for a, b in zip(own, other, strict=True)) / 2
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_anchors_are_means_of_labelled_images() -> None:
    # Anchor of task 0: its first image, (2, 1); of task 1: the mean of both, (0, 2).
    root = 5**0.5
    value = consistency_loss(TOKENS, SLOTS, batch([True, False], [True, True]), "anchor", "batch", 0.1)
    assert value.item() == pytest.approx(((1 - 2 / root) + 0) / 2 + (0 + 1 / root) / 2, rel=1e-6)
    # Without a label of task 1 there is one anchor: task 0 is drawn to it, task 1 kept from it.
    value = consistency_loss(TOKENS, SLOTS, batch([True, False], [False, False]), "anchor", "batch", 0.1)
    assert value.item() == pytest.approx((1 - 2 / root) + 1 / root, rel=1e-6)
    value = consistency_loss(TOKENS, SLOTS, batch([False, False], [False, False]), "anchor", "batch", 0.1)
    assert value.item() == 0


def test_anchors_have_no_gradient_of_their_own() -> None:
    """With all images labelled, feature and anchor agree, where the cosine is flat: only separation pulls."""
    tokens = [x.clone().requires_grad_() for x in TOKENS]
    slots = SLOTS.clone().requires_grad_()
    consistency_loss(tokens, slots, batch(*BOTH), "anchor", "batch", 0.1).backward()
    assert slots.grad is None
    # d cos(f, a) / d f at f = (1, 0), a = (0, 2) is (0, 1) / |f|; the hinge is at its corner, where torch lets it pass.
    assert_close(tokens[0].grad[:, :, 1], torch.full((2, 2), 1 / 2 / 4))


def test_consistency_gradient_of_the_slots_by_hand() -> None:
    slots = SLOTS.clone().requires_grad_()
    consistency_loss(TOKENS, slots, batch(*BOTH), "hinge", "batch", 0.1).backward()
    # Slot 1, a unit vector: -1/2 d cos(f_1) + 1/2 d cos(f_0), d cos(f) = f - cos * p for unit f and p.
    p = torch.tensor([0.6, 0.8])
    own, other = torch.tensor([0.0, 1.0]) - 0.8 * p, torch.tensor([1.0, 0.0]) - 0.6 * p
    assert_close(slots.grad[1], (other - own) / 2)


@given(st.floats(0.1, 10), st.floats(0.1, 10))
@settings(max_examples=15, deadline=None)
def test_consistency_ignores_lengths(a: float, b: float) -> None:
    scaled = consistency_loss(
        [a * x for x in TOKENS], SLOTS * torch.tensor([[b], [a]]), batch(*BOTH), "hinge", "batch", 0.1
    )
    assert scaled.item() == pytest.approx(0.4, rel=1e-5)


def test_one_task_has_nobody_to_be_kept_from() -> None:
    value = consistency_loss(TOKENS[:1], SLOTS[:1], batch([True, True]), "hinge", "batch", 0.1)
    assert value.item() == pytest.approx(0, abs=1e-6)


def test_reconstruction_errors_by_hand() -> None:
    image = torch.zeros(2, 3, 1, 2)
    image[1] = 1
    guess = torch.full_like(image, 0.5)
    guess[1, 0] = 4
    assert_close(reconstruction_errors(image, guess, "mse"), torch.tensor([0.25, (2 * 9 + 4 * 0.25) / 6]))
    assert_close(reconstruction_errors(image, guess, "l1"), torch.tensor([0.5, (2 * 3 + 4 * 0.5) / 6]))
    # Of image 1 the first pixel counts (one channel of it is 3 off), of image 0 none.
    shown = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]]])
    guess[1, 0, 0, 1] = 9
    assert_close(reconstruction_errors(image, guess, "mse", shown), torch.tensor([0, (9 + 2 * 0.25) / 3]))


def test_positions_weigh_by_hand() -> None:
    weights = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    value = embedding_loss(SCORES, batch([True, False], [False, True]), "pairs", False, weights)
    assert value.item() == pytest.approx(((THREE + 3 * HALF) / 4 + HALF) / 2, rel=1e-6)
    # Means: task 0 (2, 0.5) and (0, -1), task 1 (0, 3) and (1, 1); of the batch (1, -0.25) and (0.5, 2).
    a, b = torch.tensor([1, -0.25]), torch.tensor([0.5, 2])
    cosines = [[float(torch.cosine_similarity(x, y, dim=0)) for y in SLOTS] for x in (a, b)]
    expected = (2 - cosines[0][0] - cosines[1][1]) / 2 + (cosines[0][1] + cosines[1][0]) / 2
    value = consistency_loss(TOKENS, SLOTS, batch(*BOTH), "hinge", "batch", 0.1, weights)
    assert value.item() == pytest.approx(expected, rel=1e-6)
