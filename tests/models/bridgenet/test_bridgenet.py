"""BridgeNet: what every architecture must do, its switches, its figures."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.models import BridgeNet, DenseModule
from mtdense.models.bridgenet.figures import draw_tpp
from tests.models.architecture_tester import ArchitectureTester
from tests.models.helpers import ALL_SPECS, SPECS, make_batch


def build(specs: dict[str, dict] = SPECS, **options: Any) -> BridgeNet:
    torch.manual_seed(0)
    return BridgeNet(tasks=specs, backbone="tiny", preset="tiny", **options)


def unseen(name: str) -> bool:
    """Biases that a softmax or a batch norm takes away again."""
    return name.endswith(("key.bias", "tpp.mix.bias", "fuse.bias", "from_task.bias", "embed.0.bias")) or (
        "final.decoders" in name and name.endswith("0.bias")
    )


class TestBridgeNet(ArchitectureTester):
    module_class = BridgeNet

    def test_every_parameter_gets_a_gradient(self) -> None:
        check_gradients(self.build())


class TestAllTasks(TestBridgeNet):
    specs: ClassVar[dict[str, dict[str, Any]]] = ALL_SPECS


SWITCHES: dict[str, dict[str, Any]] = {
    "no tpp": {"tpp": False},
    "no bfe": {"bfe": False},
    "paper's tpp": {"tpp_feature_to_bridge": True},
    "add": {"refinement": "add"},
    "concat": {"refinement": "concat"},
    "concat 3x3": {"refinement": "concat", "concat_form": "conv3x3"},
    "concat shared": {"refinement": "concat", "concat_form": "shared_conv3x3"},
    "add invpt": {"refinement": "add_invpt"},
    "decoder alone": {"refinement": "none", "bfe": False, "tpp": False},
    "four stages": {"num_stages": 4, "extra_width": 20},
}


def check_gradients(model: DenseModule) -> None:
    batch = make_batch({name: task.spec for name, task in model.tasks.items()}, size=(64, 96))
    for module in model.modules():
        # Official weights are a thousandth: gradients through two of them drown in rounding.
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.2)
    losses = model.losses(model.run_network(batch), batch)
    torch.stack(list(losses.values())).sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, g in grads.items() if g is None] == []
    assert [name for name, g in grads.items() if not unseen(name) and g is not None and g.abs().max() < 1e-12] == []


@pytest.mark.parametrize("options", SWITCHES.values(), ids=SWITCHES.keys())
def test_switches(options: dict[str, Any]) -> None:
    model = build(**options)
    check_gradients(model)
    outputs = model.eval()(torch.rand(1, 3, 70, 90))
    assert all(logits.shape[-2:] == (18, 23) for logits in outputs.final.values())
    assert all(logits.shape[-2:] == (3, 3) for logits in outputs.preliminary[0].values())
    assert (model.network.tpp is not None) == options.get("tpp", True)
    assert [stage.bridge is not None for stage in model.network.stages] == [options.get("bfe", True)] * len(
        model.network.stages
    )


@pytest.mark.parametrize(
    "tasks",
    [["semseg", "depth"], ["semseg", "normals"], ["depth", "normals"], ["semseg", "depth", "normals"], ["depth"]],
    ids="+".join,
)
def test_subsets_of_tables_7_and_8(tasks: list[str]) -> None:
    specs = {name: SPECS[name] for name in tasks}
    model = build(specs).eval()
    outputs = model(torch.rand(1, 3, 64, 64))
    assert list(outputs.final) == tasks
    assert model.network.tpp.mix.in_channels == 2 * len(tasks)


def test_tpp_reaches_final_predictions_through_preliminary_ones_alone_unless_told_otherwise() -> None:
    """Correction of the paper by its code: with the weights of the preliminary heads at zero nothing of TPP is left."""
    for to_bridge in (False, True):
        model = build(tpp_feature_to_bridge=to_bridge).eval()
        network = model.network
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.2)
        for head in network.preliminary_heads.values():
            nn.init.zeros_(head.weight)
        image = torch.rand(1, 3, 64, 96)
        before = model(image).final["depth"]
        nn.init.normal_(network.tpp.fc2.weight)
        assert torch.equal(before, model(image).final["depth"]) != to_bridge


def test_first_stage_of_four_tasks_sees_the_grids_of_the_paper() -> None:
    """425 x 560: 14 x 18, 27 x 35, 54 x 70, 107 x 140."""
    outputs = build(num_stages=4).eval()(torch.rand(1, 3, 425, 560))
    grids = [tuple(x.shape[-2:]) for _, _, x in outputs.features["stages"]]
    assert grids == [(14, 18), (27, 35), (54, 70), (107, 140)]
    assert outputs.final["depth"].shape[-2:] == (107, 140)


def test_initial_weights() -> None:
    network = build(tfr_layers=6).network
    block = network.stages[0].refine.blocks[0]
    assert 0 < block.from_task.weight.std() < 0.0013
    assert block.from_task.bias.abs().max() == 0
    assert network.stages[0].bridge.query.weight.std().item() == pytest.approx(0.02, rel=0.3)
    assert network.final.decoders["depth"][0].weight.std().item() == pytest.approx(0.02, rel=0.1)
    # TPP is outside the stages: PyTorch's own.
    assert network.tpp.query.weight.abs().max().item() == pytest.approx(12**-0.5, rel=0.05)


def test_stochastic_depth_rises_from_zero_in_each_stage() -> None:
    network = build(tfr_layers=2).network
    for stage in network.stages:
        rates = [block.drop.rate for block in stage.refine.blocks]
        assert rates == pytest.approx([0, 0.03, 0.06, 0.09, 0.12, 0.15])
        assert [block.dilated.dilation[0] for block in stage.refine.blocks] == [1, 2, 5, 1, 2, 5]


def test_preliminary_losses_count_half() -> None:
    model, whole = build(), build(preliminary_weight=1.0)
    batch = make_batch()
    outputs = model.eval().run_network(batch)
    final = model._task_losses(outputs.final, batch, True)
    early = model._task_losses(outputs.preliminary[0], batch, True)
    assert model.losses(outputs, batch)["depth"].item() == pytest.approx((final["depth"] + early["depth"] / 2).item())
    assert whole.losses(outputs, batch)["depth"].item() == pytest.approx((final["depth"] + early["depth"]).item())


def test_unused_parts_are_frozen_and_change_nothing() -> None:
    model, official = build().eval(), build(unused_parts=True).eval()
    missing = official.load_state_dict(model.state_dict(), strict=False)
    assert missing.unexpected_keys == []
    assert all(name.startswith("network.unused.") for name in missing.missing_keys)
    assert not any(p.requires_grad for p in official.network.unused.parameters())
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(model(image).final["depth"], official(image).final["depth"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "huge"}, "unknown preset 'huge'"),
        ({"refinement": "sum"}, "unknown refinement 'sum'"),
        ({"tfr_size": "small"}, "unknown tfr_size 'small'"),
        ({"refinement": "none"}, "nothing uses"),
        ({"tpp": False, "tpp_feature_to_bridge": True}, "without TPP"),
        ({"num_stages": 2}, "num_stages 2"),
        ({"extra_width": 1}, "a width of 12 \\+ 1 over 3 stages"),
        ({"tfr_drop_path_rate": 1.0}, "tfr_drop_path_rate 1.0"),
        ({"num_stages": 4, "unused_parts": True}, "official code lacks"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BridgeNet(**{"tasks": SPECS, "backbone": "tiny", "preset": "tiny", **options})


def test_figures() -> None:
    model, batch = build().eval(), make_batch(size=(64, 96))
    with torch.no_grad():
        pictures = model.figures(batch, model.run_network(batch))
    assert set(pictures) == {"tpp", "stages", "refined"}
    for picture in pictures.values():
        assert picture.dtype == np.uint8
        assert picture.ndim == 3 and picture.shape[-1] == 3
    # Three tasks of 112 x 168, and a white line between them.
    assert pictures["refined"].shape == (112, 3 * 168 + 4, 3)
    assert pictures["stages"].shape == (3 * 112 + 4, 5 * 168 + 8, 3)
    assert set(build(tpp=False).figures(batch, build(tpp=False).eval().run_network(batch))) == {"stages", "refined"}


def test_attention_picture_is_bright_where_attention_is() -> None:
    attention = torch.zeros(2, 1, 4, 2, 2)
    attention[0, :, :, 1, 0] = 1
    attention[1, :, :, 0, 1] = 1
    picture = draw_tpp(attention, torch.rand(4, 2, 2), torch.rand(4, 2, 2), 2).astype(int).sum(-1)
    first, second = picture[:112, :112], picture[:112, 114:226]
    assert first[80, 20] > first[20, 80]
    assert second[20, 80] > second[80, 20]
