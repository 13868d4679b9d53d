"""SegNet as the network of the baselines: parts, unpooling, sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.models import DenseModule, MTLBaseline, SingleTask
from mtdense.models.layers.segnet import SegNet, segnet_filters, unpool
from tests.models.architecture_tester import ArchitectureTester
from tests.models.helpers import SPECS


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


class TestMTLBaselineOnSegNet(ArchitectureTester):
    module_class = MTLBaseline

    def build(self, **kwargs: Any) -> DenseModule:
        torch.manual_seed(0)
        return MTLBaseline(tasks=self.specs, backbone="segnet", preset="tiny", **kwargs)


class TestSingleTaskOnSegNet(ArchitectureTester):
    module_class = SingleTask
    specs = {"normals": {"loss": "cosine"}}

    def build(self, **kwargs: Any) -> DenseModule:
        torch.manual_seed(0)
        return SingleTask(tasks=self.specs, backbone="segnet", preset="tiny", **kwargs)


def test_counts_of_parts():
    with torch.device("meta"):
        network = MTLBaseline(tasks={"semseg": {"num_classes": 13}, "depth": {}, "normals": {}}, backbone="segnet")
    # Each unit: 3x3 with bias and BN.
    units = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), *[(256, 256)] * 2, (256, 512), *[(512, 512)] * 5]
    encoder = sum(9 * a * b + 3 * b for a, b in units)
    assert count(network.network.backbone.encoder) == encoder == 14_723_136
    mirrored = [*[(512, 512)] * 3, (512, 256), *[(256, 256)] * 2, (256, 128), *[(128, 128)] * 2, (128, 64)]
    mirrored += [(64, 64)] * 3
    decoder = sum(9 * a * b + 3 * b for a, b in mirrored)
    assert count(network.network.backbone.decoder) == decoder
    channels = {"semseg": 13, "depth": 1, "normals": 3}
    heads = {name: 9 * 64 * 64 + 64 + 65 * outputs for name, outputs in channels.items()}
    assert {name: count(head) for name, head in network.network.heads.items()} == heads
    # The published 25,055,188 count three uncertainties that nothing uses.
    assert count(network.network) == encoder + decoder + sum(heads.values()) == 25_055_188 - 3


@pytest.mark.parametrize(
    ("specs", "total"),
    # The first is the number that MTPSL's scripts divide all others by.
    [({"semseg": {"num_classes": 13}}, 24_981_069), ({"depth": {}}, 24_980_289), ({"normals": {}}, 24_980_419)],
    ids=["semseg", "depth", "normals"],
)
def test_a_single_task_has_one_head(specs, total):
    with torch.device("meta"):
        network = SingleTask(tasks=specs, backbone="segnet").network
    assert count(network) == total


def test_filters():
    assert segnet_filters(512) == (64, 128, 256, 512, 512)
    assert segnet_filters(128) == (16, 32, 64, 128, 128)
    assert segnet_filters(16) == (4, 4, 8, 16, 16)


@pytest.mark.parametrize("size", [(8, 10), (7, 9)])
def test_unpooling_equals_pytorchs(size):
    x = torch.randn(2, 3, *size, requires_grad=True)
    pooled, indices = F.max_pool2d(x, 2, return_indices=True)
    expected = F.max_unpool2d(pooled, indices, 2, output_size=size)
    assert torch.equal(unpool(pooled, indices, size), expected)
    (ours,) = torch.autograd.grad((unpool(pooled, indices, size) ** 2).sum(), x, retain_graph=True)
    (theirs,) = torch.autograd.grad((expected**2).sum(), x)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("size", [(64, 96), (50, 33)])
def test_maps_have_the_sizes_of_a_pyramid(size):
    decoded, bottleneck = SegNet(segnet_filters(16))(torch.rand(2, 3, *size))
    assert decoded.shape == (2, 4, *size)
    assert bottleneck.shape == (2, 16, -(-size[0] // 32), -(-size[1] // 32))


def test_images_may_stay_as_they_are():
    model = MTLBaseline(tasks=SPECS, backbone="segnet", preset="tiny", normalization="weights")
    image = torch.rand(1, 3, 4, 4)
    assert torch.equal(model.normalise(image), image)


def test_initial_values_are_glorots():
    torch.manual_seed(0)
    convs = [m for m in SegNet(segnet_filters(128)).modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == 26
    for conv in convs:
        deviation = (2 / (9 * (conv.in_channels + conv.out_channels))) ** 0.5
        assert conv.weight.std().item() == pytest.approx(deviation, rel=0.15)
        assert not conv.bias.any()


@pytest.mark.parametrize("options", [{"pretrained": True}, {"backbone_checkpoint": "x.pth"}])
def test_weights_to_load_are_refused(options):
    with pytest.raises(ConfigError, match="trained from scratch"):
        MTLBaseline(tasks=SPECS, backbone="segnet", **options)
