"""Counters against what the packages themselves print, and by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mtdense.reports.profile import CONVENTIONS, count_by_convention
from tests.reports.profile.every_layer import EveryLayer


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("name", "params", "macs"), [("thop", 2793, 285_544), ("ptflops", 3943, 306_224)])
def test_every_layer_as_the_package_counts_it(device: str, name: str, params: int, macs: int) -> None:
    # thop 0.1.1.post2209072238 and ptflops 0.6.9 on this network and input.
    with torch.device(device):
        network, image = EveryLayer().eval(), torch.zeros(1, 3, 16, 24)
    assert count_by_convention(CONVENTIONS[name], network, lambda: network(image)) == (params, macs)
    assert not any(module._forward_hooks for module in network.modules())


def test_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1, groups=2), nn.BatchNorm2d(6), nn.ReLU()).eval()
    image = torch.zeros(1, 2, 4, 5)
    conv = 20 * 6 * 9
    assert count_by_convention(CONVENTIONS["thop"], network, lambda: network(image)) == (60 + 12, conv + 4 * 120)
    with_bias = conv + 120
    assert count_by_convention(CONVENTIONS["ptflops"], network, lambda: network(image))[1] == with_bias + 2 * 120 + 120


def test_a_subclass_is_not_seen() -> None:
    class Own(nn.Conv2d):
        pass

    network, image = Own(2, 2, 1), torch.zeros(1, 2, 4, 4)
    assert count_by_convention(CONVENTIONS["ptflops"], network, lambda: network(image)) == (6, 0)
    assert count_by_convention(CONVENTIONS["thop"], network, lambda: network(image)) == (0, 0)


def test_hooks_go_when_the_network_fails() -> None:
    network = nn.Linear(3, 3)
    with pytest.raises(RuntimeError):
        count_by_convention(CONVENTIONS["thop"], network, lambda: network(torch.zeros(1, 4)))
    assert not network._forward_hooks
