"""Parameters and multiply-accumulates: BridgeNet's paper and its official modules, to the digit."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from mtdense.models import BridgeNet
from mtdense.reports.profile import CONVENTIONS, count_by_convention, full_macs, image_batch
from tests.models.helpers import ALL_SPECS

NYUD: dict[str, dict[str, Any]] = {"semseg": {"num_classes": 40}, "depth": {}, "normals": {}, "edges": {}}
SIZES = {"nyud": (448, 576), "pascal": (512, 512)}


@cache
def build(data: str, backbone: str, **options: Any) -> BridgeNet:
    with torch.device("meta"):
        return BridgeNet(
            tasks=NYUD if data == "nyud" else ALL_SPECS, backbone=backbone, input_size=list(SIZES[data]), **options
        ).eval()


def millions(*modules: nn.Module | None) -> float:
    return sum(p.numel() for m in modules if m is not None for p in m.parameters()) / 1e6


def macs(model: BridgeNet, data: str) -> dict[str, float]:
    batch = image_batch(SIZES[data], "meta")
    return {name: value / 1e9 for name, value in full_macs(model, lambda: model.run_network(batch)).items()}


@pytest.mark.parametrize(
    ("data", "backbone", "tfr", "params", "backbone_params", "decoder", "cost", "backbone_cost"),
    [
        ("nyud", "vit_base", "huge", 221.90, 86.42, 135.45, 369.2, 105.1),
        pytest.param("nyud", "vit_base", "large", 206.03, 86.42, 119.59, 360.1, 105.1, marks=pytest.mark.slow),
        pytest.param("nyud", "vit_base", "base", 190.16, 86.42, 103.72, 351.0, 105.1, marks=pytest.mark.slow),
        pytest.param("nyud", "vit_base", None, 174.29, 86.42, 87.85, 341.8, 105.1, marks=pytest.mark.slow),
        pytest.param("nyud", "vit_large", "huge", 463.32, 304.13, 159.16, 627.6, 355.5, marks=pytest.mark.slow),
        ("nyud", "internimage_b", "huge", 236.57, 94.91, 141.64, 346.7, 82.0),
        pytest.param("nyud", "internimage_l", "huge", 399.31, 218.95, 180.33, 463.5, 186.4, marks=pytest.mark.slow),
        pytest.param("pascal", "vit_base", "large", 232.64, 86.43, 146.18, 427.7, 107.0, marks=pytest.mark.slow),
        ("pascal", "vit_large", "large", 479.37, 304.15, 175.20, 692.0, 362.0),
        pytest.param("pascal", "internimage_b", "large", 249.80, 94.91, 154.87, 405.1, 83.3, marks=pytest.mark.slow),
        ("pascal", "internimage_l", "large", 421.83, 218.95, 202.85, 526.2, 189.4),
    ],
)
def test_official_networks(
    data: str,
    backbone: str,
    tfr: Any,
    params: float,
    backbone_params: float,
    decoder: float,
    cost: float,
    backbone_cost: float,
) -> None:
    """With what the official code holds, and runs, for nothing."""
    refinement = {"refinement": "add"} if tfr is None else {"tfr_size": tfr}
    model = build(data, backbone, unused_parts=True, **refinement)
    network = model.network
    assert round(millions(network), 2) == params
    assert round(millions(network.backbone), 2) == backbone_params
    assert round(millions(network) - millions(network.backbone, network.final.heads), 2) == decoder
    counted = macs(model, data)
    assert round(counted[""], 1) == cost
    assert round(counted["backbone"], 1) == backbone_cost


@pytest.mark.parametrize(
    ("backbone", "printed"),
    [
        ("vit_base", (230, 412)),
        ("vit_large", (477, 645)),
        ("internimage_b", (248, 406)),
        ("internimage_l", (420, 527)),
    ],
)
def test_table_4(backbone: str, printed: tuple[int, int]) -> None:
    """thop's way of counting, which sees no attention products."""
    model = build("pascal", backbone, tfr_size="large", unused_parts=True)
    batch = image_batch(SIZES["pascal"], "meta")
    params, cost = count_by_convention(CONVENTIONS["thop"], model.network, lambda: model.run_network(batch))
    assert (params / 1e6, cost / 1e9) == pytest.approx(printed, rel=0.001)


@pytest.mark.parametrize(("tfr", "more"), [("base", 15.87), ("large", 31.74), ("huge", 47.61)])
def test_tfr_costs_what_table_6_says(tfr: Any, more: float) -> None:
    add, refined = build("nyud", "vit_base", refinement="add"), build("nyud", "vit_base", tfr_size=tfr)
    assert round(millions(refined.network) - millions(add.network), 2) == more


