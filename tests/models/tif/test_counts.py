"""TIF's parameters and multiply-accumulates at 425x560, whole and by part, under the counter of the paper's tables."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtdense.backbones import Backbone, create_backbone
from mtdense.models import TIF
from mtdense.models.tif import TIFNetwork, TIFOptions
from mtdense.reports.profile import CONVENTIONS, count_by_convention, count_cost
from mtdense.tasks import build_tasks
from tests.models.helpers import ALL_SPECS

NYUD = {"semseg": {"num_classes": 40}, "depth": {}, "normals": {}, "edges": {}}
SIZE = (425, 560)
DEFAULTS = {name: p.default for name, p in inspect.signature(TIF).parameters.items()}
PTFLOPS = CONVENTIONS["ptflops"]


class Stub(Backbone):
    """Gives maps of a real backbone's shapes and has no parameters."""

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__(channels, strides)

    def forward(self, image: Tensor) -> list[Tensor]:
        sizes = [(-(-image.shape[-2] // s), -(-image.shape[-1] // s)) for s in self.strides]
        return [image.new_empty(len(image), c, *size) for c, size in zip(self.channels, sizes, strict=True)]


@cache
def backbone_cost(name: str, size: tuple[int, int] = SIZE) -> tuple[tuple[int, ...], tuple[int, ...], int, float]:
    """Channels, strides, parameters and MACs of a real backbone."""
    with torch.device("meta"):
        backbone = create_backbone(name, img_size=size if name.startswith("vit") else None).eval()
        params, macs = count_by_convention(PTFLOPS, backbone, lambda: backbone(torch.empty(1, 3, *size)))
    return backbone.channels, backbone.strides, params, macs


def heads_of(backbone: str, specs: dict[str, dict], size: tuple[int, int], **options: Any) -> TIFNetwork:
    """All but the backbone of the network of `TIF(backbone=backbone, tasks=specs, **options)`."""
    channels, strides, _, _ = backbone_cost(backbone, size)
    with torch.device("meta"):
        chosen = TIFOptions.of({**DEFAULTS, **options, "backbone": backbone})
        outputs = {name: task.num_outputs for name, task in build_tasks(specs).items()}
        return TIFNetwork(Stub(channels, strides), outputs, chosen).eval()


def decoder_cost(
    backbone: str, specs: dict[str, dict] = NYUD, size: tuple[int, int] = SIZE, **options: Any
) -> tuple[float, float]:
    """Millions of parameters and 1e9 MACs of all but the backbone."""
    network = heads_of(backbone, specs, size, **options)
    with torch.device("meta"):
        params, macs = count_by_convention(PTFLOPS, network, lambda: network(torch.empty(1, 3, *size)))
    return params / 1e6, macs / 1e9


def cost(backbone: str, size: tuple[int, int] = SIZE, **options: Any) -> tuple[float, float]:
    """Millions of parameters and 1e9 MACs of the whole network."""
    _, _, params, macs = backbone_cost(backbone, size)
    own = decoder_cost(backbone, size=size, **options)
    return params / 1e6 + own[0], macs / 1e9 + own[1]


def near(measured: tuple[float, float], expected: tuple[float, float]) -> None:
    assert measured[0] == pytest.approx(expected[0], abs=0.01)
    assert measured[1] == pytest.approx(expected[1], abs=0.1)


def whole_near(backbone: str, expected: tuple[float, float], **options: Any) -> None:
    """The rest of the network is near `expected` less the backbone of that count."""
    base = FITTED_BACKBONES[backbone]
    near(decoder_cost(backbone, **options), (expected[0] - base[0], expected[1] - base[1]))


# Backbones as counted where the expected numbers below come from: by a counter that also counts LayerNorm and one bias
# per output, unlike ptflops 0.6.9 (167.595 for Swin-L). It is taken off, so that it hides no difference in TIF itself.
FITTED_BACKBONES = {"hrnet_w18": (3.86072, 7.781), "swin_t": (27.520698, 21.653), "swin_l": (194.998164, 167.685)}
PRINTED = {"hrnet_w18": (5.27, 16.6), "swin_t": (32.91, 76.33), "swin_l": (204.19, 274.27)}
MEASURED = {
    ("paper", "hrnet_w18"): (5.320, 16.76),
    ("paper", "swin_t"): (32.952, 76.38),
    ("paper", "swin_l"): (203.941, 272.61),
    ("config_a", "hrnet_w18"): (5.293, 16.611),
    ("config_a", "swin_t"): (32.918, 76.488),
    ("config_a", "swin_l"): (204.184, 274.387),
    ("config_b", "hrnet_w18"): (5.243, 16.41),
    ("config_b", "swin_t"): (33.006, 76.652),
    ("config_b", "swin_l"): (203.995, 272.886),
}


@pytest.mark.parametrize("backbone", FITTED_BACKBONES)
def test_backbones(backbone: str) -> None:
    _, _, params, macs = backbone_cost(backbone)
    assert params / 1e6 == FITTED_BACKBONES[backbone][0]
    near((params / 1e6, macs / 1e9), FITTED_BACKBONES[backbone])


@pytest.mark.parametrize(("preset", "backbone"), MEASURED)
def test_presets(preset: str, backbone: str) -> None:
    """Near the fit that the presets come from, and within 1.5 % of the paper's tables 3 and 4."""
    whole_near(backbone, MEASURED[preset, backbone], preset=preset)
    assert cost(backbone, preset=preset) == pytest.approx(PRINTED[backbone], rel=0.015)


def test_whole_network_is_backbone_and_rest() -> None:
    """What the command counts; table 3's 32.91 M and 76.33 G."""
    with torch.device("meta"):
        params, macs = count_cost(TIF(tasks=NYUD, backbone="swin_t"), SIZE).conventions["ptflops"]
    assert (params / 1e6, macs / 1e9) == pytest.approx(cost("swin_t"), rel=1e-12)
    assert params == 32_952_875


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "options", "expected"),
    [
        ("hrnet_w18", {"sa_input": "raw", "sff_hidden": "half"}, (5.242, 16.44)),
        ("swin_t", {"sa_input": "raw", "width": 124, "sff_hidden": "half"}, (32.984, 76.38)),
        ("swin_l", {"sa_input": "raw", "width": 124, "sff_hidden": "half"}, (204.399, 274.28)),
        ("hrnet_w18", {"sff_hidden": "half"}, (5.269, 16.50)),
        ("swin_t", {"sff_hidden": "half"}, (32.853, 75.88)),
        ("swin_l", {"sff_hidden": "half"}, (203.842, 272.12)),
        ("hrnet_w18", {"preset": "config_b", "sa_input": "raw"}, (5.232, 16.39)),
        ("swin_t", {"preset": "config_b", "sa_input": "raw"}, (33.185, 77.83)),
        ("swin_l", {"preset": "config_b", "sa_input": "raw"}, (204.45, 275.73)),
    ],
)
def test_other_readings_of_the_text(backbone: str, options: dict[str, Any], expected: tuple[float, float]) -> None:
    whole_near(backbone, expected, **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"lthd": "drop"}, (31.558, 62.428)),
        ({"lthd": "keep"}, (32.39, 74.85)),
        ({"lthd": "keep", "sfd_scales": [3]}, (31.926, 74.416)),
        ({"saff_scales": [2, 3]}, (32.675, 74.170)),
        ({"saff_scales": []}, (32.49, 74.05)),
        ({"saff_scales": [], "sfd_scales": [], "lthd": "keep"}, (31.03, 71.86)),
        ({"sfd_ffn_ratio": 2.0}, (33.18, 76.65)),
        ({"sfd_ffn_ratio": 2.0, "lthd_ffn_ratio": 2.0}, (33.45, 76.90)),
        ({"sfd_ffn_ratio": 4.0}, (33.71, 76.96)),
        ({"lthd_fuse": "concat"}, (33.05, 77.72)),
        ({"sfd_ffn_ratio": 2.0, "lthd": "drop"}, (31.822, 62.586)),
        ({"preset": "config_b", "lthd": "drop"}, (31.647, 62.592)),
        ({"preset": "config_b", "lthd": "keep"}, (32.476, 75.017)),
        # Per-target maps: reading other tasks costs what reading oneself does.
        ({"preset": "config_b", "distillation": "cross"}, (33.006, 76.652)),
    ],
    ids=str,
)
def test_ablations_on_swin_t(options: dict[str, Any], expected: tuple[float, float]) -> None:
    whole_near("swin_t", expected, **{"preset": "config_a", **options})


