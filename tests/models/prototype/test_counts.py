"""Prototype: parameters, to the digit, of the paper's tables and of each preset and part."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mtdense.models import DenseModule, MTLBaseline
from tests.models.helpers import ALL_SPECS, SPECS, make_batch
from tests.models.prototype.common import BASELINE, NYUD, build, build_meta


def count(module: nn.Module | None) -> int:
    assert module is not None
    return sum(p.numel() for p in module.parameters())


def inference_size(model: DenseModule) -> int:
    unused = tuple(f"{prefix}." for prefix in model.training_only)
    return sum(p.numel() for name, p in model.network.named_parameters() if not name.startswith(unused))


@pytest.mark.parametrize(
    ("slot_dim", "printed", "conv", "basic_block"),
    [
        (None, "146.5", 146_469_457, 146_481_745),
        (256, "156.6", 156_594_769, 156_607_057),
        (512, "157.5", 157_513_809, 157_526_097),
        (1024, "159.4", 159_351_889, 159_364_177),
        (2048, "163.0", 163_028_049, 163_040_337),
    ],
)
def test_table_4(slot_dim: int | None, printed: str, conv: int, basic_block: int) -> None:
    options: dict[str, Any] = BASELINE if slot_dim is None else {"slot_dim": slot_dim}
    for decoder, expected in (("conv", conv), ("basic_block", basic_block)):
        size = inference_size(build_meta(preset="paper", decoder=decoder, **options))
        assert size == expected
        assert f"{size / 1e6:.1f}" == printed


@pytest.mark.parametrize(
    ("slot_dim", "expected"),
    [(256, 54_058_577), (512, 54_977_617), (1024, 56_815_697), (2048, 60_491_857)],
)
def test_counts_of_the_fair_preset(slot_dim: int, expected: int) -> None:
    assert inference_size(build_meta(preset="dmtl", slot_dim=slot_dim)) == expected


def test_fair_preset_is_the_mtl_baseline_and_more() -> None:
    plain = build_meta(preset="dmtl", **BASELINE)
    with torch.device("meta"):
        baseline = MTLBaseline(tasks=NYUD, backbone="resnet18", preset="paper")
    assert {n: p.shape for n, p in plain.network.named_parameters()} == {
        n: p.shape for n, p in baseline.network.named_parameters()
    }


def test_switched_off_it_computes_the_mtl_baseline() -> None:
    plain = build(**BASELINE).eval()
    baseline = MTLBaseline(tasks=SPECS, backbone="tiny", preset="tiny").eval()
    baseline.network.load_state_dict(plain.network.state_dict())
    image = make_batch()["image"]
    with torch.no_grad():
        a, b = plain(image).final, baseline(image).final
    assert all(torch.equal(a[name], b[name]) for name in SPECS)


def test_parts_of_the_paper_preset() -> None:
    network = build_meta(preset="paper").network
    assert count(network.backbone) == 11_176_512
    assert count(network.neck) == 4_719_616
    assert count(network.decoders) == 3 * 43_521_536
    assert count(network.quantizer) == 256 * 1024 == 262_144
    assert count(network.prototype) == 3 * 1024
    assert count(network.projections) == 3 * (512 * 1024 + 1024)
    assert [count(block) for block in network.retrieval.blocks] == [3_679_744 + 1024 * 1024] * 2
    assert count(network.lifts) == 1_575_936
    assert count(network.heads) == 8_721 + 8_704
    assert count(network.reconstruction) == 6_197_507
    assert count(build_meta(preset="paper", decoder="basic_block").network.decoders) == 130_576_896
    assert build_meta(preset="dmtl").network.quantizer.codebook.shape == (512, 512)


@pytest.mark.parametrize(
    ("decoder", "plain", "full"),
    # Without batch norm but with biases, a decoder has 4 * 1024 parameters less.
    [("basic_block", 233_541_730, 248_536_162), ("conv", 233_541_730 - 5 * 4096, 248_536_162 - 5 * 4096)],
)
def test_pascal_counts(decoder: str, plain: int, full: int) -> None:
    assert inference_size(build_meta(tasks=ALL_SPECS, preset="paper", decoder=decoder, **BASELINE)) == plain
    assert inference_size(build_meta(tasks=ALL_SPECS, preset="paper", decoder=decoder)) == full


def test_resnet50_neck_reads_the_last_map_alone() -> None:
    model = build_meta(preset="paper", backbone="resnet50")
    assert count(model.network.neck) == 2048 * 1024 * 9 + 1024 == 18_875_392
    assert build_meta(preset="dmtl", backbone="resnet50").network.neck.in_channels == 3840


def test_small_preset_is_128_wide() -> None:
    network = build_meta(preset="small").network
    assert network.neck.out_channels == 128
    assert network.quantizer.codebook.shape == (128, 128)
    assert network.prototype.slots.shape == (3, 256)


def test_sizes_by_option() -> None:
    network = build(codebook_size=5, slot_dim=7, retrieval_blocks=3, retrieval_heads=4).network
    assert network.quantizer.codebook.shape == (5, 16)
    assert network.prototype.slots.shape == (3, 7)
    assert len(network.retrieval.blocks) == 3
    assert network.retrieval.blocks[0].heads == 4


def test_what_training_alone_uses() -> None:
    """Predictions do not change when those parameters do, and change with every other one."""
    for options in ({"preliminary_supervision": 0.5}, {"retrieval": False}):
        model = build(**options).eval()
        batch = make_batch()
        with torch.no_grad():
            before = model(batch["image"]).final
        unused = tuple(f"{prefix}." for prefix in model.training_only)
        moved = set()
        for name, parameter in model.network.named_parameters():
            kept = parameter.detach().clone()
            with torch.no_grad():
                parameter.add_(0.3 + torch.rand_like(parameter))
                after = model(batch["image"]).final
                parameter.copy_(kept)
            if any(not torch.equal(before[task], after[task]) for task in SPECS):
                moved.add(name)
            assert (name in moved) == (not name.startswith(unused)), name
        assert any(name.startswith(unused) for name, _ in model.network.named_parameters())
