from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mtdense.core.errors import ConfigError, DataError
from mtdense.tasks import LossTerms, Saliency

LN2 = math.log(2)


def test_loss_by_hand_in_both_families():
    # All pixels of image 1 at probability 1/2: loss log 2 each; three negatives, one positive.
    # Image 2: a negative at probability 1/4 of "rest" (2 log 2), a positive at 1/2 (log 2), two pixels ignored.
    even, uneven = [1 / 2, 1 / 2], [1 / 4, 3 / 4]
    logits = torch.tensor([[even, even, even, even], [uneven, even, even, even]]).log().movedim(-1, 1).unsqueeze(2)
    target = torch.tensor([[[0, 0, 0, 1]], [[0, 1, 255, 255]]])
    task = Saliency()
    terms = task.loss_terms(logits, target, task.valid(target))
    assert terms.counts.tolist() == [[3, 1], [1, 1]]
    # Image 1: r = 3/4: (1/4 * 3 + 3/4 * 1) / 4 = 0.375. Image 2: r = 1/2: (1/2 * 2 + 1/2 * 1) / 2 = 0.75.
    assert task.loss_value(terms).tolist() == pytest.approx([0.375 * LN2, 0.75 * LN2])
    # The batch: r = 4/6, S_neg = 5, S_pos = 2: (1/3 * 5 + 2/3 * 2) / 6 = 0.5; not the mean of the two above.
    pool = LossTerms(terms.sums.sum(0, keepdim=True), terms.counts.sum(0, keepdim=True))
    assert task.loss_value(pool).item() == pytest.approx(0.5 * LN2)


def test_equals_a_weighted_cross_entropy_over_the_pixel_count():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 5, 6, generator=generator)
    target = torch.randint(0, 2, (1, 5, 6), generator=generator)
    target[0, 0] = 255
    valid = target != 255
    share = float((target == 0).sum() / valid.sum())
    weights = torch.tensor([1 - share, share])
    expected = F.cross_entropy(logits, target, weights, ignore_index=255, reduction="sum") / valid.sum()
    task = Saliency()
    assert task.loss_value(task.loss_terms(logits, target, valid)).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_alone_weighs_nothing(only):
    target = torch.full((1, 2, 2), only)
    task = Saliency()
    assert task.loss_value(task.loss_terms(torch.randn(1, 2, 2, 2), target, task.valid(target))).item() == 0


def test_prediction_is_the_probability_of_salient():
    logits = torch.tensor([[1 / 4, 3 / 4]]).log().view(1, 2, 1, 1)
    assert Saliency().predict(logits).item() == pytest.approx(0.75)


def test_average_of_ideal_logits_follows_the_majority():
    target = torch.tensor([[[1, 0]], [[1, 0]], [[0, 1]]])
    prediction = Saliency().predict(Saliency().ideal_logits(target).mean(0, keepdim=True))
    assert prediction[0, 0, 0] > 0.5 > prediction[0, 0, 1]


@pytest.mark.parametrize("convention", ["clean", "invpt", "astmt"])
def test_max_f_finds_the_threshold_that_parts_the_classes(convention):
    task = Saliency(maxf_convention=convention)
    metric = task.metrics()["maxF"]
    target = torch.tensor([[[0, 0, 1, 255]]])
    task.update_metric(metric, torch.tensor([[[0.2, 0.5, 0.9, 0.1]]]), target, task.valid(target))
    assert metric.compute().item() == pytest.approx(1.0)


def test_the_second_sigmoid_cannot_tell_high_probabilities_apart():
    # Between 0.8473 and 1 no threshold of InvPT's convention lies.
    target = torch.tensor([[[0, 1]]])
    prediction = torch.tensor([[[0.87, 0.97]]])
    scores = {}
    for convention in ("clean", "invpt"):
        task = Saliency(maxf_convention=convention)
        metric = task.metrics()["maxF"]
        task.update_metric(metric, prediction, target, task.valid(target))
        scores[convention] = metric.compute().item()
    # Precision 1/2 and recall 1 at best: F = 1.3 * 0.5 / (0.3 * 0.5 + 1).
    assert scores == {"clean": pytest.approx(1.0), "invpt": pytest.approx(0.65 / 1.15)}
    with pytest.raises(ConfigError, match="convention"):
        Saliency(maxf_convention="mine")


def test_only_zero_one_and_255():
    assert Saliency().check_label(np.array([[False, True]]), "x").tolist() == [[0, 1]]
    with pytest.raises(DataError, match="label 2 "):
        Saliency().check_label(np.array([[0, 2]]), "x")


def test_pictures():
    assert Saliency().draw(np.array([[0, 1, 255]]))[0].tolist() == [[0] * 3, [255] * 3, [128] * 3]
