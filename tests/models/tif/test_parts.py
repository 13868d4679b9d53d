"""SAFF, SFD and LTHD on cases worked out by hand, and the interpolation of attention."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mtdense.models.tif import (
    DeconvolutionPyramid,
    LowToHighDiffusion,
    ScaleAttentiveFusion,
    SelfFeatureDistillation,
    TIFOptions,
    resize_attention,
)
from mtdense.models.tif.lthd import combine_attention


def options(**own: Any) -> TIFOptions:
    """One channel, one head, no norm: what a hand can follow."""
    plain = {"width": 1, "num_heads": 1, "sa_norm": False, "token_norm": "none", "ffn_norm": "none"}
    return TIFOptions(**{**plain, **own})


def fill(module: nn.Module, weight: list[float], bias: list[float] | None = None) -> None:
    with torch.no_grad():
        own: Any = module
        own.weight.copy_(torch.tensor(weight).view_as(own.weight))
        if bias is not None:
            own.bias.copy_(torch.tensor(bias))


def row(values: list[float]) -> Tensor:
    """A map of one image, one channel and one line."""
    return torch.tensor(values)[None, None, None]


def gelu(x: float) -> float:
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


# ---- SAFF ----------------------------------------------------------------------------------------------------------
def hand_saff(**own: Any) -> ScaleAttentiveFusion:
    saff = ScaleAttentiveFusion(1, [1, 1, 1, 1], options(**own))
    fill(saff.align, [1.0, 2.0, 3.0], [0.0])
    fill(saff.fuse[0], [1.0, 0.5], [-1.0])
    fill(saff.fuse[2], [2.0], [1.0])
    # The middle less the left neighbour.
    fill(saff.spatial[0], [0, 0, 0, -1, 1, 0, 0, 0, 0], [0.0])
    fill(saff.mix, [0.5], [1.0])
    return saff


def test_saff_by_hand() -> None:
    sources = [torch.full((1, 1, *size), value) for size, value in (((4, 4), 1.0), ((2, 2), 7.0), ((1, 1), 10.0))]
    sources.append(torch.full((1, 1, 1, 1), 100.0))
    # Y = 1 + 2 * 10 + 3 * 100 = 321; SFF = 2 relu(2 + 321 / 2 - 1) + 1 = 324; with XL = 2: SFX = 326 everywhere. The
    # depthwise convolution sees 0 left of the image: 326, then 0; half of it and 1.
    out = hand_saff()(sources, torch.full((1, 1, 2, 2), 2.0))
    assert out[0, 0].tolist() == [[164.0, 1.0], [164.0, 1.0]]


def test_saff_does_not_read_its_own_raw_map_and_rectifies() -> None:
    sources = [torch.zeros(1, 1, 4, 4), torch.full((1, 1, 2, 2), 7.0), torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)]
    # Y = 0; SFF = 2 relu(-3 - 1) + 1 = 1; SFX = -2; relu(-2) = 0 left, relu(0) = 0 right.
    out = hand_saff()(sources, torch.full((1, 1, 2, 2), -3.0))
    assert out.flatten().tolist() == [1.0] * 4
    sources[1] = sources[1] * 100
    assert torch.equal(hand_saff()(sources, torch.full((1, 1, 2, 2), -3.0)), out)


def test_averaging_sees_what_bilinear_shrinking_skips() -> None:
    corner = torch.zeros(1, 1, 4, 4)
    corner[..., 0, 0] = 16.0
    results = {}
    for how in ("bilinear", "adaptive_average"):
        saff = ScaleAttentiveFusion(2, [1, 1, 1, 1], options(sa_resize=how))
        results[how] = saff._resize(corner, (1, 1)).item(), saff._resize(torch.ones(1, 1, 1, 1), (2, 2)).mean().item()
    assert results == {"bilinear": (0.0, 1.0), "adaptive_average": (1.0, 1.0)}


# ---- SFD -----------------------------------------------------------------------------------------------------------
def hand_sfd(**own: Any) -> SelfFeatureDistillation:
    sfd = SelfFeatureDistillation(2, options(**own))
    fill(sfd.query, [1.0])
    fill(sfd.key_values[0], [1.0])
    fill(sfd.key_values[1], [2.0])
    fill(sfd.ffn.layers[0], [2.0], [0.0])
    fill(sfd.ffn.layers[2], [1.0], [0.5])
    return sfd


def test_sfd_by_hand() -> None:
    # K = V = x + 2x = (0, 3), Q = (0, 1): scores ((0, 0), (0, 3)).
    out, scores = hand_sfd()(row([0.0, 1.0]))
    assert scores[0, 0].tolist() == [[0.0, 0.0], [0.0, 3.0]]
    share = math.exp(3) / (1 + math.exp(3))
    mixed = [1.5, 3 * share + 1]
    assert out.flatten().tolist() == pytest.approx([m + gelu(2 * m) + 0.5 for m in mixed])


def test_cross_sfd_by_hand() -> None:
    # The first map reads the first task, the second the second: K = V = (0, 1) + 2 (1, 1) = (2, 3).
    own, other = row([0.0, 1.0]), row([1.0, 1.0])
    out, scores = hand_sfd()(own, [own, other])
    assert scores[0, 0].tolist() == [[0.0, 0.0], [2.0, 3.0]]
    share = math.e / (1 + math.e)
    mixed = [2.5, 2 + share + 1]
    assert out.flatten().tolist() == pytest.approx([m + gelu(2 * m) + 0.5 for m in mixed])


def test_queries_of_another_map() -> None:
    _, scores = hand_sfd()(row([0.0, 1.0]), None, row([2.0, -1.0]))
    assert scores[0, 0].tolist() == [[0.0, 6.0], [0.0, -3.0]]


def test_heads_and_scaling() -> None:
    """Each head has its own half of the channels; scores are divided by the root of a head's width."""
    x = torch.zeros(1, 8, 1, 2)
    x[0, :4, 0, 1] = 1.0
    x[0, 4:, 0, 0] = 3.0
    for scaled, factor in ((True, 0.5), (False, 1.0)):
        sfd = SelfFeatureDistillation(1, options(width=8, num_heads=2, attention_scaling=scaled))
        for linear in (sfd.query, sfd.key_values[0]):
            fill(linear, torch.eye(8).flatten().tolist())
        scores = sfd.attend(x)[0]
        assert scores[0, 0].tolist() == [[0.0, 0.0], [0.0, 4 * factor]]
        assert scores[0, 1].tolist() == [[36 * factor, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("norm", ["layer", "separate"])
def test_tokens_are_normalised(norm: str) -> None:
    torch.manual_seed(0)
    sfd = SelfFeatureDistillation(1, options(width=4, num_heads=1, token_norm=norm)).double()
    # Large, so that the norm's epsilon is nothing.
    x = torch.randn(1, 4, 2, 3, dtype=torch.float64) * 100
    assert torch.allclose(sfd.attend(x)[0], sfd.attend(x * 5 + 200)[0], atol=1e-6)
    assert not torch.allclose(sfd(x)[0], sfd(x * 5 + 200)[0], atol=1.0)
    parameters = sum(p.numel() for p in sfd.parameters())
    plain = sum(p.numel() for p in SelfFeatureDistillation(1, options(width=4, num_heads=1)).parameters())
    assert parameters - plain == {"layer": 8, "separate": 16}[norm]


# ---- LTHD ----------------------------------------------------------------------------------------------------------
def hand_lthd(**own: Any) -> LowToHighDiffusion:
    lthd = LowToHighDiffusion(options(**own)).eval()
    fill(lthd.value, [2.0])
    fill(lthd.ffn.layers[0], [1.0], [0.0])
    fill(lthd.ffn.layers[2], [1.0])
    convolution, norm = lthd.fuse[0], lthd.fuse[1]
    fill(convolution, [1.0] * convolution.weight.numel())
    with torch.no_grad():
        norm.running_mean.fill_(10.0)
        norm.running_var.fill_(4.0 - norm.eps)
    return lthd


SCORES = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])[None, None]
HIGH = [0.0, 2.0, 4.0, 8.0]


