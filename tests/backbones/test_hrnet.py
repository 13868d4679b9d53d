"""HRNets give the maps of ATRC's code, at even and odd sizes."""

from __future__ import annotations

from typing import Any, ClassVar

import timm
import torch

from mtdense.backbones import create_backbone
from mtdense.backbones.weights import fill_backbone
from tests.backbones.backbone_tester import BackboneTester
from tests.backbones.golden import assert_golden, formula, picture


def stage(*channels: int) -> dict[str, Any]:
    return {
        "num_modules": 1,
        "num_branches": len(channels),
        "block_type": "BASIC",
        "num_blocks": (1,) * len(channels),
        "num_channels": channels,
        "fuse_method": "SUM",
    }


SMALL: dict[str, Any] = {"stage2": stage(4, 8), "stage3": stage(4, 8, 12), "stage4": stage(4, 8, 12, 16)}


class TestHRNet(BackboneTester):
    name = "hrnet_w18"
    options: ClassVar[dict[str, Any]] = {"overrides": SMALL}
    channels = (4, 8, 12, 16)
    foreign_option: ClassVar[dict[str, Any]] = {"output_stride": 8}
    has_drop_path = False


def test_figures_of_the_public_code_at_an_odd_size() -> None:
    backbone = create_backbone("hrnet_w18").eval()
    named = {key.removeprefix("network."): value for key, value in backbone.state_dict().items()}
    fill_backbone(backbone, formula(named), "formula")
    assert_golden("hrnet", backbone, picture(1, 45, 61), "network.", 5e-5)


def test_nearest_is_timms_network() -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(
        "hrnet_w18_small_v2", features_only=True, feature_location="", out_indices=(1, 2, 3, 4), **SMALL
    )
    ours = create_backbone("hrnet_w18", fusion="nearest", overrides=SMALL)
    fill_backbone(ours, theirs.state_dict(), "timm")
    smooth = create_backbone("hrnet_w18", overrides=SMALL)
    fill_backbone(smooth, theirs.state_dict(), "timm")
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected, got, other = theirs.eval()(image), ours.eval()(image), smooth.eval()(image)
    assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))
    assert not torch.allclose(other[0], got[0], atol=1e-3)


def test_classifier_weights_are_passed_over() -> None:
    classifier = timm.create_model("hrnet_w18_small").state_dict()
    assert any(key.startswith("incre_modules.") for key in classifier)
    backbone = create_backbone("hrnet_w18_small")
    fill_backbone(backbone, classifier, "classifier")
    assert torch.equal(backbone.state_dict()["network.conv1.weight"], classifier["conv1.weight"])
