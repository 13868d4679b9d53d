"""DeMT: counts by part, attention and mixer by their definitions, images that do not see each other.

Golden numbers: github.com/yangyangxu0/DeMT, commit b638e140b0bf4c37e119f2dd8b9945386103a9fc, its whole `DemtHead`
with the weights, maps and functional of `tests.models.common`. Its attention was run one image at a time, with the
reshapes of the PyTorch 1.7 that it names, as later ones refuse its shapes; its deformable convolution by the definition
of torchvision.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtdense.core.errors import ConfigError
from mtdense.models import DeMT, DenseModule
from mtdense.models.demt import ChannelOffsets, DeformableMixer, DeMTNetwork, PlaceAttention
from mtdense.models.layers.deformable_conv import deformable_conv2d
from mtdense.reports.profile import CONVENTIONS, count_by_convention
from tests.models.architecture_tester import ArchitectureTester
from tests.models.common import (
    GOLDEN_OUTPUTS,
    HRNET,
    HRNET_W18_PARAMS,
    NYUD,
    GivenMaps,
    check_golden,
    on_meta,
    ptflops,
    read_golden,
    run_on_meta,
)
from tests.models.helpers import ALL_SPECS, SPECS, make_batch

GOLDEN = read_golden(__file__)
SWIN = {
    "swin_t": (96, 192, 384, 768),
    "swin_s": (96, 192, 384, 768),
    "swin_b": (128, 256, 512, 1024),
    "swin_l": (192, 384, 768, 1536),
}
CHANNELS = {**SWIN, "hrnet_w18": HRNET["hrnet_w18"]}
# Parameters, and 1e9 MACs at 425x560 under `ptflops`.
BACKBONES = {
    "hrnet_w18": (HRNET_W18_PARAMS, 7.781),
    "swin_t": (27_520_698, 21.653),
    "swin_s": (48_838_602, None),
    "swin_b": (86_745_016, None),
    "swin_l": (194_998_164, None),
}
SIZE = (425, 560)


def tiny(**options: Any) -> DeMT:
    torch.manual_seed(0)
    return DeMT(tasks=SPECS, backbone="tiny", preset="tiny", **options)


class TestDeMT(ArchitectureTester):
    module_class = DeMT


class TestNearerTheText(ArchitectureTester):
    module_class = DeMT

    def build(self, **kwargs: Any) -> DenseModule:
        return super().build(interaction="tasks", offset_places="relative", mixer_depth=2, **kwargs)


# ---- counts --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("backbone", "head", "printed"),
    [
        ("hrnet_w18", 904_010, 4.76),
        ("swin_t", 4_549_561, 32.07),
        ("swin_s", 4_549_561, 53.03),
        ("swin_b", 5_228_581, 90.9),
        ("swin_l", 6_586_621, 201.64),
    ],
)
def test_parameters(backbone: str, head: int, printed: float) -> None:
    """The decoder to the digit; the whole within 1.5 % of what paper and public code print."""
    network = on_meta(DeMT, CHANNELS[backbone], tasks=NYUD, backbone=backbone).network
    assert sum(p.numel() for p in network.parameters()) == head
    assert (BACKBONES[backbone][0] + head) / 1e6 == pytest.approx(printed, rel=0.015)


@pytest.mark.parametrize(
    ("backbone", "params", "macs"), [("hrnet_w18", 4.76473, 24.067), ("swin_t", 32.070259, 100.700)]
)
def test_whole_networks_cost_what_the_public_code_does(backbone: str, params: float, macs: float) -> None:
    """As measured on the public code; HRNet-W18 is printed with 22.07 G."""
    module = on_meta(DeMT, CHANNELS[backbone], tasks=NYUD, backbone=backbone)
    own, rest = BACKBONES[backbone]
    assert (own + sum(p.numel() for p in module.network.parameters())) / 1e6 == pytest.approx(params, abs=1e-6)
    assert ptflops(module, SIZE) == pytest.approx(macs - rest, abs=2e-3)


def test_parts_on_swin_t() -> None:
    """Millions of parameters; MACs by hand, with P places of the finest map and as that counter sees attention."""
    module = on_meta(DeMT, SWIN["swin_t"], tasks=NYUD, backbone="swin_t")
    p, d, tasks = 107 * 140, 256, 4
    attention = tasks * p * (4 * d * d + 5 * d + 4 * (2 * d // 4 + 1))
    mixer = d * d + d + 9 * d * 18 + 18 + 9 * 9 * 2 * d + 2 * d + 2 * d + 2 * 2 * d
    expected = {
        "reduce": (0.369, p * 1440 * d),
        "mixers": (0.864, tasks * p * mixer),
        "interact": (0.263, attention),
        "interact_linear": (0.066, tasks * p * d * d),
        "query": (1.053, attention),
        "query_linear": (0.265, tasks * p * d * d),
        "task_convolutions": (1.660, tasks * p * (9 * d * 180 + 3 * 180)),
        "heads": (0.0081, p * 45 * 181),
    }
    assert set(expected) == {name for name, _ in module.network.named_children()} - {"backbone"}
    for name, (params, macs) in expected.items():
        part = module.network.get_submodule(name)
        counted = count_by_convention(CONVENTIONS["ptflops"], part, lambda: run_on_meta(module, SIZE))
        assert counted[0] / 1e6 == pytest.approx(params, abs=6e-4), name
        assert counted[1] / 1e9 == pytest.approx(macs / 1e9, abs=2e-3), name


def test_widths() -> None:
    widths = {"swin_t": 256, "hrnet_w18": 128, "hrnet_w18_small_v2.ms_in1k": 128, "hrnet_w48": 256}
    for backbone, width in widths.items():
        network = on_meta(DeMT, HRNET["hrnet_w18"], tasks=SPECS, backbone=backbone).network
        assert network.reduce[0].out_features == width
    network = on_meta(DeMT, HRNET["hrnet_w18"], tasks=ALL_SPECS, backbone="hrnet_w18", width=64, fusion_width=8).network
    assert (network.reduce[0].out_features, network.heads["semseg"].in_channels) == (64, 8)


# ---- the public code -----------------------------------------------------------------------------------------------
def test_golden_numbers() -> None:
    check_golden(DeMTNetwork(GivenMaps(), GOLDEN_OUTPUTS), GOLDEN)


# ---- images do not see each other ----------------------------------------------------------------------------------
@pytest.mark.parametrize("interaction", ["own_token", "tasks"])
def test_an_image_does_not_depend_on_its_batch(interaction: str) -> None:
    model = tiny(interaction=interaction).eval()
    image = make_batch(SPECS, {name: [True] * 3 for name in SPECS})["image"].requires_grad_()
    together = model(image).final
    (leak,) = torch.autograd.grad(sum(x[0].square().sum() for x in together.values()), image, retain_graph=True)
    assert leak[0].any()
    assert not leak[1:].any()
    for i in range(3):
        alone = model(image[i : i + 1]).final
        for name, logits in alone.items():
            torch.testing.assert_close(together[name][i : i + 1], logits, rtol=1e-5, atol=1e-6)


def test_tasks_do_see_each_other() -> None:
    """Each task's outputs depend on the mixers of all, in both forms."""
    for interaction in ("own_token", "tasks"):
        model = tiny(interaction=interaction).eval()
        outputs = model.network(torch.randn(1, 3, 32, 40)).final
        for mixer in model.network.mixers.values():
            for logits in outputs.values():
                (grad,) = torch.autograd.grad(logits.square().sum(), mixer[0].weight, retain_graph=True)
                assert grad.any()