def relu(values: list[float]) -> list[float]:
    return [max(0.0, v) for v in values]


@pytest.mark.parametrize(
    ("own", "places"),
    [
        # Means (1, 6), doubled (2, 12), by rows (1/4, 3/4) and (1/2, 1/2).
        ({}, (9.5, 7.0)),
        # By columns (1/4, 1/2) and (3/4, 1/2).
        ({"lthd_mixing": "columns"}, (6.5, 7.5)),
        # Maxima (2, 8), doubled (4, 16).
        ({"lthd_pool": "max"}, (13.0, 10.0)),
    ],
    ids=["rows", "columns", "max"],
)
def test_lthd_by_hand(own: dict[str, Any], places: tuple[float, float]) -> None:
    out = hand_lthd(**own)(row(HIGH), SCORES, (1, 2))
    a, b = gelu(places[0]), gelu(places[1])
    spread = [a, 0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b, b]
    expected = relu([(s + x - 10) / 2 for s, x in zip(spread, HIGH, strict=True)])
    assert out.flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_lthd_without_relu_and_with_both_maps() -> None:
    plain = hand_lthd(fuse_activation=False)(row(HIGH), SCORES, (1, 2))
    assert plain.min().item() == pytest.approx((9.5 - 10) / 2, abs=1e-5)
    # With ones as weights, the convolution of both maps is their sum.
    both = hand_lthd(fuse_activation=False, lthd_fuse="concat")(row(HIGH), SCORES, (1, 2))
    assert torch.allclose(both, plain)


