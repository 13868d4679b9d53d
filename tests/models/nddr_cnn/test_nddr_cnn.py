"""NDDR-CNN in both forms: counts, a layer worked by hand.

Golden numbers: github.com/SimonVandenhende/Multi-Task-Learning-PyTorch, ed3d9ac1c35493d8d22c4e33574919c326d77b6d:
its `NDDRCNN` on encoders `tiny` with its `DeepLabHead`, without dropout.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtdense.backbones import create_backbone
from mtdense.models import NDDRCNN, DenseModule
from mtdense.models.layers import SeparateEncoders
from mtdense.models.nddr_cnn import NDDRLayer
from tests.models.architecture_tester import ArchitectureTester
from tests.models.common import (
    GOLDEN_OUTPUTS,
    HRNET,
    HRNET_W18_PARAMS,
    NYUD,
    check_golden,
    on_meta,
    ptflops,
    read_golden,
)

GOLDEN = read_golden(__file__)


class TestSharedEncoder(ArchitectureTester):
    module_class = NDDRCNN


class TestSeparateEncoders(ArchitectureTester):
    module_class = NDDRCNN

    def build(self, **kwargs: Any) -> DenseModule:
        return super().build(form="separate_encoders", **kwargs)


def test_published_counts() -> None:
    """4.587916 M and 18.682 G at 425x560, of which HRNet-W18 7.781 G."""
    module = on_meta(NDDRCNN, HRNET["hrnet_w18"], tasks=NYUD)
    assert HRNET_W18_PARAMS + sum(p.numel() for p in module.network.parameters()) == 4_587_916
    assert sum(p.numel() for p in module.network.exchange.parameters()) == 4 * (4 * 67 * 67 + 2 * 67)
    assert ptflops(module, (425, 560)) == pytest.approx(18.682 - 7.781, abs=0.01)


def test_separate_encoders_have_a_layer_behind_the_stem() -> None:
    specs = {name: NYUD[name] for name in ("semseg", "depth")}
    with torch.device("meta"):
        network = NDDRCNN(tasks=specs, backbone="resnet18", form="separate_encoders").network
    widths = [layer.layers["depth"][0].out_channels for layer in network.exchanges.values()]
    assert widths == [64, 64, 128, 256, 512]


def test_stages_one_by_one_are_the_whole_encoder() -> None:
    """With layers that pass each task's own feature on, a separate encoder is a plain ResNet."""
    torch.manual_seed(0)
    backbone = create_backbone("resnet18", output_stride=8)

    class Nothing(torch.nn.Module):
        def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return features

    network = SeparateEncoders({"depth": backbone}, {"depth": 1}, lambda tasks, channels: Nothing(), 16).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network.heads["depth"](backbone(image)[-1])
        assert torch.equal(network(image).final["depth"], expected)


def test_golden_numbers() -> None:
    tasks = {name: GOLDEN_OUTPUTS[name] for name in ("semseg", "normals")}
    backbones = {name: create_backbone("tiny") for name in tasks}
    network = SeparateEncoders(backbones, tasks, lambda t, c: NDDRLayer(t, c, 0.8, 0.05), behind_stem=True)
    check_golden(network, GOLDEN)


def test_a_layer_worked_by_hand() -> None:
    """It starts as a weighted sum, channel by channel; norm in evaluation divides by the root of 1 + 1e-5."""
    layer = NDDRLayer(["a", "b"], 2, own=0.9, other=0.1).eval()
    features = {"a": torch.tensor([1.0, -2.0]).view(1, 2, 1, 1), "b": torch.tensor([10.0, 4.0]).view(1, 2, 1, 1)}
    out = layer(features)
    torch.testing.assert_close(out["a"].flatten(), torch.tensor([1.9, 0.0]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out["b"].flatten(), torch.tensor([9.1, 3.4]), rtol=1e-5, atol=1e-6)
    assert layer.layers["a"][1].momentum == 0.05