# ---- attention -----------------------------------------------------------------------------------------------------
def library(attention: PlaceAttention, query: Tensor, key: Tensor, places: int) -> Tensor:
    """PyTorch's own layer on one batch entry per image and place."""
    plain = nn.MultiheadAttention(attention.embed_dim, attention.num_heads, batch_first=True)
    plain.load_state_dict(attention.state_dict())

    def by_place(tokens: Tensor) -> Tensor:
        return tokens.unflatten(1, (-1, places)).transpose(1, 2).flatten(0, 1)

    out, _ = plain(by_place(query), by_place(key), by_place(key))
    return out.unflatten(0, (len(query), places)).transpose(1, 2).flatten(1, 2)


@pytest.mark.parametrize(("queries", "sources"), [(1, 3), (3, 3), (2, 1), (1, 1)])
def test_attention_is_the_library_s_at_each_place(queries: int, sources: int) -> None:
    torch.manual_seed(0)
    attention = PlaceAttention(8, 4)
    nn.init.normal_(attention.in_proj_bias)
    query, key = torch.randn(2, queries * 6, 8), torch.randn(2, sources * 6, 8)
    torch.testing.assert_close(attention(query, key, key, 6), library(attention, query, key, 6))


def test_what_the_interaction_block_learns() -> None:
    """A token that reads itself only has no use for queries and keys; among tasks it has."""
    for interaction, used in (("own_token", False), ("tasks", True)):
        model = tiny(interaction=interaction)
        sum(model.training_loss(make_batch(SPECS))[1].values()).backward()
        query, key, value = model.network.interact.in_proj_weight.grad.chunk(3)
        assert (bool(query.any()), bool(key.any()), bool(value.any())) == (used, used, True)