@pytest.mark.parametrize("preset", ["paper", "config_a"])
def test_self_distillation_costs_what_is_printed_beside_table_8(preset: str) -> None:
    """31.78 M and 62.49 G: without LTHD and with three maps in the last fusion."""
    assert cost("swin_t", preset=preset, lthd="drop") == pytest.approx((31.78, 62.49), rel=0.015)


@pytest.mark.slow
def test_swin_s_and_b() -> None:
    assert cost("swin_s", preset="config_a")[0] == pytest.approx(54.24, abs=0.01)
    assert cost("swin_b", preset="config_a")[0] == pytest.approx(93.4, abs=0.06)


def test_vit_b() -> None:
    """Table 10: 124 M, of which 28.3 are the transposed convolutions, whose MACs ptflops counts four times over."""
    size = (448, 576)
    assert cost("vit_base", size, preset="config_a")[0] == pytest.approx(124.43, abs=0.01)
    assert cost("vit_base", size)[0] == pytest.approx(124, rel=0.015)
    network = heads_of("vit_base", NYUD, size, preset="config_a")
    assert network.pyramid is not None
    with torch.device("meta"):
        params, macs = count_by_convention(PTFLOPS, network.pyramid, lambda: network(torch.empty(1, 3, *size)))
    assert params / 1e6 == pytest.approx(28.3, abs=0.1)
    rest = decoder_cost("vit_base", size=size, preset="config_a")[1] - macs / 1e9
    assert rest == pytest.approx(122.9, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "expected"),
    [("hrnet_w18", (1.843, 11.90)), ("swin_t", (6.753, 74.2)), ("swin_b", (8.291, 97.6))],
)
def test_decoders_on_pascal(backbone: str, expected: tuple[float, float]) -> None:
    near(decoder_cost(backbone, ALL_SPECS, (512, 512), preset="config_a"), expected)


