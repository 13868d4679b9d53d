"""InternImage gives the maps of its public code and takes its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from mtdense.backbones import InternImage, create_backbone
from mtdense.core.errors import CheckpointError, ConfigError
from tests.backbones.backbone_tester import BackboneTester
from tests.backbones.golden import assert_golden, formula, picture
from tests.models.bridgenet.manifest import read_manifest

SMALL: dict[str, Any] = {"channels": 16, "depths": (1, 2, 2, 1), "groups": (1, 2, 4, 8)}


class TestInternImage(BackboneTester):
    name = "internimage_l"
    options: ClassVar[dict[str, Any]] = {"overrides": SMALL}
    channels = (16, 32, 64, 128)
    foreign_option: ClassVar[dict[str, Any]] = {"output_stride": 16}


@pytest.mark.parametrize("scale", [1, 2])
def test_figures_of_the_public_code(scale: int) -> None:
    """OpenGVLab/InternImage, 31c962d, segmentation backbone with `DCNv3_pytorch`; odd input size."""
    backbone = InternImage(**SMALL, offset_scale=float(scale)).eval()
    backbone.load_state_dict(formula(backbone.state_dict()))
    assert_golden(f"internimage_{scale}", backbone, picture(2, 50, 70), "", 5e-5)


def official(prefix: str, **surplus: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(5)
    state = {prefix + key: value for key, value in InternImage(**SMALL).state_dict().items()}
    head = {"conv_head.0.weight": torch.zeros(192, 128, 1, 1), "head.weight": torch.zeros(1000, 192)}
    return {**state, **{prefix.removesuffix("backbone.") + key: value for key, value in head.items()}, **surplus}


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "model.", "module.backbone."])
@pytest.mark.parametrize("wrapper", ["model", "state_dict", None])
def test_official_checkpoints_load(tmp_path: Path, prefix: str, wrapper: str | None) -> None:
    state = official(prefix)
    torch.save({wrapper: state} if wrapper else state, tmp_path / "official.pth")
    loaded = create_backbone("internimage_b", checkpoint=str(tmp_path / "official.pth"), overrides=SMALL).state_dict()
    assert all(torch.equal(value, state[prefix + key]) for key, value in loaded.items())


def test_official_checkpoints_are_never_loaded_in_part(tmp_path: Path) -> None:
    state = official("", **{"levels.1.norm.0.weight": torch.zeros(32)})
    del state["levels.2.blocks.1.gamma2"]
    state["levels.0.blocks.0.dcn.offset.weight"] = torch.zeros(18, 32)
    torch.save({"model": state}, tmp_path / "official.pth")
    with pytest.raises(CheckpointError) as caught:
        create_backbone("internimage_b", checkpoint=str(tmp_path / "official.pth"), overrides=SMALL)
    for text in ("levels.2.blocks.1.gamma2", "levels.1.norm.0.weight", "levels.0.blocks.0.dcn.offset.weight"):
        assert text in str(caught.value)


def test_manifest_of_the_public_class() -> None:
    """All names and shapes of InternImage-L, as BridgeNet's public code holds it."""
    whole = read_manifest(Path(__file__).parents[1] / "models/bridgenet/official_pascal_internimage_l.txt")
    public = {name.removeprefix("backbone."): shape for name, shape in whole.items() if name.startswith("backbone.")}
    with torch.device("meta"):
        state = create_backbone("internimage_l").state_dict()
    assert len(public) > 500 and {key: tuple(value.shape) for key, value in state.items()} == public


def test_shapes_of_the_published_checkpoint() -> None:
    with torch.device("meta"):
        state = create_backbone("internimage_b").state_dict()
    block = "levels.0.blocks.3."
    shapes = {
        "patch_embed.norm1.1.weight": (56,),
        "patch_embed.conv2.weight": (112, 56, 3, 3),
        block + "gamma1": (112,),
        block + "norm1.0.weight": (112,),
        block + "mlp.fc1.weight": (448, 112),
        block + "dcn.offset.weight": (126, 112),
        block + "dcn.mask.weight": (63, 112),
        block + "dcn.dw_conv.0.weight": (112, 1, 3, 3),
        block + "dcn.dw_conv.1.1.bias": (112,),
        block + "dcn.input_proj.bias": (112,),
        "levels.0.downsample.conv.weight": (224, 112, 3, 3),
        "levels.2.downsample.norm.1.weight": (896,),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes
    assert "levels.0.downsample.conv.bias" not in state and "levels.3.downsample.conv.weight" not in state


def test_initial_values() -> None:
    torch.manual_seed(0)
    backbone = InternImage(**SMALL, layer_scale=0.3)
    state = backbone.state_dict()
    assert not state["levels.1.blocks.0.dcn.offset.weight"].any()
    assert torch.equal(state["levels.1.blocks.0.gamma2"], torch.full((32,), 0.3))
    assert 0.015 < state["levels.2.blocks.0.mlp.fc1.weight"].std().item() < 0.025
    # Xavier: 1 / sqrt(64).
    assert 0.1 < state["levels.2.blocks.0.dcn.input_proj.weight"].std().item() < 0.15


def test_rates_rise_linearly_over_all_blocks() -> None:
    backbone = InternImage(**SMALL, drop_path_rate=0.5)
    levels: Any = backbone.levels
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for level in levels for block in level.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_timm_has_no_weights_of_it() -> None:
    with pytest.raises(ConfigError, match=r"no weights of 'internimage_b'[\s\S]*OpenGVLab"):
        create_backbone("internimage_b", pretrained=True, overrides=SMALL)


def test_levels_need_groups() -> None:
    with pytest.raises(ConfigError, match="4 depths and 2 groups"):
        InternImage(16, (1, 1, 1, 1), (1, 2))
