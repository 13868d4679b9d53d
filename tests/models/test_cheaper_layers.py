"""Layers that do the same for less: a convolution of enlarged maps, and what is not kept for the backward pass."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from mtdense.models.layers.frugal import norm_act_conv
from mtdense.models.layers.resized_conv import conv_of_resized, is_cheaper
from mtdense.models.layers.task_maps import resize


def maps(channels: int, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, channels, *s, generator=generator, dtype=torch.float64).requires_grad_() for s in sizes]


@pytest.mark.parametrize(
    ("groups", "dilation", "bias", "sizes", "size"),
    [
        (1, 1, True, [(3, 4), (5, 7), (11, 14)], (22, 28)),
        (2, 2, False, [(5, 7)], (10, 13)),
        (2, 1, True, [(4, 5), (8, 10)], (8, 10)),
    ],
    ids=["three levels", "odd, dilated, grouped", "one as it is"],
)
def test_convolution_of_enlarged_maps(
    groups: int, dilation: int, bias: bool, sizes: list[tuple[int, int]], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4 * groups, 3 * groups, 3, padding=dilation, dilation=dilation, groups=groups, bias=bias).double()
    inputs = maps(4 * groups, sizes)
    plain = conv(torch.stack([resize(x, size) for x in inputs]).sum(0))
    ours = conv_of_resized(inputs, conv, size)
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)
    weight = torch.sin(torch.arange(plain.numel(), dtype=plain.dtype)).view(plain.shape)
    leaves = [*inputs, *conv.parameters()]
    wanted = torch.autograd.grad(plain, leaves, weight)
    for ours_, theirs in zip(torch.autograd.grad(ours, leaves, weight), wanted, strict=True):
        torch.testing.assert_close(ours_, theirs, rtol=1e-10, atol=1e-12)


def test_it_is_taken_where_it_is_cheaper() -> None:
    with torch.device("meta"):
        conv = nn.Conv2d(576, 576, 3, padding=1)
        pyramid = [torch.empty(1, 576, 14 * k, 18 * k) for k in (1, 2, 4)]
    assert is_cheaper(pyramid, conv, (112, 144))
    assert not is_cheaper(pyramid, conv, (56, 72))


@pytest.mark.parametrize("act", [nn.GELU(), nn.ReLU(), nn.ReLU(inplace=True), nn.SiLU()], ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["batch statistics", "frozen"])
def test_made_again_is_the_same(act: nn.Module, training: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 4, 3, padding=1).double()
    (x,) = maps(6, [(5, 7)])
    found = []
    for ours in (True, False):
        norm = nn.BatchNorm2d(6).double().train(training)
        nn.init.constant_(norm.weight, 0.7)
        out = norm_act_conv(norm, act, conv, 2 * x) if ours else conv(act(norm(2 * x)))
        grads = torch.autograd.grad(out.square().sum(), [x, *norm.parameters(), *conv.parameters()])
        found.append([out, *grads, norm.running_mean, norm.running_var, norm.num_batches_tracked])
    for ours_, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours_, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "plain"])
def test_what_lies_between_is_not_kept(ours: bool) -> None:
    norm, act, conv = nn.BatchNorm2d(6), nn.GELU(), nn.Conv2d(6, 4, 3)
    seen: list[weakref.ref[Tensor]] = []
    for module in (norm, act):
        module.register_forward_hook(lambda module, args, out: seen.append(weakref.ref(out)))
    x = torch.randn(2, 6, 5, 7)
    out = norm_act_conv(norm, act, conv, x) if ours else conv(act(norm(x)))
    assert out.requires_grad and len(seen) == 2
    assert [ref() is None for ref in seen] == [ours, ours]