# ---- by part -------------------------------------------------------------------------------------------------------
def parts_of(network: TIFNetwork) -> dict[str, list[nn.Module]]:
    decoders = list(network.decoders.values())
    return {
        "reduce": [network.reduce],
        "saff": [network.saff],
        "sfd": [d.sfd for d in decoders],
        "lthd": [d.lthd for d in decoders],
        "fusion": [d.fusion for d in decoders],
        "head": [d.head for d in decoders],
    }


PARTS_OF_A = {
    "swin_t": {
        "reduce": (0.1853, 0.353),
        "saff": (0.4308, 2.439),
        "sfd": (0.9236, 0.553),
        "lthd": (0.5304, 1.635),
        "fusion": (3.3192, 49.73),
        "head": (0.0081, 0.122),
    },
    "hrnet_w18": {
        "reduce": (0.0267, 0.053),
        "saff": (0.127, 0.677),
        "sfd": (0.5207, 0.312),
        "lthd": (0.2995, 0.926),
        "fusion": (0.4565, 6.84),
        "head": (0.0015, 0.023),
    },
    "swin_l": {
        "reduce": (0.3697, 0.701),
        "saff": (0.7073, 4.104),
        "sfd": (0.9236, 0.553),
        "lthd": (0.5304, 1.635),
        "fusion": (6.638, 99.47),
        "head": (0.0162, 0.243),
    },
}
# Parameters of the default, which the corrections give as a whole only, and worked out from the equations: with d = 128
# SFD has (4 + 1) d^2 + (1 + 1) d^2 + two norms and two biases for each of 4 tasks and 2 scales, and so on.
PARAMS_OF_DEFAULT = {
    "reduce": 1440 * 128 + 4 * 2 * 128,
    "saff": 4 * (384 * 128 + 256 + 256 * 128 + 128 + 128 * 128 + 128 + 9 * 128 + 128 + 128 * 128 + 128),
    "sfd": 8 * (7 * 128 * 128 + 2 * 2 * 128 + 2 * 128),
    "lthd": 8 * (3 * 128 * 128 + 2 * 128 + 128 + 128 * 128 + 2 * 128),
    "fusion": 4 * (9 * 512 * 180 + 2 * 180),
    "head": 180 * 45 + 45,
}


@pytest.mark.parametrize(
    "backbone", [pytest.param(name, marks=() if name == "swin_t" else pytest.mark.slow) for name in PARTS_OF_A]
)
def test_parts(backbone: str) -> None:
    network = heads_of(backbone, NYUD, SIZE, preset="config_a")
    for name, modules in parts_of(network).items():
        part = nn.ModuleList(modules)
        with torch.device("meta"):
            params, macs = count_by_convention(PTFLOPS, part, lambda: network(torch.empty(1, 3, *SIZE)))
        near((params / 1e6, macs / 1e9), PARTS_OF_A[backbone][name])


def test_parts_of_the_default_to_the_digit() -> None:
    network = heads_of("swin_t", NYUD, SIZE)
    counted = {name: sum(p.numel() for m in ms for p in m.parameters()) for name, ms in parts_of(network).items()}
    assert counted == PARAMS_OF_DEFAULT
    assert sum(counted.values()) == sum(p.numel() for p in network.parameters())


def test_folding_saves_three_of_four_maps() -> None:
    whole, folded = decoder_cost("swin_t"), decoder_cost("swin_t", folded=True)
    assert whole[0] - folded[0] == pytest.approx(8 * 3 * 128 * 128 / 1e6)
    assert folded[1] < whole[1]
