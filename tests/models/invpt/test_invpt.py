"""InvPT: what every architecture must do, its counts, its official checkpoints, values of its public code.

The public code is github.com/prismformore/Multi-Task-Transformer, commit 870c6be100b95d44ffa0a9591775dd3faa2d5664, run
as BridgeNet's in `tests/models/bridgenet/test_golden.py`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mtdense.backbones import create_backbone
from mtdense.core.errors import CheckpointError, ConfigError
from mtdense.models import InvPT
from mtdense.models.invpt import InvPTNetwork
from mtdense.models.invpt.published import from_official
from mtdense.reports.profile import full_macs, image_batch
from tests.models.architecture_tester import ArchitectureTester
from tests.models.bridgenet.golden_checks import SIZE, check_golden
from tests.models.bridgenet.manifest import formula, read_manifest
from tests.models.bridgenet.test_bridgenet import check_gradients
from tests.models.helpers import ALL_SPECS, SPECS

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden.json").read_text())
NYUD: dict[str, dict[str, Any]] = {"semseg": {"num_classes": 40}, "depth": {}, "normals": {}, "edges": {}}
DATA = {"nyud": (NYUD, (448, 576)), "pascal": (ALL_SPECS, (512, 512))}


class TestInvPT(ArchitectureTester):
    module_class = InvPT

    def test_every_parameter_gets_a_gradient(self) -> None:
        check_gradients(self.build())


@cache
def build(data: str, backbone: str, unused_parts: bool) -> InvPT:
    specs, size = DATA[data]
    with torch.device("meta"):
        return InvPT(tasks=specs, backbone=backbone, input_size=list(size), unused_parts=unused_parts).eval()


def millions(*modules: nn.Module | None) -> float:
    return sum(p.numel() for m in modules if m is not None for p in m.parameters()) / 1e6


@pytest.mark.parametrize(
    ("data", "backbone", "params", "cost"),
    [
        ("nyud", "vit_large", 402.09, 601.9),
        ("pascal", "vit_large", 422.93, 672.4),
        ("nyud", "vit_base", 160.82, 343.7),
        ("pascal", "vit_base", 176.35, 408.2),
    ],
)
def test_official_networks(data: str, backbone: str, params: float, cost: float) -> None:
    model = build(data, backbone, True)
    assert round(millions(model.network), 2) == params
    batch = image_batch(DATA[data][1], "meta")
    counted = full_macs(model, lambda: model.run_network(batch))[""] / 1e9
    assert round(counted, 1) == cost
    if (data, backbone) == ("pascal", "vit_large"):
        # Table IV of BridgeNet prints 423 M and 669 G: attention is in this row, unlike in BridgeNet's own.
        assert (millions(model.network), counted) == pytest.approx((423, 669), rel=0.01)


def test_parts_on_nyud() -> None:
    network = build("nyud", "vit_base", True).network
    unused = network.unused
    assert round(millions(network.preliminary), 2) == 35.40
    assert round(millions(network.scale_embed, unused.embed), 3) == 6.968
    # The fusing layer that the first stage holds for nothing is of 34 numbers.
    assert [round(millions(stage), 3) for stage in network.stages] == [4.014, 9.974, 2.499]
    assert round(millions(network.final.decoders), 3) == 11.951
    assert round(millions(network.mix), 3) == 1.208
    assert round(millions(network.collect.projections, unused.projection), 3) == 2.329
    parts = (network.stages, network.final.decoders, network.mix, network.collect, unused.projection, unused.norm)
    assert round(millions(*parts, unused.fuse), 3) == 31.985
    # Without what it holds for nothing: what BridgeNet's Table VI calls "Add + InvPT, +30.7".
    assert round(millions(*parts) - millions(unused.projection), 2) == pytest.approx(30.66, abs=0.01)


def test_whole_checkpoint() -> None:
    shapes = read_manifest(HERE / "official_pascal_vit_large.txt")
    network = build("pascal", "vit_large", True).network
    found = from_official(network, {key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in network.state_dict().items()}


GROUPS = {
    "backbone": ("backbone.",),
    "preliminary_decoder": ("preliminary.",),
    "intermediate_head": ("preliminary_heads.",),
    "scale_embed": ("scale_embed.",),
    "invpt.invpt_stages": ("stages.",),
    "invpt.mix_proj": ("mix.",),
    "invpt.norm_mts": ("collect.norms.",),
    "invpt.redu_chan": ("collect.projections.",),
    "heads": ("final.heads.",),
}


def test_whole_network() -> None:
    backbone = create_backbone("vit_base", img_size=SIZE, overrides={"depth": 4, "embed_dim": 32, "num_heads": 2})
    outputs = {"semseg": 5, "depth": 1, "normals": 3, "edges": 1}
    network = InvPTNetwork(backbone, outputs, 20, 32, (24, 12, 6), unused_parts=True).double()
    state = {name: formula(name, shape) for name, shape in read_manifest(HERE / "golden_vit.txt").items()}
    network.load_state_dict(from_official(network, state))
    check_golden(network, GOLDEN["vit"], GROUPS)


def test_every_place_of_every_task_is_seen_by_every_task() -> None:
    model = InvPT(tasks=SPECS, backbone="tiny", preset="tiny").eval()
    block = model.network.stages[0].block
    x = torch.rand(1, 3 * 16, 2, 4, requires_grad=True)
    out, scores = block(x, None)
    assert scores.shape == (1, 2, 3, 1, 2, 3 * 2)
    # The first task's first place, asked for the last task's last.
    out[0, 0, 0, 0].backward()
    assert x.grad is not None
    assert x.grad[0, -1, -1, -1].abs() > 0


@pytest.mark.parametrize("size", [(64, 96), (70, 90)])
def test_sizes(size: tuple[int, int]) -> None:
    outputs = InvPT(tasks=SPECS, backbone="tiny", preset="tiny").eval()(torch.rand(1, 3, *size))
    quarter = (-(-size[0] // 4), -(-size[1] // 4))
    assert all(tuple(logits.shape[-2:]) == quarter for logits in outputs.final.values())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="preset is 'huge'"):
        InvPT(tasks=SPECS, backbone="tiny", preset="huge")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="official code lacks"):
        InvPT(tasks=SPECS, backbone="tiny", preset="tiny", unused_parts=True)
    with pytest.raises(CheckpointError, match="no such network"):
        from_official(InvPT(tasks=SPECS, backbone="tiny", preset="tiny").network, {})
