"""MTL baseline: published parameter counts, part by part."""

from __future__ import annotations

import pytest
from torch import nn

from mtdense.models import MTLBaseline
from tests.models.architecture_tester import ArchitectureTester
from tests.models.helpers import ALL_SPECS


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


class TestMTLBaseline(ArchitectureTester):
    module_class = MTLBaseline


@pytest.mark.parametrize(
    ("specs", "decoders", "heads", "total"),
    [
        (ALL_SPECS, 47_206_400, 17_442, 62_824_546),
        ({"semseg": {"num_classes": 13}, "depth": {}, "normals": {}}, 28_323_840, 8_721, 43_933_265),
    ],
    ids=["pascal", "nyud13"],
)
def test_published_counts(specs: dict[str, dict], decoders: int, heads: int, total: int) -> None:
    network = MTLBaseline(tasks=specs, backbone="resnet18", preset="paper").network
    assert count(network.backbone) == 11_176_512
    assert count(network.neck) == 4_424_192
    assert count(network.decoders) == decoders
    assert count(network.heads) == heads
    assert count(network) == total


def test_small_preset_is_128_wide() -> None:
    network = MTLBaseline(tasks={"depth": {}}, backbone="resnet18", preset="small").network
    assert network.neck.out_channels == 128
    assert count(network.decoders) == 2 * (2 * 9 * 128 * 128 + 4 * 128)
