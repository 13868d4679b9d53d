"""Similarity, affinity and task-affinity feature by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from mtdense.models.prototype import TaskPrototype
from mtdense.models.prototype.affinity import task_similarity

SLOTS = [[1.0, 0.0], [0.0, 2.0]]
# One image of two positions.
TOKENS = [[[3.0, 4.0], [0.0, 1.0]]]


def prototype(**options) -> TaskPrototype:
    result = TaskPrototype(2, 2, **options)
    with torch.no_grad():
        result.slots.copy_(torch.tensor(SLOTS))
    return result


def feature(p: TaskPrototype, tokens: torch.Tensor) -> torch.Tensor:
    return p.feature(p.scores(tokens)[1], tokens.dtype)


def softmax(*logits: float) -> list[float]:
    powers = [math.exp(x) for x in logits]
    return [x / sum(powers) for x in powers]


def test_similarities_by_hand() -> None:
    tokens, slots = torch.tensor(TOKENS), torch.tensor(SLOTS)
    assert_close(task_similarity(tokens, slots, "cosine", 0.5)[0], torch.tensor([[[1.2, 1.6], [0.0, 2.0]]]))
    root = 2**0.5
    expected = torch.tensor([[[3 / root, 8 / root], [0.0, 2 / root]]])
    assert_close(task_similarity(tokens, slots, "dot", 0.5)[0], expected)


def test_a_cosine_without_temperature_is_never_confident() -> None:
    """The bounds that speak for a temperature: own slot 1, all others -1."""
    for tasks, bound in ((3, 0.787), (5, 0.649)):
        slots = -torch.ones(tasks, 1)
        slots[0] = 1
        affinity = task_similarity(torch.ones(1, 1), slots, "cosine", 1.0)[0].softmax(-1)
        assert affinity[0, 0].item() == pytest.approx(bound, abs=5e-4)


def test_affinity_of_each_position() -> None:
    p = prototype(temperature=0.5)
    rows = [softmax(1.2, 1.6), softmax(0.0, 2.0)]
    assert_close(p.scores(torch.tensor(TOKENS))[0].softmax(-1), torch.tensor([rows]))
    # A P: the first slot is (1, 0), the second (0, 2).
    assert_close(feature(p, torch.tensor(TOKENS)), torch.tensor([[[a, 2 * b] for a, b in rows]]))


def test_pooled_affinity_gives_one_key() -> None:
    # The mean position is (1.5, 2.5).
    cosines = 1.5 / 8.5**0.5, 2.5 / 8.5**0.5
    a, b = softmax(*(x / 0.5 for x in cosines))
    p = prototype(temperature=0.5, affinity="pooled")
    assert p.scores(torch.tensor(TOKENS))[0].shape == (1, 1, 2)
    assert_close(feature(p, torch.tensor(TOKENS)), torch.tensor([[[a, 2 * b]]]))


def test_tokens_are_slots_weighted_by_affinity() -> None:
    cosines = 1.5 / 8.5**0.5, 2.5 / 8.5**0.5
    a, b = softmax(*(x / 0.5 for x in cosines))
    p = prototype(temperature=0.5, affinity="tokens")
    assert_close(feature(p, torch.tensor(TOKENS)), torch.tensor([[[a, 0.0], [0.0, 2 * b]]]))


@pytest.mark.parametrize("affinity", ["per_position", "pooled", "tokens"])
def test_what_moves_the_slots(affinity: str) -> None:
    gradients = {}
    for gradient in ("akg", "affinity", "all"):
        p = prototype(affinity=affinity, gradient=gradient)
        tokens = torch.tensor(TOKENS, requires_grad=True)
        (feature(p, tokens) * torch.tensor([1.0, 3.0])).sum().backward()
        assert tokens.grad is not None
        assert tokens.grad.abs().sum() > 0
        gradients[gradient] = p.slots.grad
    assert gradients["akg"] is None
    assert gradients["affinity"].abs().sum() > 0
    # Beside what flows through the affinity, each slot is a summand of A P itself.
    direct = gradients["all"] - gradients["affinity"]
    a = prototype(affinity=affinity).scores(torch.tensor(TOKENS))[0].softmax(-1).sum((0, 1))
    assert_close(direct, a[:, None] * torch.tensor([1.0, 3.0]))


def test_initial_slots() -> None:
    torch.manual_seed(0)
    normal = TaskPrototype(5, 1024).slots
    assert normal.std().item() == pytest.approx(1 / 32, rel=0.05)
    orthogonal = TaskPrototype(5, 1024, init="orthogonal").slots
    assert_close(orthogonal @ orthogonal.t(), torch.eye(5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["cosine", "dot"])
def test_both_similarities_have_the_gradient_of_the_plain_formula(kind: str) -> None:
    torch.manual_seed(0)
    elements, slots = torch.randn(2, 5, 4), torch.randn(3, 4)
    weights = torch.randn(2, 2, 5, 3)

    def plain(x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        if kind == "dot":
            return torch.einsum("bld,td->blt", x, p) / 2
        return torch.cosine_similarity(x[:, :, None], p, dim=-1) / 0.3

    results = []
    for shared in (True, False):
        x, p = elements.clone().requires_grad_(), slots.clone().requires_grad_()
        moving, fixed = task_similarity(x, p, kind, 0.3) if shared else (plain(x, p), plain(x, p.detach()))
        ((moving * weights[0]).sum() + (fixed * weights[1]).sin().sum()).backward()
        results.append((moving, fixed, x.grad, p.grad))
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs)
    with torch.no_grad():
        assert_close(task_similarity(elements, slots, kind, 0.3)[1], plain(elements, slots))
