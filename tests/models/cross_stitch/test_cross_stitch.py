"""Cross-Stitch in both forms: counts, a unit worked by hand, and what learns from what.

Golden numbers: github.com/SimonVandenhende/Multi-Task-Learning-PyTorch, ed3d9ac1c35493d8d22c4e33574919c326d77b6d:
its `CrossStitchNetwork` on encoders `tiny` with its `DeepLabHead`, without dropout.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtdense.backbones import create_backbone
from mtdense.core.errors import ConfigError
from mtdense.models import CrossStitch, DenseModule
from mtdense.models.cross_stitch import CrossStitchUnit
from mtdense.models.layers import SeparateEncoders
from tests.models.architecture_tester import ArchitectureTester
from tests.models.common import (
    GOLDEN_OUTPUTS,
    HRNET,
    HRNET_W18_PARAMS,
    NYUD,
    check_golden,
    millions,
    on_meta,
    ptflops,
    read_golden,
)
from tests.models.helpers import SPECS

GOLDEN = read_golden(__file__)


class TestSharedEncoder(ArchitectureTester):
    module_class = CrossStitch


class TestSeparateEncoders(ArchitectureTester):
    module_class = CrossStitch

    def build(self, **kwargs: Any) -> DenseModule:
        return super().build(form="separate_encoders", **kwargs)


def test_published_counts() -> None:
    """4.516628 M and 17.59 G at 425x560, of which the unit 1072 parameters and HRNet-W18 7.781 G."""
    module = on_meta(CrossStitch, HRNET["hrnet_w18"], tasks=NYUD)
    params = sum(p.numel() for p in module.network.parameters())
    assert HRNET_W18_PARAMS + params == 4_516_628
    assert millions(module.network.exchange) * 1e6 == 1072
    assert ptflops(module, (425, 560)) == pytest.approx(17.59 - 7.781, abs=0.01)


def test_separate_encoders_on_resnets() -> None:
    """A DeepLab head of 16.136 million per task on 2048 channels; four units of T * T weights per channel."""
    specs = {name: NYUD[name] for name in ("semseg", "depth")}
    with torch.device("meta"):
        network = CrossStitch(
            tasks=specs, backbone="resnet50", form="separate_encoders", backbone_options={"output_stride": 8}
        ).network
    assert millions(network.heads["semseg"]) == pytest.approx(16.136, abs=5e-4)
    assert sum(p.numel() for p in network.exchanges.parameters()) == 4 * (256 + 512 + 1024 + 2048)
    assert list(network.exchanges) == ["1", "2", "3", "4"]
    assert network.backbones["depth"] is not network.backbones["semseg"]


def test_golden_numbers() -> None:
    tasks = {name: GOLDEN_OUTPUTS[name] for name in ("semseg", "normals")}
    backbones = {name: create_backbone("tiny") for name in tasks}
    check_golden(SeparateEncoders(backbones, tasks, lambda t, c: CrossStitchUnit(t, c, 0.8, 0.05)), GOLDEN)


def test_a_unit_worked_by_hand() -> None:
    unit = CrossStitchUnit(["a", "b"], 2, own=0.9, other=0.1)
    features = {"a": torch.tensor([1.0, 2.0]).view(1, 2, 1, 1), "b": torch.tensor([10.0, 20.0]).view(1, 2, 1, 1)}
    with torch.no_grad():
        unit.weight[0, 1, 1] = 0.5  # to a, from b, second channel
        out = unit(features)
    torch.testing.assert_close(out["a"].flatten(), torch.tensor([1.9, 11.8]))
    torch.testing.assert_close(out["b"].flatten(), torch.tensor([9.1, 18.2]))


@pytest.mark.parametrize(("other", "expected"), [(0.1, 0.1), (None, 0.05)])
def test_initial_weights(other: float | None, expected: float) -> None:
    weight = CrossStitch(tasks=SPECS, backbone="tiny", preset="tiny", other_weight=other).network.exchange.weight
    assert weight[0, 0, 0].item() == pytest.approx(0.9)
    assert weight[0, 1, 0].item() == weight[2, 1, 0].item() == pytest.approx(expected)


@pytest.mark.parametrize("form", ["shared_encoder", "separate_encoders"])
def test_a_task_learns_from_the_others_by_the_units_alone(form: str) -> None:
    torch.manual_seed(0)
    for other in (0.1, 0.0):
        model = CrossStitch(tasks=SPECS, backbone="tiny", preset="tiny", form=form, own_weight=1.0, other_weight=other)
        network = model.network
        parts = network.task_convolutions if form == "shared_encoder" else network.backbones
        output = network(torch.randn(2, 3, 64, 64)).final["depth"].square().sum()
        gradient = torch.autograd.grad(output, next(parts["semseg"].parameters()))[0]
        assert bool(gradient.any()) is (other != 0.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "huge"}, "preset"),
        ({"form": "both"}, "form"),
        ({"own_weight": float("nan")}, "own_weight"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        CrossStitch(tasks=SPECS, backbone="tiny", **options)


def test_backbones_without_stages_are_refused() -> None:
    with pytest.raises(ConfigError, match="between the stages"):
        on_meta(CrossStitch, HRNET["hrnet_w18"], tasks=SPECS, form="separate_encoders")
