"""Vector quantisation: assignment and gradients by hand, restart of dead slots."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from mtdense.models.prototype import ReconstructionDecoder, VectorQuantizer


def quantizer(slots: list[list[float]], **options) -> VectorQuantizer:
    result = VectorQuantizer(len(slots), len(slots[0]), **options)
    with torch.no_grad():
        result.codebook.copy_(torch.tensor(slots))
    return result


def feature(*elements: list[float]) -> torch.Tensor:
    """One image (1, width, 1, n) of these elements."""
    return torch.tensor(elements).t()[None, :, None].clone().requires_grad_()


def test_nearest_slot_by_hand() -> None:
    # Squared distances: (0.4, 0.4) to (0, 0) 0.32, to (1, 1) 0.72; (0.6, 0.7): 0.85, 0.25; (2, -1): 5, 5, a tie.
    vq = quantizer([[0.0, 0.0], [1.0, 1.0]])
    quantised, indices = vq(feature([0.4, 0.4], [0.6, 0.7], [2.0, -1.0]))
    assert indices.tolist() == [[[0, 1, 0]]]
    assert quantised[0, :, 0].t().tolist() == [[0, 0], [1, 1], [0, 0]]


def test_cosine_looks_at_directions_alone() -> None:
    slots = [[1.0, 0.0], [3.0, 3.0]]
    x = feature([0.5, 0.4])
    assert quantizer(slots)(x)[1].item() == 0
    assert quantizer(slots, distance="cosine")(x)[1].item() == 1


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_assignment_is_the_nearest_by_brute_force(seed: int) -> None:
    torch.manual_seed(seed)
    vq = VectorQuantizer(7, 5, init="normal")
    x = torch.randn(2, 5, 3, 4)
    distances = (x[:, None] - vq.codebook[None, :, :, None, None]).square().sum(2)
    assert torch.equal(vq.assign(x), distances.argmin(1))


@pytest.mark.parametrize(
    ("gradient", "of_feature", "of_slots"),
    [
        # Of sum(w * (F + Q)) with w = 1, 2, 4 for the three elements; slot 0 is chosen by the first two.
        ("lookup", [1.0, 2.0, 4.0], [3.0, 4.0]),
        ("straight_through", [2.0, 4.0, 8.0], None),
        ("both", [2.0, 4.0, 8.0], [3.0, 4.0]),
    ],
)
def test_gradients_by_hand(gradient: str, of_feature: list[float], of_slots: list[float] | None) -> None:
    vq = quantizer([[0.0], [1.0]], gradient=gradient)
    x = feature([0.1], [0.3], [0.9])
    quantised, _ = vq(x)
    assert_close(quantised.flatten(), torch.tensor([0.0, 0.0, 1.0]))
    ((x + quantised).flatten() * torch.tensor([1.0, 2.0, 4.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == of_feature
    assert (None if vq.codebook.grad is None else vq.codebook.grad.flatten().tolist()) == of_slots


def test_commitment_and_codebook_distance_by_hand() -> None:
    vq = quantizer([[0.0], [1.0]])
    x = feature([0.1], [0.5], [0.7])
    commitment, codebook = vq.distances(x, vq.assign(x))
    expected = (0.1**2 + 0.5**2 + 0.3**2) / 3
    assert_close(commitment, torch.tensor([expected]))
    assert_close(codebook, torch.tensor([expected]))
    commitment.sum().backward()
    assert vq.codebook.grad is None
    assert_close(x.grad.flatten(), torch.tensor([0.2, 1.0, -0.6]) / 3)
    x.grad = None
    codebook.sum().backward()
    assert x.grad is None
    assert_close(vq.codebook.grad.flatten(), torch.tensor([-1.2, 0.6]) / 3)


def test_distances_weigh_elements() -> None:
    vq = quantizer([[0.0], [1.0]])
    x = torch.tensor([[0.1, 0.5, 0.7], [0.2, 0.0, 0.0]]).view(2, 1, 1, 3)
    shown = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]]).view(2, 1, 3)
    expected = torch.tensor([(0.1**2 + 0.3**2 / 2) / 1.5, 0.0])
    for values in vq.distances(x, vq.assign(x), shown):
        assert_close(values, expected)


def test_initial_codebooks() -> None:
    torch.manual_seed(0)
    uniform = VectorQuantizer(50, 400).codebook
    assert uniform.abs().max().item() <= 1 / 50
    assert uniform.std().item() == pytest.approx(1 / 50 / 3**0.5, rel=0.02)
    assert VectorQuantizer(50, 400, init="normal").codebook.std().item() == pytest.approx(1 / 20, rel=0.02)


def test_dead_slots_move_to_the_image_of_highest_priority() -> None:
    vq = quantizer([[0.0], [1.0], [50.0], [60.0]], dead_code_steps=2)
    x = torch.tensor([[0.1, 0.9], [0.2, 0.8]]).view(2, 1, 1, 2)
    priorities = torch.tensor([[0.0, 0.0, 0.9, 0.1], [1.0, 1.0, 0.3, 0.7]])
    places = torch.tensor([[0.9, 0.9, 0.6, 0.6], [0.1, 0.1, 0.0, 0.0]])
    assert vq.restart(x, vq.assign(x), priorities, places) == 0
    assert vq.idle.tolist() == [0, 0, 1, 1]
    assert vq.restart(x, vq.assign(x), priorities, places) == 2
    # Slot 2: image 0, second element; slot 3: image 1, first element.
    assert_close(vq.codebook.flatten(), torch.tensor([0.0, 1.0, 0.9, 0.2]))
    assert vq.idle.tolist() == [0, 0, 0, 0]


def test_dead_slots_take_elements_that_count() -> None:
    vq = quantizer([[0.0], [1.0], [50.0], [60.0], [70.0]], dead_code_steps=1)
    x = torch.tensor([0.1, 0.9, 0.2, 0.8]).view(1, 1, 1, 4)
    shown = torch.tensor([0.0, 0.0, 0.3, 1.0]).view(1, 1, 4)
    draws = torch.tensor([[0.0, 0.0, 0.0, 0.49, 0.99]])
    # Slot 0 is chosen by the third element, slot 1 by the fourth.
    assert vq.restart(x, vq.assign(x), torch.ones(1, 5), draws, shown) == 3
    assert_close(vq.codebook.flatten(), torch.tensor([0.0, 1.0, 0.2, 0.2, 0.8]))
    # What padding uses does not live.
    assert (
        vq.restart(x[..., :2], vq.assign(x[..., :2]), torch.ones(1, 5), draws, torch.ones(1, 1, 2).cumsum(-1) - 1) == 4
    )
    assert_close(vq.codebook[[0, 2, 3, 4]].flatten(), torch.full((4,), 0.9))


def test_a_used_slot_counts_anew() -> None:
    vq = quantizer([[0.0], [1.0]], dead_code_steps=3)
    draws = torch.zeros(1, 2)
    for value, idle in ((0.1, [0, 1]), (0.2, [0, 2]), (0.9, [1, 0])):
        x = torch.full((1, 1, 1, 1), value)
        vq.restart(x, vq.assign(x), draws, draws)
        assert vq.idle.tolist() == idle
    assert vq.state_dict()["idle"].tolist() == [1, 0]


def test_without_restart_there_is_no_counter() -> None:
    assert list(VectorQuantizer(3, 2).state_dict()) == ["codebook"]


def test_reconstruction_decoder_gives_an_image() -> None:
    decoder = ReconstructionDecoder(16)
    assert [(c.in_channels, c.out_channels) for c in decoder.convs] == [(16, 8), (8, 4), (4, 2), (2, 3)]
    assert decoder(torch.randn(2, 16, 4, 5), (32, 40)).shape == (2, 3, 32, 40)
    assert decoder(torch.randn(1, 16, 2, 3), (27, 41)).shape == (1, 3, 27, 41)