def test_parts_on_nyud() -> None:
    network = build("nyud", "vit_base", tfr_size="huge", unused_parts=True).network
    tpp = network.tpp
    production = (tpp.norm, tpp.query_conv, tpp.query_norm, tpp.query, tpp.key, tpp.value)
    assert round(millions(network.scale_embed, network.unused.embed), 3) == 6.968
    assert round(millions(network.unused.embed), 1) == 1.0
    assert round(millions(network.preliminary), 3) == 35.400
    assert round(millions(*production), 3) == 3.178
    assert round(millions(tpp) - millions(*production), 3) == 9.454
    assert round(millions(network.preliminary_heads), 3) == 0.023
    assert round(millions(network.mix), 3) == 1.208
    parts = [[round(millions(m), 3) for m in (s, s.embed, s.up, s.bridge, s.refine, s.cascade)] for s in network.stages]
    assert parts == [
        [40.609, 0.444, 0, 4.001, 36.164, 0],
        [19.424, 0.167, 8.963, 1.005, 9.124, 0.166],
        [4.901, 0.042, 2.242, 0.254, 2.322, 0.042],
    ]
    assert round(millions(network.collect.projections, network.unused.projection), 3) == 2.329
    assert round(millions(network.unused.projection), 2) == 1.33
    assert round(millions(network.collect.norms, network.unused.norm), 3) == 0.009
    assert round(millions(network.final.decoders), 3) == 11.951
    assert round(millions(network.final.heads), 3) == 0.026


def test_parts_on_pascal() -> None:
    network = build("pascal", "vit_base", tfr_size="large", unused_parts=True).network
    tpp = network.tpp
    production = (tpp.norm, tpp.query_conv, tpp.query_norm, tpp.query, tpp.key, tpp.value)
    assert round(millions(*production), 3) == 3.973
    assert round(millions(tpp) - millions(*production), 3) == 11.817
    assert [round(millions(stage.refine), 3) for stage in network.stages] == [30.136, 7.603, 1.935]
    assert round(millions(network.final.decoders), 3) == 14.939
    assert round(millions(network.mix), 3) == 1.497
    assert round(millions(network.collect.projections, network.unused.projection), 3) == 2.912


@pytest.mark.parametrize(
    ("backbone", "decoders"),
    [("vit_base", 44.25), ("vit_large", 70.79), ("internimage_b", 56.79), ("internimage_l", 103.24)],
)
def test_preliminary_decoders_on_pascal(backbone: str, decoders: float) -> None:
    assert millions(
        build("pascal", backbone, tfr_size="large", unused_parts=True).network.preliminary
    ) == pytest.approx(decoders, abs=0.006)


def test_one_refine_block_of_one_task() -> None:
    stages = build("nyud", "vit_base", tfr_size="huge").network.stages
    counts = [sum(p.numel() for p in stage.refine.blocks[0].parameters()) for stage in stages]
    assert counts == [4 * 502_272, 4 * 126_720, 4 * 32_256]


@pytest.mark.parametrize(("tfr", "totals"), [("base", [12.055, 3.041, 0.774]), ("large", [24.109, 6.083, 1.548])])
def test_refiners_by_stage(tfr: Any, totals: list[float]) -> None:
    assert [
        round(millions(stage.refine), 3) for stage in build("nyud", "vit_base", tfr_size=tfr).network.stages
    ] == totals


def test_without_what_is_not_used() -> None:
    """The default: 2.3 million parameters fall away, and the transposed convolution of a map that nothing reads."""
    official = build("nyud", "vit_base", unused_parts=True, refinement="add")
    ours = build("nyud", "vit_base", refinement="add")
    assert millions(official.network) - millions(ours.network) == pytest.approx(millions(official.network.unused))
    assert macs(official, "nyud")[""] - macs(ours, "nyud")[""] == pytest.approx(768 * 144 * 9 * 28 * 36 / 1e9)


@pytest.mark.parametrize(
    ("form", "more"), [("conv1x1", 3.49), ("conv3x3", 31.36), ("shared_conv3x3", 7.84)], ids=lambda v: str(v)
)
def test_concat_of_table_6(form: Any, more: float) -> None:
    """The paper prints +7.3; no form of one convolution gives that."""
    add = build("nyud", "vit_base", refinement="add")
    concat = build("nyud", "vit_base", refinement="concat", concat_form=form)
    assert round(millions(concat.network) - millions(add.network), 2) == more


@pytest.mark.parametrize(
    ("backbone", "widths"), [("hrnet_w18", (208, 104, 52, 26)), ("hrnet_w48", (448, 224, 112, 56))]
)
def test_hrnets_have_four_stages(backbone: str, widths: tuple[int, ...]) -> None:
    network = build("nyud", backbone, tfr_size="huge").network
    assert network.plan.widths == widths
    assert network.plan.preliminary_width == network.plan.width == network.backbone.channels[-1]
    assert [stage.bridge.pool for stage in network.stages] == [2, 4, 8, 16]
