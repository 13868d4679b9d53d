"""The mapping network: pairs, published counts, normalisation, resolution."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.models.layers.segnet import segnet_filters
from mtdense.models.mtpsl import MappingNetwork, pair_index

NYUD = {"semseg": 13, "depth": 1, "normals": 3}
CITYSCAPES = {"semseg": 7, "depth": 1}
PASCAL = {"semseg": 21, "human_parts": 7, "saliency": 2, "normals": 3, "edges": 1}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def tiny(norm="sample", downsample=1, channels=NYUD) -> MappingNetwork:
    torch.manual_seed(0)
    return MappingNetwork(channels, segnet_filters(16), 16, norm, downsample)


def test_pairs_by_hand():
    # Three tasks, pairs in the order (0,1) (0,2) (1,0) (1,2) (2,0) (2,1).
    pairs = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    assert [pair_index(s, t, 3) for s, t in pairs] == [0, 1, 2, 3, 4, 5]
    assert pair_index(4, 3, 5) == 19


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_pairs_are_the_off_diagonal_in_reading_order(tasks):
    pairs = list(itertools.permutations(range(tasks), 2))
    assert [pair_index(s, t, tasks) for s, t in pairs] == list(range(tasks * (tasks - 1)))


@pytest.mark.parametrize(
    ("channels", "total", "film"),
    [(NYUD, 14_819_328, 50_688), (CITYSCAPES, 14_780_160, 16_896), (PASCAL, 14_947_776, 168_960)],
    ids=["nyud", "cityscapes", "pascal"],
)
def test_published_counts(channels, total, film):
    with torch.device("meta"):
        mapper = MappingNetwork(channels, segnet_filters(512), 512)
    assert count(mapper) == total
    assert sum(p.numel() for p in mapper.film_parameters()) == film
    assert count(mapper.stems) == sum(9 * 64 * c + 3 * 64 for c in channels.values())


def test_the_output_has_the_channels_of_the_deepest_map():
    with torch.device("meta"):
        mapper = MappingNetwork(NYUD, segnet_filters(512), 2048)
        out = mapper(mapper.embed("depth", torch.empty(1, 1, 64, 96)), torch.zeros(1, dtype=torch.int64))
    assert out.shape == (1, 2048, 2, 3)


@pytest.mark.parametrize("downsample", [1, 2, 4])
@pytest.mark.parametrize("size", [(96, 128), (90, 130)])
def test_the_output_has_stride_32_whatever_the_input(downsample, size):
    mapper = tiny(downsample=downsample)
    maps = torch.rand(2, 1, -(-size[0] // downsample), -(-size[1] // downsample))
    out = mapper(mapper.embed("depth", maps), torch.tensor([0, 1]))
    assert out.shape == (2, 16, -(-size[0] // 32), -(-size[1] // 32))


def test_maps_alone_are_not_moved_by_others_and_pooled_ones_are():
    maps = torch.rand(3, 3, 64, 64)
    pairs = torch.tensor([0, 5, 2])
    for norm, equal in (("sample", True), ("batch", False)):
        mapper = tiny(norm)
        together = mapper(mapper.embed("normals", maps), pairs)
        alone = mapper(mapper.embed("normals", maps[1:2]), pairs[1:2])
        assert torch.allclose(together[1:2], alone, atol=1e-5) is equal


@pytest.mark.parametrize("norm", ["sample", "batch"])
def test_a_unit_equals_batch_norm_and_an_affine_map_of_the_pair(norm):
    unit = tiny(norm).stages[1][0]
    with torch.no_grad():
        for p in (unit.weight, unit.bias, unit.gamma, unit.beta):
            p.copy_(torch.randn_like(p))
    x, pairs = torch.randn(4, unit.conv.in_channels, 6, 5), torch.tensor([3, 0, 3, 5])
    normal = nn.BatchNorm2d(unit.conv.out_channels)
    normal.weight, normal.bias = unit.weight, unit.bias
    y = unit.conv(x)
    y = torch.cat([normal(row[None]) for row in y]) if norm == "sample" else normal(y)
    expected = F.relu(unit.gamma[pairs][:, :, None, None] * y + unit.beta[pairs][:, :, None, None])
    torch.testing.assert_close(unit(x, pairs), expected, atol=1e-5, rtol=1e-5)


def test_only_rows_of_the_pair_learn():
    mapper = tiny()
    out = mapper(mapper.embed("depth", torch.rand(2, 1, 64, 64)), torch.tensor([4, 4]))
    out.square().sum().backward()
    for parameter in mapper.film_parameters():
        assert parameter.grad[4].any()
        assert not parameter.grad[[0, 1, 2, 3, 5]].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "group"}, "unknown mapper_norm 'group'"),
        ({"downsample": 3}, "mapper_downsample is 3"),
        ({"channels": {"depth": 1}}, "with one task"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        tiny(**options)


def test_images_that_leave_one_pixel_are_refused():
    with pytest.raises(ConfigError, match="8x8 leave the mapping network nothing"):
        tiny(downsample=4).embed("depth", torch.rand(1, 1, 8, 8))
