"""Vision transformers: taps, positions, class token, any input size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

from mtdense.backbones import VisionTransformer, create_backbone, resize_position_embedding
from mtdense.backbones.weights import fill_backbone
from mtdense.core.errors import CheckpointError, ConfigError
from tests.backbones.backbone_tester import BackboneTester
from tests.backbones.golden import GOLDEN, assert_golden, formula, picture

SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 4, "num_heads": 3}


def small(size: tuple[int, int] | None = (48, 80), **kwargs: Any) -> VisionTransformer:
    backbone = create_backbone("vit_base", img_size=size, overrides=SMALL, drop_path_rate=0.0, **kwargs)
    assert isinstance(backbone, VisionTransformer)
    return backbone


def published_table() -> Tensor:
    steps = torch.arange(577 * 48, dtype=torch.float64)
    return (0.3 * torch.sin(steps * 0.41)).reshape(1, 577, 48).float()


def published_weights() -> dict[str, Tensor]:
    """Made for 384 x 384, with a classifier."""
    network = timm.create_model("vit_base_patch16_384", **SMALL)
    state = formula(network.state_dict())
    state["pos_embed"] = published_table()
    return state


class TestVisionTransformer(BackboneTester):
    name = "vit_base"
    options: ClassVar[dict[str, Any]] = {"overrides": SMALL}
    channels: ClassVar[tuple[int, ...]] = (48, 48, 48, 48)
    strides: ClassVar[tuple[int, ...]] = (16, 16, 16, 16)
    foreign_option: ClassVar[dict[str, Any]] = {"fusion": "nearest"}


class TestWithoutClassToken(TestVisionTransformer):
    options: ClassVar[dict[str, Any]] = {"overrides": SMALL, "class_token": False, "out_blocks": (2, 3)}
    channels = (48, 48)
    strides = (16, 16)


def test_figures_of_the_public_code_with_resized_positions() -> None:
    backbone = small().eval()
    named = {key.removeprefix("network."): value for key, value in backbone.state_dict().items()}
    fill_backbone(backbone, {**formula(named), "pos_embed": published_table()}, "formula")
    positions = backbone.network.pos_embed.detach().flatten()[::48][:16]
    torch.testing.assert_close(positions, torch.tensor(GOLDEN["vit"]["positions"]), atol=2e-6, rtol=0.0)
    assert_golden("vit", backbone, picture(1, 48, 80), "network.", 5e-5)


@pytest.mark.parametrize("grid", [(3, 5), (28, 36), (32, 32), (24, 24)])
def test_positions_are_timms_with_antialias(grid: tuple[int, int]) -> None:
    table = published_table()
    ours = resize_position_embedding(table, (24, 24), grid, antialias=True)
    torch.testing.assert_close(ours, resample_abs_pos_embed(table, list(grid), antialias=True), atol=1e-6, rtol=0.0)
    plain = resize_position_embedding(table, (24, 24), grid)
    torch.testing.assert_close(plain, resample_abs_pos_embed(table, list(grid), antialias=False), atol=1e-6, rtol=0.0)
    assert torch.equal(plain[:, :1], table[:, :1])
    # The two rules differ even where the grid grows.
    assert torch.allclose(plain, ours, atol=1e-3) == (grid == (24, 24))


def test_timms_network_at_its_own_size() -> None:
    """Same maps as timm's forward_intermediates, the last one normed."""
    torch.manual_seed(0)
    theirs: Any = timm.create_model("vit_base_patch16_384", img_size=(48, 80), num_classes=0, **SMALL).eval()
    ours = small().eval()
    fill_backbone(ours, {**theirs.state_dict()}, "timm")
    image = torch.randn(2, 3, 48, 80)
    with torch.no_grad():
        final, maps = theirs.forward_intermediates(image, indices=[0, 1, 2, 3])
        got = ours(image)
    for a, b in zip(maps[:3], got[:3], strict=True):
        torch.testing.assert_close(b, a, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got[3].flatten(2).transpose(1, 2), final[:, 1:], atol=1e-5, rtol=1e-5)


