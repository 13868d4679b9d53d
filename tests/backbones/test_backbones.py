"""Pyramids have the channels and strides they say, and weights load fully or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from mtdense.backbones import PAPER_BACKBONES, TinyBackbone, create_backbone, weights_follow
from mtdense.core.errors import CheckpointError, ConfigError

RESNET18_PARAMETERS = 11_176_512


@pytest.mark.parametrize(
    ("name", "size", "channels"),
    [
        ("tiny", None, (8, 12, 16, 24)),
        ("resnet18", None, (64, 128, 256, 512)),
        ("hrnet_w18", None, (18, 36, 72, 144)),
        ("swin_tiny_patch4_window7_224", (64, 96), (96, 192, 384, 768)),
        # The finest map is 96 high and has 96 channels: its layout cannot be told from its shape.
        ("swin_tiny_patch4_window7_224", (384, 96), (96, 192, 384, 768)),
    ],
)
def test_pyramid_is_as_declared(name: str, size: tuple[int, int] | None, channels: tuple[int, ...]) -> None:
    height, width = size or (64, 96)
    backbone = create_backbone(name, img_size=size).eval()
    assert backbone.channels == channels
    assert backbone.strides == (4, 8, 16, 32)
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, height, width))
    expected = [(1, c, height // s, width // s) for c, s in zip(channels, backbone.strides, strict=True)]
    assert [tuple(x.shape) for x in maps] == expected


def test_blocks_that_do_not_show() -> None:
    with pytest.raises(ConfigError, match="checkpointing in the backbone 'vgg11', which does not show its blocks"):
        create_backbone("vgg11", checkpointing=True)
    assert create_backbone("tiny", checkpointing=True).checkpointing


def test_resnet18_parameters() -> None:
    assert sum(p.numel() for p in create_backbone("resnet18").parameters()) == RESNET18_PARAMETERS


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_checkpoint_with_classifier_loads_into_the_pyramid(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(0)
    source = timm.create_model("resnet18", pretrained=False).state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": source}, path)
    else:
        save_file(source, path)
    torch.manual_seed(1)
    loaded = create_backbone("resnet18", checkpoint=str(path)).state_dict()
    for key, value in source.items():
        if not key.startswith("fc."):
            assert torch.equal(loaded[f"network.{key}"], value), key


def test_incomplete_checkpoint_is_refused(tmp_path: Path) -> None:
    state = timm.create_model("resnet18", pretrained=False).state_dict()
    del state["layer1.0.conv1.weight"]
    state["conv1.weight"] = torch.zeros(64, 3, 3, 3)
    state["surprise"] = torch.zeros(1)
    torch.save(state, tmp_path / "broken.pth")
    with pytest.raises(CheckpointError) as caught:
        create_backbone("resnet18", checkpoint=str(tmp_path / "broken.pth"))
    assert all(
        text in str(caught.value) for text in ("broken.pth", "layer1.0.conv1.weight", "surprise", "(64, 3, 3, 3)")
    )


def test_missing_and_damaged_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no weights at"):
        create_backbone("resnet18", checkpoint=str(tmp_path / "none.pth"))
    (tmp_path / "half.pth").write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(CheckpointError, match=r"half\.pth cannot be read safely"):
        create_backbone("resnet18", checkpoint=str(tmp_path / "half.pth"))


def test_pretrained_without_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"pretrained weights of 'resnet18\.tv_in1k'[\s\S]*backbone_checkpoint"):
        create_backbone("resnet18", pretrained=True)


def test_papers_weights_exist_in_timm() -> None:
    known = set(timm.list_models(pretrained=True))
    named = {variant.timm_name for variant in PAPER_BACKBONES.values() if variant.timm_name}
    assert len(named) == 11 and named <= known


@pytest.mark.parametrize(
    ("name", "overrides", "tagged", "key"),
    [
        ("resnet18", {"channels": (8, 16, 24, 32)}, "timm/resnet18.tv_in1k", "layer1.0.conv1.weight"),
        (
            "swin_b",
            {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)},
            "timm/swin_base_patch4_window7_224.ms_in22k",
            "layers.1.downsample.reduction.weight",
        ),
        (
            "vit_large",
            {"embed_dim": 32, "depth": 2, "num_heads": 2},
            "timm/vit_large_patch16_384.augreg_in21k_ft_in1k",
            "blocks.1.attn.qkv.weight",
        ),
        ("hrnet_w18", {}, "timm/hrnet_w18_small_v2.ms_in1k", "stage4.1.branches.3.1.conv2.weight"),
    ],
)
def test_pretrained_weights_come_from_the_papers_tag(
    monkeypatch: pytest.MonkeyPatch, name: str, overrides: dict[str, Any], tagged: str, key: str
) -> None:
    """The hub is played by weights made here; everything else is timm's and our real path."""
    torch.manual_seed(0)
    published = timm.create_model(PAPER_BACKBONES[name].timm_name, **overrides).state_dict()
    asked: list[str] = []

    def from_hub(model_id: str, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        asked.append(model_id)
        return dict(published)

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", from_hub)
    torch.manual_seed(1)
    backbone = create_backbone(name, pretrained=True, img_size=(64, 96), overrides=overrides)
    assert asked == [tagged]
    assert torch.equal(backbone.state_dict()["network." + key], published[key])


def test_weights_follow_reads_nothing() -> None:
    with weights_follow():
        create_backbone("resnet18", pretrained=True, checkpoint="/does/not/exist.pth")


def test_unknown_backbone_suggests() -> None:
    with pytest.raises(ConfigError, match=r"unknown backbone 'resnet81'[\s\S]*resnet18"):
        create_backbone("resnet81")
    with pytest.raises(ConfigError, match="'tiny' has no weights"):
        create_backbone("tiny", pretrained=True)
    with pytest.raises(ConfigError, match=r"'tiny' has no option \['fusion'\]"):
        create_backbone("tiny", fusion="nearest")


def test_tiny_is_tiny() -> None:
    assert sum(p.numel() for p in TinyBackbone().parameters()) < 10_000
