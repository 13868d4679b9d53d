"""The two baselines on ResNet-50: a neck over all 3840 channels, counted part by part."""

from __future__ import annotations

import torch
from torch import nn

from mtdense.models import MTLBaseline, SingleTask
from tests.models.helpers import ALL_SPECS


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_counts_of_the_mtl_baseline() -> None:
    with torch.device("meta"):
        network = MTLBaseline(tasks=ALL_SPECS, backbone="resnet50", preset="paper").network
    assert network.backbone.channels == (256, 512, 1024, 2048)
    assert network.neck.in_channels == 3840
    assert count(network.backbone) == 23_508_032
    assert count(network.neck) == 3840 * 512 * 9 + 512 == 17_695_232
    assert count(network.decoders) == 47_206_400
    assert count(network.heads) == 17_442
    assert count(network) == 88_427_106


def test_counts_of_a_single_task() -> None:
    with torch.device("meta"):
        network = SingleTask(tasks={"semseg": {"num_classes": 21}}, backbone="resnet50", preset="paper").network
    assert count(network) == 23_508_032 + 17_695_232 + 9_441_280 + 513 * 21
