"""Pairs, maps and terms of the cross-task consistency, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdense.core.errors import ConfigError
from mtdense.models.mtpsl.consistency import (
    Pair,
    choose_pairs,
    needs_noise,
    pair_losses,
    prediction_map,
    target_map,
)
from mtdense.tasks import Depth, Edges, HumanParts, Saliency, SemanticSegmentation, SurfaceNormals

T, F_ = True, False


def test_pairs_of_each_setting():
    labelled = [[T, F_, F_], [F_, T, T], [T, T, T], [F_, F_, F_]]
    partly = [Pair(0, 1, 0), Pair(0, 2, 0), Pair(1, 0, 1), Pair(1, 0, 2)]
    full = [Pair(2, s, t) for s in range(3) for t in range(3) if s != t]
    assert choose_pairs(labelled, "unlabelled") == partly
    assert choose_pairs(labelled, "auto") == partly + full
    # "all" also compares what is labelled itself: image 1 has (1, 2) and (2, 1) too.
    assert choose_pairs(labelled, "all") == [*partly, Pair(1, 1, 2), Pair(1, 2, 1), *full]


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), max_size=3))
@settings(max_examples=40, deadline=None)
def test_numbers_of_pairs(labelled):
    known = [sum(flags) for flags in labelled]
    assert len(choose_pairs(labelled, "unlabelled")) == sum(n * (4 - n) for n in known)
    assert len(choose_pairs(labelled, "auto")) == sum(12 if n == 4 else n * (4 - n) for n in known)
    assert len(choose_pairs(labelled, "all")) == sum(n * 3 for n in known)


def test_terms_by_hand():
    # Two positions; a = (1, 0), (0, 2); b = (1, 1), (0, 1); f = (0, 3), (0, 5).
    a = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])
    b = torch.tensor([[[[1.0, 0.0]], [[1.0, 1.0]]]])
    f = torch.tensor([[[[0.0, 0.0]], [[3.0, 5.0]]]], requires_grad=True)
    root = math.sqrt(0.5)
    cos_ab, cos_af, cos_bf = (root + 1) / 2, (0 + 1) / 2, (root + 1) / 2
    everywhere = torch.ones(1, 1, 2)
    for w in (0.5, 0.0):
        expected = 1 - cos_ab + w * (1 - cos_af) + w * (1 - cos_bf)
        assert pair_losses(a, b, f, everywhere, w).tolist() == pytest.approx([expected])
    second = torch.tensor([[[0.0, 1.0]]])
    assert pair_losses(a, b, f, second, 0.5).tolist() == pytest.approx([0.0], abs=1e-6)


def test_terms_move_both_maps_and_not_the_feature():
    a, b, f = (torch.randn(2, 4, 3, 3, requires_grad=True) for _ in range(3))
    pair_losses(a, b, f, torch.ones(2, 3, 3), 0.5).sum().backward()
    assert a.grad.any() and b.grad.any()
    assert f.grad is None


def test_an_empty_position_is_finite():
    a = torch.zeros(1, 4, 1, 1, requires_grad=True)
    loss = pair_losses(torch.relu(a), torch.zeros(1, 4, 1, 1), torch.zeros(1, 4, 1, 1), torch.ones(1, 1, 1), 0.5)
    loss.sum().backward()
    assert loss.tolist() == [2.0]
    assert not a.grad.any()


def test_a_pair_without_a_position_costs_nothing():
    maps = [torch.randn(2, 4, 3, 3, requires_grad=True) for _ in range(3)]
    weight = torch.stack([torch.zeros(3, 3), torch.ones(3, 3)])
    losses = pair_losses(*maps, weight, 0.5)
    assert losses[0].item() == 0 and losses[1].item() > 0
    losses.sum().backward()
    assert not maps[0].grad[0].any() and maps[0].grad[1].any()


def test_maps_of_classes():
    task = SemanticSegmentation(3)
    target = torch.tensor([[[2, 0, 255]]])
    assert target_map(task, target)[0, :, 0].T.tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0]]
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2])).view(1, 3, 1, 1).requires_grad_()
    # Gumbel noise -log(-log(u)): 0 for u = 1/e, 2 for u = exp(-exp(-2)).
    middle, high = math.exp(-1), math.exp(-math.exp(-2))
    drawn = prediction_map(task, logits, torch.tensor([middle, middle, high]).view(1, 3, 1, 1))
    assert drawn.flatten().tolist() == pytest.approx([0, 0, 1])
    drawn[0, 2].sum().backward()
    soft = torch.tensor([0.5, 0.3, 0.2 * math.exp(2)])
    soft = soft / soft.sum()
    expected = [-soft[2] * soft[0], -soft[2] * soft[1], soft[2] * (1 - soft[2])]
    assert logits.grad.flatten().tolist() == pytest.approx([e.item() for e in expected], abs=1e-6)


def test_draws_have_the_probabilities_of_the_scores():
    probabilities = torch.tensor([0.6, 0.3, 0.1])
    logits = (probabilities.log() + 5).view(1, 3, 1, 1).expand(1, 3, 100, 100)
    generator = torch.Generator().manual_seed(0)
    drawn = prediction_map(SemanticSegmentation(3), logits, torch.rand(1, 3, 100, 100, generator=generator))
    assert drawn.sum(1).unique().tolist() == pytest.approx([1.0], abs=1e-5)
    torch.testing.assert_close(drawn.mean((0, 2, 3)), probabilities, atol=0.015, rtol=0)


def test_noise_of_zero_is_finite():
    drawn = prediction_map(SemanticSegmentation(3), torch.randn(1, 3, 2, 2), torch.zeros(1, 3, 2, 2))
    assert torch.isfinite(drawn).all()


def test_maps_of_measurements():
    task = Depth()
    target = torch.tensor([[[2.0, 4.0, -1.0]]])
    assert target_map(task, target).flatten().tolist() == [0.5, 1.0, 0.0]
    logits = torch.tensor([[[[-1.0, 2.0, 8.0]]], [[[-4.0, -3.0, -2.0]]]])
    assert prediction_map(task, logits)[0].flatten().tolist() == [-0.125, 0.25, 1.0]
    # All negative: an untrained head. The public code turns the sign round.
    assert prediction_map(task, logits, legacy_scale=True)[1].flatten().tolist() == [2.0, 1.5, 1.0]
    assert prediction_map(task, logits)[1].flatten().tolist() == [-1.0, -0.75, -0.5]
    assert prediction_map(task, 1e-6 * logits)[1].flatten().tolist() == pytest.approx([-4e-3, -3e-3, -2e-3])
    assert not target_map(task, torch.full((1, 1, 2), -1.0)).any()


def test_maps_of_vectors_edges_and_pairs_of_classes():
    normals, edges, saliency, parts = SurfaceNormals(), Edges(), Saliency(), HumanParts()
    target = torch.tensor([[0.6, 0.0, -0.8], [0.0, 0.0, 0.0]]).T.reshape(1, 3, 1, 2)
    torch.testing.assert_close(target_map(normals, target)[0, :, 0].T, torch.tensor([[0.8, 0.5, 0.1], [0.5] * 3]))
    torch.testing.assert_close(prediction_map(normals, 5 * target[..., :1]), target_map(normals, target)[..., :1])
    assert target_map(edges, torch.tensor([[[0.0, 1.0, 255.0]]])).flatten().tolist() == [0, 1, 0]
    assert prediction_map(edges, torch.zeros(1, 1, 1, 1)).item() == 0.5
    assert target_map(saliency, torch.tensor([[[0, 1, 255]]]))[0, :, 0].T.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert [needs_noise(task) for task in (parts, saliency, edges, normals, Depth())] == [T, T, F_, F_, F_]


def test_a_task_that_does_not_say_its_form_is_refused(monkeypatch):
    monkeypatch.setattr(Depth, "stored_as", "as_is")
    with pytest.raises(ConfigError, match="'depth' does not say what its outputs are"):
        needs_noise(Depth())