def test_taps_may_leave_blocks_and_norm_out() -> None:
    backbone = small(out_blocks=(1, 2))
    fill_backbone(backbone, published_weights(), "published")
    assert len(backbone.blocks) == 2 and "network.norm.weight" not in backbone.state_dict()
    full = small(output_norm=False).eval()
    fill_backbone(full, published_weights(), "published")
    assert "network.norm.weight" not in full.state_dict()
    with torch.no_grad():
        a, b = backbone.eval()(picture(1, 48, 80)), full(picture(1, 48, 80))
    assert all(torch.equal(x, y) for x, y in zip(a, b[:2], strict=True))


@pytest.mark.parametrize("taps", [(), (0, 1), (2, 2), (3, 1), (1, 5)])
def test_impossible_taps(taps: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="out_blocks"):
        small(out_blocks=taps)


def test_default_taps_are_quarters() -> None:
    with torch.device("meta"):
        base, large = create_backbone("vit_base"), create_backbone("vit_large")
    assert isinstance(base, VisionTransformer) and base.out_blocks == (3, 6, 9, 12) and base.grid == (24, 24)
    assert isinstance(large, VisionTransformer) and large.out_blocks == (6, 12, 18, 24)


def test_without_class_token_its_place_goes() -> None:
    backbone = small(size=(384, 384), class_token=False)
    fill_backbone(backbone, published_weights(), "published")
    assert torch.equal(backbone.network.pos_embed.detach(), published_table()[:, 1:])
    resized = small(class_token=False)
    fill_backbone(resized, published_weights(), "published")
    expected = resize_position_embedding(published_table(), (24, 24), (3, 5))[:, 1:]
    torch.testing.assert_close(resized.network.pos_embed.detach(), expected)


def test_another_size_resizes_positions_in_the_call() -> None:
    fixed, free = small((48, 80)).eval(), small((384, 384)).eval()
    for backbone in (fixed, free):
        fill_backbone(backbone, published_weights(), "published")
    with torch.no_grad():
        a, b = fixed(picture(1, 48, 80)), free(picture(1, 48, 80))
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-5)


def test_a_table_of_equal_size_is_told_apart_by_who_wrote_it(tmp_path: Path) -> None:
    """16 x 36 patches are as many as 24 x 24: published weights are square, our own files are not."""
    backbone = small((256, 576))
    fill_backbone(backbone, published_weights(), "published")
    expected = resize_position_embedding(published_table(), (24, 24), (16, 36))
    assert torch.equal(backbone.network.pos_embed.detach(), expected)
    torch.save(backbone.state_dict(), tmp_path / "own.pth")
    again = small((256, 576), checkpoint=str(tmp_path / "own.pth"))
    assert torch.equal(again.network.pos_embed.detach(), expected)


def test_positions_of_no_grid_are_refused() -> None:
    state = published_weights()
    state["pos_embed"] = state["pos_embed"][:, :500]
    with pytest.raises(CheckpointError, match="500 entries"):
        fill_backbone(small(), state, "published")


def test_odd_images_are_padded_with_zeros() -> None:
    backbone = small((48, 80)).eval()
    image = picture(1, 41, 70)
    padded = torch.zeros(1, 3, 48, 80)
    padded[:, :, :41, :70] = image
    with torch.no_grad():
        a, b = backbone(image), backbone(padded)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert small((41, 70)).grid == (3, 5)


def test_working_between_blocks() -> None:
    """`embed`, `run_block` and `to_map` are the whole network, step by step."""
    backbone = small().eval()
    with torch.no_grad():
        tokens, grid = backbone.embed(picture(1, 48, 80))
        assert grid == (3, 5) and tokens.shape == (1, 16, 48) and backbone.prefix_tokens == 1
        for i in range(len(backbone.blocks)):
            tokens = backbone.run_block(i, tokens)
        last = backbone.to_map(backbone.network.norm(tokens), grid)
        assert torch.equal(last, backbone(picture(1, 48, 80))[-1])
