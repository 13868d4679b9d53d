"""ResNets, plain and dilated."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from mtdense.backbones import create_backbone
from mtdense.core.errors import ConfigError
from tests.backbones.backbone_tester import BackboneTester

NARROW = (8, 16, 24, 32)


class TestResNet(BackboneTester):
    name = "resnet50d"
    options: ClassVar[dict[str, Any]] = {"overrides": {"layers": (1, 1, 1, 1), "channels": NARROW}}
    channels = (32, 64, 96, 128)
    foreign_option: ClassVar[dict[str, Any]] = {"out_blocks": (1, 2)}


class TestDilatedResNet(BackboneTester):
    name = "resnet50"
    options: ClassVar[dict[str, Any]] = {"output_stride": 8, "overrides": {"layers": (1, 1, 2, 2), "channels": NARROW}}
    channels = (32, 64, 96, 128)
    strides = (4, 8, 8, 8)
    foreign_option: ClassVar[dict[str, Any]] = {"fusion": "nearest"}


@pytest.mark.parametrize(("output_stride", "strides"), [(16, (4, 8, 16, 16)), (8, (4, 8, 8, 8)), (32, (4, 8, 16, 32))])
@pytest.mark.parametrize("name", ["resnet18", "resnet50d"])
def test_dilation_keeps_weights_and_early_maps(name: str, output_stride: int, strides: tuple[int, ...]) -> None:
    overrides = {"layers": (1, 1, 1, 1), "channels": NARROW}
    torch.manual_seed(0)
    plain = create_backbone(name, overrides=overrides).eval()
    dilated = create_backbone(name, output_stride=output_stride, overrides=overrides).eval()
    dilated.load_state_dict(plain.state_dict())
    assert dilated.strides == strides
    image = torch.randn(1, 3, 65, 50)
    with torch.no_grad():
        a, b = plain(image), dilated(image)
    assert torch.equal(a[1], b[1])
    assert [x.shape[-2:] for x in b] == [(-(-65 // s), -(-50 // s)) for s in strides]


def test_impossible_output_stride() -> None:
    with pytest.raises(ConfigError, match="resnet18"):
        create_backbone("resnet18", output_stride=4)
