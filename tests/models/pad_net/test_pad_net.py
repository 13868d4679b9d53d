"""PAD-Net: counts by part, a distillation worked by hand, and what learns from what.

Golden numbers: github.com/SimonVandenhende/Multi-Task-Learning-PyTorch, ed3d9ac1c35493d8d22c4e33574919c326d77b6d:
its whole `PADNet` behind `HighResolutionFuse`, with the weights, maps, image and functional of `tests.models.common`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtdense.core.errors import ConfigError
from mtdense.models import PADNet
from mtdense.models.layers import GatedMessage, TaskDistillation
from mtdense.models.pad_net import PADNetNetwork
from tests.models.architecture_tester import ArchitectureTester
from tests.models.common import (
    GOLDEN_OUTPUTS,
    HRNET,
    NYUD,
    GivenMaps,
    check_golden,
    giga_macs,
    millions,
    on_meta,
    read_golden,
    run_on_meta,
)
from tests.models.helpers import ALL_SPECS, SPECS, make_batch

GOLDEN = read_golden(__file__)
TWO = {name: NYUD[name] for name in ("semseg", "depth")}


class TestPADNet(ArchitectureTester):
    module_class = PADNet


@pytest.mark.parametrize(
    ("backbone", "specs", "decoder"),
    [
        ("hrnet_w18", NYUD, 15.587),
        ("hrnet_w48", NYUD, 16.163),
        ("hrnet_w18", ALL_SPECS, 25.371),
        ("hrnet_w48", ALL_SPECS, 26.091),
        ("hrnet_w18", TWO, 3.085),
    ],
)
def test_decoders_have_the_published_size(backbone: str, specs: dict[str, dict], decoder: float) -> None:
    """15.59, 16.16; 25.37, 26.09; 3.09 million, beside the 1x1 convolution that fuses HRNet's branches."""
    network = on_meta(PADNet, HRNET[backbone], tasks=specs).network
    inputs = sum(HRNET[backbone])
    assert sum(p.numel() for p in network.fusion.parameters()) == inputs * inputs + 3 * inputs
    assert millions(network) - millions(network.fusion) == pytest.approx(decoder, abs=5e-4)


def test_decoder_on_a_vision_transformer() -> None:
    """16.55 (NYUD-v2) and 26.58 million (PASCAL-Context) on one map of 1024 channels."""
    for specs, decoder in ((NYUD, 16.553), (ALL_SPECS, 26.577)):
        module = on_meta(PADNet, [1024] * 4, [16] * 4, tasks=specs, shared_map="deepest", map_stride=4)
        assert millions(module.network) == pytest.approx(decoder, abs=5e-4)
        assert run_on_meta(module, (64, 96)).final["semseg"].shape[-2:] == (16, 24)


def test_distillation_has_the_published_size() -> None:
    for specs, expected in ((NYUD, 14.156), (ALL_SPECS, 23.593), (TWO, 2.359)):
        network = on_meta(PADNet, HRNET["hrnet_w18"], tasks=specs).network
        assert millions(network.distillation) == pytest.approx(expected, abs=5e-4)


def test_cost() -> None:
    """251 G at stride 4 on NYUD-v2, beside the fusion of the branches."""
    module = on_meta(PADNet, HRNET["hrnet_w18"], tasks=NYUD)
    assert giga_macs(module, (448, 576)) - 270 * 270 * 112 * 144 / 1e9 == pytest.approx(251.2, abs=0.1)


def test_odd_sizes() -> None:
    outputs = run_on_meta(on_meta(PADNet, HRNET["hrnet_w18"], tasks=NYUD, preset="tiny"), (425, 560))
    assert outputs.final["semseg"].shape == outputs.preliminary[0]["semseg"].shape == (1, 40, 107, 140)


def test_golden_numbers() -> None:
    tasks = {name: GOLDEN_OUTPUTS[name] for name in ("semseg", "depth", "normals")}
    check_golden(PADNetNetwork(GivenMaps(), tasks), GOLDEN)


def test_a_message_worked_by_hand() -> None:
    """In the middle of a map of ones the message is 9 * 0.5 = 4.5 and its gate sigmoid(9 * 0.1)."""
    block = GatedMessage(1)
    with torch.no_grad():
        block.message.weight.fill_(0.5)
        block.gate.weight.fill_(0.1)
        middle = block(torch.ones(1, 1, 3, 3))[0, 0, 1, 1]
    assert middle.item() == pytest.approx(4.5 / (1 + 2.718281828**-0.9), rel=1e-6)


def test_distillation_adds_the_messages_of_all_others() -> None:
    distillation = TaskDistillation(["a", "b", "c"], 2)
    features = {name: torch.randn(1, 2, 4, 5) for name in "abc"}
    messages = distillation.messages
    expected = features["b"] + messages["b"]["a"](features["a"]) + messages["b"]["c"](features["c"])
    torch.testing.assert_close(distillation(features)["b"], expected)
    assert "b" not in messages["b"]


def test_who_learns_from_whom() -> None:
    """A first prediction teaches its own branch alone, a final one the branches of all tasks."""
    torch.manual_seed(0)
    network = PADNet(tasks=SPECS, backbone="tiny", preset="tiny").network
    outputs = network(torch.randn(2, 3, 32, 40))
    others = list(network.initial["semseg"].parameters())
    first = torch.autograd.grad(outputs.preliminary[0]["depth"].sum(), others, retain_graph=True, allow_unused=True)
    assert all(g is None for g in first)
    final = torch.autograd.grad(outputs.final["depth"].square().sum(), others)
    assert all(g.any() for g in final)


def test_losses_of_both_predictions_add_up() -> None:
    batch = make_batch(SPECS, {"semseg": [True, False], "depth": [False, False], "normals": [True, True]})
    weighed = {}
    for weight in (0.0, 1.0, 0.5):
        torch.manual_seed(0)
        model = PADNet(tasks=SPECS, backbone="tiny", preset="tiny", initial_weight=weight)
        weighed[weight] = model.losses(model.run_network(batch), batch)
    for name in SPECS:
        half = (weighed[0.0][name] + weighed[1.0][name]) / 2
        torch.testing.assert_close(weighed[0.5][name], half)
    assert weighed[1.0]["depth"].item() == 0.0
    assert weighed[1.0]["semseg"] > weighed[0.0]["semseg"]


def test_one_task_alone_has_no_messages() -> None:
    network = PADNet(tasks={"depth": {}}, backbone="tiny", preset="tiny").network
    assert millions(network.distillation) == 0
    assert network(torch.randn(2, 3, 32, 40)).final["depth"].shape == (2, 1, 8, 10)


@pytest.mark.parametrize(
    "options", [{"preset": "huge"}, {"shared_map": "finest"}, {"map_stride": 0}, {"initial_weight": -1.0}]
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        PADNet(tasks=SPECS, backbone="tiny", **options)
