"""Parameters and multiply-accumulates of the papers' backbones, to the digit, without memory."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mtdense.backbones import Backbone, create_backbone

NYUD, PASCAL, ATRC_NYUD = (448, 576), (512, 512), (425, 560)

PARAMETERS = {
    "resnet18": 11_176_512,
    "resnet50": 23_508_032,
    "resnet50d": 23_527_264,
    "hrnet_w18": 3_860_720,
    "hrnet_w48": 65_325_120,
    "swin_t": 27_520_698,
    "swin_s": 48_838_602,
    "swin_b": 86_745_016,
    "swin_l": 194_998_164,
    "internimage_b": 94_909_920,
    "internimage_l": 218_952_370,
}


def build(name: str, size: tuple[int, int]) -> Backbone:
    with torch.device("meta"):
        return create_backbone(name, img_size=size).eval()


def count(name: str, size: tuple[int, int]) -> tuple[int, float]:
    """Parameters, and 1e9 multiply-accumulates of convolutions, linear layers and attention."""
    backbone = build(name, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone(torch.empty(1, 3, *size, device="meta"))
    return sum(p.numel() for p in backbone.parameters()), counter.get_total_flops() / 2e9


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str) -> None:
    assert sum(p.numel() for p in build(name, NYUD).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "size", "parameters", "macs"),
    [
        ("vit_base", NYUD, 86.422272, 105.1),
        ("vit_base", PASCAL, 86.434560, 107.0),
        ("vit_large", NYUD, 304.133120, 355.5),
        ("vit_large", PASCAL, 304.149504, 362.0),
        ("internimage_b", NYUD, 94.909920, 82.0),
        ("internimage_b", PASCAL, 94.909920, 83.3),
        ("internimage_l", NYUD, 218.952370, 186.4),
        ("internimage_l", PASCAL, 218.952370, 189.4),
        ("hrnet_w18", PASCAL, 3.860720, 8.3),
        ("hrnet_w48", PASCAL, 65.325120, 84.7),
    ],
)
def test_macs(name: str, size: tuple[int, int], parameters: float, macs: float) -> None:
    """BridgeNet's and ATRC's backbones as measured on their public code; sampling is not counted."""
    counted, billions = count(name, size)
    assert counted / 1e6 == pytest.approx(parameters, abs=5e-7)
    assert round(billions, 1) == macs


def test_parts_of_internimage() -> None:
    """Stem, levels with their down-sampling, one block of each, in units of a thousand."""
    expected = {
        "internimage_b": (58, (825, 3274, 53126, 37627), (149.6, 592.4, 2357.7, 9406.8)),
        "internimage_l": (118, (1979, 7871, 113070, 95915), (303.5, 1205.3, 4804.3, 19183)),
    }
    for name, (stem, levels, blocks) in expected.items():
        state = build(name, NYUD).state_dict()

        def part(prefix: str, state: dict[str, torch.Tensor] = state) -> float:
            return sum(value.numel() for key, value in state.items() if key.startswith(prefix)) / 1e3

        assert round(part("patch_embed.")) == stem
        assert tuple(round(part(f"levels.{i}.")) for i in range(4)) == levels
        for i, block in enumerate(blocks):
            assert part(f"levels.{i}.blocks.0.") == pytest.approx(block, abs=0.5 if block > 1e4 else 0.05)


@pytest.mark.parametrize("name", ["resnet50d", "hrnet_w18", "swin_t", "internimage_b"])
def test_grids_of_the_papers(name: str) -> None:
    backbone = build(name, ATRC_NYUD)
    with torch.no_grad():
        maps = backbone(torch.empty(1, 3, *ATRC_NYUD, device="meta"))
    assert [tuple(x.shape[-2:]) for x in maps] == [(107, 140), (54, 70), (27, 35), (14, 18)]


@pytest.mark.parametrize(("size", "grid"), [(NYUD, (28, 36)), (PASCAL, (32, 32)), (ATRC_NYUD, (27, 35))])
def test_grids_of_transformers(size: tuple[int, int], grid: tuple[int, int]) -> None:
    backbone = build("vit_base", size)
    with torch.no_grad():
        maps = backbone(torch.empty(1, 3, *size, device="meta"))
    assert [tuple(x.shape) for x in maps] == [(1, 768, *grid)] * 4
