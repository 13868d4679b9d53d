"""Swin Transformers give the maps of the public segmentation code, at even and odd sizes."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import timm
import torch

from mtdense.backbones import Swin, create_backbone
from mtdense.backbones.weights import fill_backbone
from mtdense.core.errors import CheckpointError
from tests.backbones.backbone_tester import BackboneTester
from tests.backbones.golden import assert_golden, formula, picture

SMALL: dict[str, Any] = {"embed_dim": 16, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}


class TestSwin(BackboneTester):
    name = "swin_t"
    options: ClassVar[dict[str, Any]] = {"overrides": SMALL}
    channels = (16, 32, 64, 128)
    # Below it, the coarsest map is a single window.
    size = (64, 256)
    odd_size = (45, 230)
    foreign_option: ClassVar[dict[str, Any]] = {"class_token": False}


def test_figures_of_the_public_code_at_an_odd_size() -> None:
    backbone = create_backbone("swin_t", overrides=SMALL).eval()
    backbone.load_state_dict(formula(backbone.state_dict()), strict=False)
    assert_golden("swin", backbone, picture(1, 45, 130), "", 5e-5)


def test_timms_network_where_windows_fit() -> None:
    """At 224 timm shifts and pads nowhere differently, save in the last stage, whose map is one window."""
    torch.manual_seed(0)
    theirs: Any = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, **SMALL)
    ours = create_backbone("swin_tiny_patch4_window7_224", overrides=SMALL)
    fill_backbone(ours, theirs.state_dict(), "timm")
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = theirs.eval().forward_intermediates(image, intermediates_only=True)
        got = ours.eval()(image)
    for a, b in zip(expected[:3], got[:3], strict=True):
        torch.testing.assert_close(b, a, atol=1e-5, rtol=1e-5)


def test_classifier_of_either_naming_leaves_the_output_norms_alone() -> None:
    classifier = timm.create_model("swin_tiny_patch4_window7_224", **SMALL).state_dict()
    # The original code has the halving at the end of the stage before, and keeps its buffers in the file.
    original = {}
    for key, value in classifier.items():
        parts = key.split(".")
        if parts[0] == "layers" and parts[2] == "downsample":
            parts[1] = str(int(parts[1]) - 1)
        original[".".join(parts)] = value
    original["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49)
    original["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    first, second = (create_backbone("swin_t", overrides=SMALL) for _ in range(2))
    fill_backbone(first, classifier, "timm")
    fill_backbone(second, original, "original")
    a, b = first.state_dict(), second.state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert torch.equal(a["norms.3.weight"], torch.ones(128))
    assert torch.equal(a["network.layers.2.downsample.norm.bias"], classifier["layers.2.downsample.norm.bias"])


def test_last_norm_is_the_classifiers_own() -> None:
    classifier = timm.create_model("swin_tiny_patch4_window7_224", **SMALL).state_dict()
    classifier["norm.weight"] = torch.linspace(0.5, 1.5, 128)
    plain = create_backbone("swin_t", overrides=SMALL, output_norm=False).eval()
    last = create_backbone("swin_t", overrides=SMALL, output_norm="last").eval()
    for backbone in (plain, last):
        fill_backbone(backbone, classifier, "timm")
    assert torch.equal(last.state_dict()["network.norm.weight"], classifier["norm.weight"])
    image = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        *fine, coarse = plain(image)
        *same, normed = last(image)
    assert all(torch.equal(a, b) for a, b in zip(fine, same, strict=True))
    expected = torch.nn.functional.layer_norm(coarse.permute(0, 2, 3, 1), (128,), classifier["norm.weight"])
    torch.testing.assert_close(normed.permute(0, 2, 3, 1), expected)


def test_segmentation_weights_bring_the_output_norms() -> None:
    """mmsegmentation's names and its order of the four neighbours that are merged."""
    source = create_backbone("swin_t", overrides=SMALL)
    assert isinstance(source, Swin)
    with torch.no_grad():
        source.state_dict()["norms.1.weight"].fill_(3.0)
    public = {"backbone." + _public_name(key): value for key, value in source.state_dict().items()}
    merging = "backbone.stages.0.downsample.reduction.weight"
    merged = public[merging]
    # Ours is (column, row, channel); theirs (channel, row, column).
    public[merging] = torch.stack(
        [merged[:, 16 * (2 * column + row) + c] for c in range(16) for row in (0, 1) for column in (0, 1)], dim=1
    )
    for stage in (0, 1, 2):
        for part in ("norm.weight", "norm.bias", "reduction.weight"):
            key = f"backbone.stages.{stage}.downsample.{part}"
            if key != merging:
                public[key] = torch.zeros_like(public[key])
    public["decode_head.conv_seg.weight"] = torch.zeros(150, 512, 1, 1)
    public["auxiliary_head.conv_seg.bias"] = torch.zeros(150)
    loaded = create_backbone("swin_t", overrides=SMALL)
    fill_backbone(loaded, public, "segmentation")
    state = loaded.state_dict()
    assert torch.equal(state["network.layers.1.downsample.reduction.weight"], merged)
    assert torch.equal(state["norms.1.weight"], torch.full((32,), 3.0))
    assert torch.equal(
        state["network.layers.3.blocks.1.mlp.fc2.weight"], source.network.layers[3].blocks[1].mlp.fc2.weight
    )


def test_some_output_norms_are_not_enough() -> None:
    state = create_backbone("swin_t", overrides=SMALL).state_dict()
    del state["norms.2.bias"]
    with pytest.raises(CheckpointError, match=r"1 weights missing \['norms\.2\.bias'\]"):
        fill_backbone(create_backbone("swin_t", overrides=SMALL), state, "partial")


def _public_name(key: str) -> str:
    parts = key.split(".")
    if parts[0] == "norms":
        return f"norm{parts[1]}.{parts[2]}"
    if parts[1] == "patch_embed":
        return key.removeprefix("network.").replace(".proj.", ".projection.")
    if parts[3] == "downsample":
        return ".".join(["stages", str(int(parts[2]) - 1), *parts[3:]])
    rest = ".".join(parts[5:]).replace("attn.", "attn.w_msa.")
    rest = rest.replace("mlp.fc1.", "ffn.layers.0.0.").replace("mlp.fc2.", "ffn.layers.1.")
    return f"stages.{parts[2]}.blocks.{parts[4]}.{rest}"
