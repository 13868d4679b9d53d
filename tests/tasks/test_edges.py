from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mtdense.core.errors import ConfigError, DataError
from mtdense.tasks import Edges, LossTerms

LN2 = math.log(2)
# Logits of 0: log 2 per pixel. Image 1: one edge, three others. Image 2: one edge, three pixels ignored.
LOGITS = torch.zeros(2, 1, 1, 4)
TARGET = torch.tensor([[[0.0, 0.0, 0.0, 1.0]], [[1.0, 255.0, 255.0, 255.0]]])


def pooled(terms):
    return LossTerms(terms.sums.sum(0, keepdim=True), terms.counts.sum(0, keepdim=True))


def test_fixed_weight_by_hand_in_both_families():
    task = Edges(positive_weight=0.95)
    terms = task.loss_terms(LOGITS, TARGET, task.valid(TARGET))
    assert terms.counts.tolist() == [[3, 1], [0, 1]]
    # (0.95 + 3 * 0.05) / 4 = 0.275 and 0.95 / 1; the pool (2 * 0.95 + 3 * 0.05) / 5 = 0.41.
    assert task.loss_value(terms).tolist() == pytest.approx([0.275 * LN2, 0.95 * LN2])
    assert task.loss_value(pooled(terms)).item() == pytest.approx(0.41 * LN2)


def test_balanced_weight_by_hand_in_both_families():
    task = Edges(positive_weight=None)
    terms = task.loss_terms(LOGITS, TARGET, task.valid(TARGET))
    # Image 1: w = 3/4: (3/4 + 3 * 1/4) / 4 = 0.375. Image 2: w = 0. The pool: w = 3/5: (2 * 3/5 + 3 * 2/5) / 5 = 0.48.
    assert task.loss_value(terms).tolist() == pytest.approx([0.375 * LN2, 0.0])
    assert task.loss_value(pooled(terms)).item() == pytest.approx(0.48 * LN2)


def test_balanced_weight_without_an_edge_is_zero():
    task = Edges(positive_weight=None)
    target = torch.zeros(1, 3, 3)
    logits = torch.randn(1, 1, 3, 3, requires_grad=True)
    value = task.loss_value(task.loss_terms(logits, target, task.valid(target)))
    value.sum().backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


def test_equals_the_reference_form():
    # Binary cross-entropy with positives weighed w / (1 - w) = 19, times 1 - w.
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(1, 1, 6, 7, generator=generator)
    target = (torch.rand(1, 6, 7, generator=generator) < 0.2).float()
    expected = 0.05 * F.binary_cross_entropy_with_logits(logits[:, 0], target, pos_weight=torch.tensor(19.0))
    task = Edges()
    assert task.loss_value(task.loss_terms(logits, target, task.valid(target))).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_large_logits_stay_finite():
    task = Edges()
    logits = torch.tensor([[[[1e4, -1e4]]]], requires_grad=True)
    value = task.loss_value(
        task.loss_terms(logits, torch.tensor([[[0.0, 1.0]]]), torch.ones(1, 1, 2, dtype=torch.bool))
    )
    value.sum().backward()
    # (0.05 * 1e4 + 0.95 * 1e4) / 2
    assert value.item() == pytest.approx(5000)
    assert torch.isfinite(logits.grad).all()


def test_average_of_ideal_logits_follows_the_majority():
    target = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])
    prediction = Edges().predict(Edges().ideal_logits(target).mean(0, keepdim=True))
    assert prediction[0, 0, 0] > 0.5 > prediction[0, 0, 1]


def rectangle() -> torch.Tensor:
    """An outline, padded to the right and below."""
    target = torch.full((1, 90, 100), 255.0)
    target[:, :80, :80] = 0.0
    target[:, [20, 60], 20:61] = 1.0
    target[:, 20:61, [20, 60]] = 1.0
    return target


def scored(task: Edges, prediction: torch.Tensor, target: torch.Tensor) -> float:
    metric = task.metrics()["odsF"]
    task.update_metric(metric, prediction, target, task.valid(target))
    return metric.compute().item()


# The boundary of a line taken as a region lies up to a pixel beside it: 0.011 of the diagonal is 1.2 pixels.
@pytest.mark.parametrize(("kind", "max_dist"), [("edges", 0.0075), ("labels", 0.011)])
def test_a_perfect_outline_scores_nearly_one(kind, max_dist):
    task = Edges(target_kind=kind, max_dist=max_dist)
    target = rectangle()
    # Strong lines on a weak ground; suppression takes little more than the corners.
    assert scored(task, task.predict(task.ideal_logits(target)), target) > 0.95


def test_padding_is_not_scored():
    target = rectangle()
    prediction = (target == 1).float()
    noisy = torch.where(target == 255, torch.rand(target.shape, generator=torch.Generator().manual_seed(0)), prediction)
    cut = target[:, :80, :80]
    assert scored(Edges(), noisy, target) == scored(Edges(), prediction[:, :80, :80], cut) > 0.95


def test_tolerance_is_an_option_of_the_task():
    target = rectangle()
    shifted = torch.roll((target == 1).float(), 2, dims=2)
    # A diagonal of 113 pixels: 0.0075 forgives 0.8 pixels and 0.03 3.4.
    assert scored(Edges(max_dist=0.0075), shifted, target) < 0.7
    assert scored(Edges(max_dist=0.03), shifted, target) > 0.95
    assert Edges(max_dist=0.011).metrics()["odsF"].protocol.startswith("max_dist=0.011")
    with pytest.raises(ConfigError, match="max_dist"):
        Edges(max_dist=7.5)
    with pytest.raises(ConfigError, match="target_kind"):
        Edges(target_kind="lines")


def test_only_zero_one_and_255():
    checked = Edges().check_label(np.array([[0, 1, 255]], dtype=np.uint8), "x")
    assert checked.dtype == np.float32
    with pytest.raises(DataError, match="label 128 "):
        Edges().check_label(np.array([[0, 128]]), "x")
    with pytest.raises(DataError, match="whole numbers"):
        Edges().check_label(np.array([[0, 0.3]]), "x")


def test_pictures():
    assert Edges().draw(np.array([[0.0, 1.0, 255.0, 0.5]]))[0, :, 0].tolist() == [0, 255, 128, 128]
