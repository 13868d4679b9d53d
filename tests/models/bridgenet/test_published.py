"""Official checkpoints fit key for key: names and shapes of the public classes (commit in `golden.json`)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtdense.backbones import create_backbone
from mtdense.core.errors import CheckpointError
from mtdense.models import BridgeNet
from mtdense.models.bridgenet import BridgeNetwork
from mtdense.models.bridgenet.published import from_official
from tests.models.bridgenet.manifest import HERE, formula, read_manifest
from tests.models.bridgenet.test_counts import NYUD
from tests.models.bridgenet.test_golden import OUTPUTS, SIZE, plan
from tests.models.helpers import ALL_SPECS


@pytest.mark.parametrize(
    ("name", "specs", "backbone", "size", "tfr"),
    [
        ("official_nyud_vit_base", NYUD, "vit_base", [448, 576], "huge"),
        ("official_pascal_internimage_l", ALL_SPECS, "internimage_l", [512, 512], "large"),
    ],
)
def test_whole_checkpoints(name: str, specs: dict, backbone: str, size: list[int], tfr: str) -> None:
    shapes = read_manifest(HERE / f"{name}.txt")
    with torch.device("meta"):
        model = BridgeNet(tasks=specs, backbone=backbone, input_size=size, tfr_size=tfr, unused_parts=True)
        state = {f"module.{key}": torch.empty(shape) for key, shape in shapes.items()}
        found = from_official(model.network, state)
    assert {key: value.shape for key, value in found.items()} == {
        key: value.shape for key, value in model.network.state_dict().items()
    }
    # Nothing is taken twice: what is left over would have been refused.
    norms = sum(key.endswith("num_batches_tracked") for key in shapes)
    ours = sum(key.endswith("num_batches_tracked") for key in found)
    assert sum(value.numel() for value in found.values()) - ours == sum(v.numel() for v in state.values()) - norms


@pytest.fixture
def small() -> tuple[BridgeNetwork, dict[str, Tensor]]:
    backbone = create_backbone("vit_base", img_size=SIZE, overrides={"depth": 4, "embed_dim": 32, "num_heads": 2})
    state = {name: formula(name, shape) for name, shape in read_manifest(HERE / "golden_vit.txt").items()}
    return BridgeNetwork(backbone, OUTPUTS, plan(32, 2)), state


def test_split_weights_come_from_one(small: tuple[BridgeNetwork, dict[str, Tensor]]) -> None:
    network, state = small
    found = from_official(network, state)
    block = "stages.1.refine.blocks.3"
    theirs = state["multi_task_decoder.trfl.trfl_stages.1.reconv.re_blocks.3.2.conv_layer.0.weight"]
    rows = slice(2 * 6, 3 * 6)
    both = [found[f"{block}.from_task.weight"][rows], found[f"{block}.from_bridge.weight"][rows]]
    assert torch.equal(torch.cat(both, dim=1), theirs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("heads.depth.linear_pred.bias"), r"lacks heads\.depth\.linear_pred\.bias"),
        (
            lambda s: s.update({"heads.sal.linear_pred.bias": torch.zeros(2)}),
            r"has heads\.sal\.\S+ too many",
        ),
        (lambda s: s.update({"heads.depth.linear_pred.bias": torch.zeros(2)}), r"final\.heads\.depth\.bias"),
        (lambda s: s.pop("backbone.norm.weight"), r"lacks backbone\.network\.norm\.weight"),
    ],
    ids=["missing", "left over", "another shape", "backbone"],
)
def test_what_does_not_fit_is_refused(
    small: tuple[BridgeNetwork, dict[str, Tensor]], change: object, message: str
) -> None:
    network, state = small
    change(state)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=message):
        from_official(network, state)


def test_networks_that_the_official_code_lacks_are_refused() -> None:
    network = BridgeNet(tasks={"depth": {}}, backbone="tiny", preset="tiny", tpp=False).network
    with pytest.raises(CheckpointError, match="no such network"):
        from_official(network, {})


def test_unused_parts_are_named_where_there_is_no_place_for_them() -> None:
    options = {"width": 20, "extra_width": 4, "preliminary_width": 32, "tfr_layers": 2, "input_size": list(SIZE)}
    small = {"overrides": {"depth": 4, "embed_dim": 32, "num_heads": 2}}
    specs: dict[str, dict] = {**NYUD, "semseg": {"num_classes": 5}}
    with torch.device("meta"):
        network = BridgeNet(tasks=specs, backbone="vit_base", backbone_options=small, **options).network
        state = {name: torch.empty(shape) for name, shape in read_manifest(HERE / "golden_vit.txt").items()}
    with pytest.raises(CheckpointError, match=r"never uses.*norm_mt[\s\S]*--model\.unused_parts true"):
        from_official(network, state)
    # Without them, the rest fits.
    unused = ("scale_embed.0.", "norm_mt.", "redu_chan.0.")
    used = {name: value for name, value in state.items() if not any(part in name for part in unused)}
    assert from_official(network, used).keys() == network.state_dict().keys()