# ---- mixer ---------------------------------------------------------------------------------------------------------
def test_groups_of_offsets_serve_their_channels() -> None:
    torch.manual_seed(0)
    image, weight = torch.randn(2, 6, 5, 4), torch.randn(3, 6, 3, 3)
    offset, mask = 2 * torch.randn(2, 3, 18, 5, 4), torch.rand(2, 3, 9, 5, 4)
    parts = [
        deformable_conv2d(image[:, c], offset[:, g], weight[:, c], padding=1, mask=mask[:, g])
        for g, c in enumerate((slice(0, 2), slice(2, 4), slice(4, 6)))
    ]
    whole = deformable_conv2d(image, offset.flatten(1, 2), weight, padding=1, mask=mask.flatten(1, 2))
    torch.testing.assert_close(whole, sum(parts))
    with pytest.raises(ValueError, match="do not fit"):
        deformable_conv2d(image, torch.zeros(2, 4 * 18, 5, 4), weight, padding=1)


@pytest.mark.parametrize(
    ("absolute", "row", "column"), [(True, [1.0, 2.0, 3.0], [0.0, 1.0]), (False, [0.0] * 3, [-1.0] * 2)]
)
def test_offsets_are_made_of_places(absolute: bool, row: list[float], column: list[float]) -> None:
    """First half of the channels: rows, here of the middle tap; second half: columns, here of the first."""
    offsets = ChannelOffsets(4, absolute)
    with torch.no_grad():
        for p in offsets.parameters():
            p.zero_()
        offsets.spread.weight[0, 4, 1, 1] = 1
        offsets.spread.weight[4, 0, 1, 1] = 1
    out = offsets(torch.randn(1, 4, 3, 2))
    assert out.shape == (1, 8, 3, 2)
    assert out[0, 0].tolist() == [[value] * 2 for value in row]
    assert out[0, 4].tolist() == [column] * 3
    assert not out[0, [1, 2, 3, 5, 6, 7]].any()


def test_a_mixer_worked_by_hand() -> None:
    """Identity weights, channel 0 one to the right, channel 1 one down: zeros come in from outside."""
    mixer = DeformableMixer(2).eval()
    with torch.no_grad():
        for p in mixer.parameters():
            p.zero_()
        for weight in (mixer.weight, mixer.channels[0].weight):
            weight.copy_(torch.eye(2)[:, :, None, None])
        for norm in (mixer.channels[2], mixer.places[1]):
            norm.weight.fill_((1 + norm.eps) ** 0.5)
        mixer.offsets.spread.bias.copy_(torch.tensor([0.0, 1.0, 1.0, 0.0]))
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])[None]
    mixed = nn.functional.gelu(x)
    moved = torch.zeros_like(mixed)
    moved[:, 0, :, 0] = mixed[:, 0, :, 1]
    moved[:, 1, 0] = mixed[:, 1, 1]
    torch.testing.assert_close(mixer(x), mixed + nn.functional.gelu(moved))


def test_offsets_keep_full_precision_under_autocast() -> None:
    offsets, x = ChannelOffsets(4), torch.randn(1, 4, 8, 200)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = offsets(x)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, offsets(x))


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "huge"},
        {"interaction": "batch"},
        {"offset_places": "none"},
        {"width": 0},
        {"num_heads": 0},
        {"num_heads": 3},
        {"mixer_depth": 0},
        {"fusion_width": -1},
    ],
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(options.values())))):
        DeMT(**{"tasks": SPECS, "backbone": "tiny", "preset": "tiny", **options})