def test_lthd_residual() -> None:
    out = hand_lthd(lthd_ffn_residual=True)(row(HIGH), SCORES, (1, 2))
    assert out.flatten()[0].item() == pytest.approx((9.5 + gelu(9.5) - 10) / 2, abs=1e-5)


def test_detached_attention_gets_no_gradient() -> None:
    for detached in (False, True):
        scores = SCORES.clone().requires_grad_()
        x = row(HIGH).requires_grad_()
        hand_lthd(detach_attention=detached)(x, scores, (1, 2)).sum().backward()
        assert x.grad is not None and bool(x.grad.any())
        assert (scores.grad is None) is detached


# ---- interpolation of attention ------------------------------------------------------------------------------------
def interpolation(old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """U: what bilinear resizing does to each of the unit maps, (places of new, places of old)."""
    units = torch.eye(old[0] * old[1], dtype=torch.float64).unflatten(1, old)[:, None]
    return F.interpolate(units, size=new, mode="bilinear", align_corners=False).flatten(1).T


sides = st.tuples(st.integers(1, 4), st.integers(1, 5))


@settings(max_examples=20, deadline=None)
@given(old=sides, new=sides, seed=st.integers(0, 99))
def test_two_steps_are_one_product(old: tuple[int, int], new: tuple[int, int], seed: int) -> None:
    number = old[0] * old[1]
    scores = torch.randn(2, 3, number, number, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    u = interpolation(old, new)
    assert torch.allclose(resize_attention(scores, old, new), u @ scores @ u.T, atol=1e-12)


def test_scores_are_added_before_the_softmax() -> None:
    """Equation 11 at the paper's grids of a stride-32 and a stride-16 map, on a small image."""
    grids = {2: (3, 5), 3: (2, 3)}
    generator = torch.Generator().manual_seed(0)
    fine = torch.randn(1, 2, 15, 15, generator=generator, dtype=torch.float64)
    coarse = torch.randn(1, 2, 6, 6, generator=generator, dtype=torch.float64)
    u = interpolation((2, 3), (3, 5))
    assert torch.allclose(combine_attention({3: coarse, 2: fine}, grids), u @ coarse @ u.T + fine)
    assert torch.equal(combine_attention({2: fine}, grids), fine)
    assert torch.allclose(combine_attention({3: coarse}, grids), u @ coarse @ u.T)


def test_pyramid_of_a_vit() -> None:
    pyramid = DeconvolutionPyramid(2)
    with torch.no_grad():
        for convolution in (pyramid.to_stride_4[0], pyramid.to_stride_4[1], pyramid.to_stride_8):
            convolution.weight.copy_(torch.eye(2)[:, :, None, None].expand(2, 2, 4, 4))
            convolution.bias.zero_()
    maps = [torch.full((1, 2, 3, 5), float(i)) for i in range(1, 5)]
    maps[3][0, 0, 0, 0] = 9.0
    a, b, c, d = pyramid(maps)
    assert [tuple(x.shape[-2:]) for x in (a, b, c, d)] == [(12, 20), (6, 10), (3, 5), (2, 3)]
    # Each place of an enlarged map is in reach of four taps of the kernel, of one at a corner.
    assert (b[0, 0, 3, 4].item(), b[0, 0, 0, 0].item()) == (8.0, 2.0)
    assert a[0, 0, 5, 8].item() == 16.0
    assert torch.equal(c, maps[2])
    assert d[0, 0].flatten().tolist() == [9.0, 4.0, 4.0, 4.0, 4.0, 4.0]
