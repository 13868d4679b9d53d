"""TaskPrompter: what every architecture must do, boxes, sizes, options that matter, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mtdense.backbones import Swin, VisionTransformer, create_backbone
from mtdense.core.errors import ConfigError
from mtdense.models import TaskPrompter
from mtdense.models.task_prompter import PromptOptions, SwinPrompting, ViTPrompting
from mtdense.models.task_prompter.channel_attention import SwinChannelAttention, ViTChannelAttention
from mtdense.models.task_prompter.decoder import LevelDecoder
from mtdense.models.task_prompter.swin_prompting import PromptedLevel
from tests.models.architecture_tester import ArchitectureTester
from tests.models.detection_worker import SPECS as STREETS
from tests.models.detection_worker import detection_batch
from tests.models.helpers import SPECS

SWIN = {"embed_dim": 8, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 4], "window_size": 2, "drop_path_rate": 0.0}
VIT = {"embed_dim": 16, "depth": 4, "num_heads": 2, "drop_path_rate": 0.0}


def build(family: str, specs: dict[str, dict[str, Any]] = SPECS, **options: Any) -> TaskPrompter:
    torch.manual_seed(0)
    backbone, overrides = ("swin_t", SWIN) if family == "swin" else ("vit_base", VIT)
    options = {"input_size": [32, 40], **options}
    return TaskPrompter(
        tasks=specs, backbone=backbone, backbone_options={"overrides": overrides}, preset="tiny", **options
    )


def still_parameters(model: TaskPrompter, batch: Any) -> list[str]:
    torch.stack(list(model.losses(model.run_network(batch), batch).values())).sum().backward()
    return [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]


class TestOnSwin(ArchitectureTester):
    module_class = TaskPrompter

    def build(self, **kwargs: Any) -> TaskPrompter:
        return build("swin", **kwargs)


class TestOnViT(ArchitectureTester):
    module_class = TaskPrompter

    def build(self, **kwargs: Any) -> TaskPrompter:
        return build("vit", **kwargs)


@pytest.mark.parametrize(
    "options",
    [
        {"spatial_prompts": False},
        {"channel_prompts": False},
        {"channel_output": "discarded", "channel_heads": 4},
        {"channel_attention": "pixels", "unused_parts": True, "attention_maps": "scaled"},
        {"prompts_per_task": 2, "attention_maps": "softmax"},
    ],
    ids=lambda options: "-".join(options),
)
@pytest.mark.parametrize("family", ["swin", "vit"])
def test_every_option_trains_every_parameter(family: str, options: dict[str, Any]) -> None:
    batch = TestOnSwin().batch()
    if family == "vit" and "channel_heads" in options:
        options = options | {"cross_task": True}
    assert still_parameters(build(family, **options), batch) == []


def test_boxes_classes_and_depth_train_together() -> None:
    model, batch = build("swin", STREETS, loss_family="atrc"), detection_batch()
    outputs = model.run_network(batch)
    sizes = [tuple(level.shape[1:]) for level in outputs.final["detection_3d"]]
    assert sizes == [(22, 8, 16), (22, 4, 8), (22, 2, 4), (22, 2, 4), (22, 1, 2)]
    assert outputs.final["semseg"].shape == (2, 5, 32, 64)
    still = still_parameters(model, batch)
    # A level on which no box lies does not move its factors.
    assert [name for name in still if "factors" not in name] == []


# ---- prompts ---------------------------------------------------------------------------------------------------------
def images(height: int = 38, width: int = 50) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def small_swin() -> Swin:
    torch.manual_seed(0)
    backbone = create_backbone("swin_t", output_norm="last", overrides=SWIN)
    assert isinstance(backbone, Swin)
    return backbone.eval()


def small_vit() -> VisionTransformer:
    torch.manual_seed(0)
    backbone = create_backbone("vit_base", class_token=False, img_size=(38, 50), overrides=VIT)
    assert isinstance(backbone, VisionTransformer)
    return backbone.eval()


def test_image_alone_goes_as_without_prompts() -> None:
    """Prompts that see channels only leave the image what it is: padded windows and shifts are the backbone's."""
    options = PromptOptions(spatial=False, channel_width=16, channel_grid=(4, 4))
    with torch.no_grad():
        swin, vit = small_swin(), small_vit()
        last = SwinPrompting(swin, 2, options)(images())[-1].x
        torch.testing.assert_close(last.permute(0, 3, 1, 2), swin(images())[-1])
        levels = ViTPrompting(vit, 2, options)(images())
        for level, expected in zip(levels, vit(images()), strict=True):
            torch.testing.assert_close(level.x.permute(0, 3, 1, 2), expected)


def test_scores_are_products_of_the_last_block_and_lie_where_their_places_are() -> None:
    """A prompt's score at a place reads that place's features: it moves with them, shifted windows or not."""
    swin = small_swin()
    prompting = SwinPrompting(swin, 1, PromptOptions(channel=False)).eval()
    x = torch.randn(1, 5, 6, 16, requires_grad=True)
    prompts = torch.randn(1, 1, 16)
    # The second block of the second stage is shifted.
    level = prompting.run_stage(1, x, prompts)
    first = prompting.run_block(1, 0, x, prompts, None)[0].detach().requires_grad_()
    block = swin.network.layers[1].blocks[1]
    assert any(block.shift_size) and level.spatial is not None and level.spatial.shape == (1, 2, 1, 5, 6)
    _, prompts_after, _, _ = prompting.run_block(1, 0, x, prompts, None)
    weight, bias = block.attn.qkv.weight, block.attn.qkv.bias
    query = (block.norm1(prompts_after) @ weight[:16].T + bias[:16]).view(2, 8)
    keys = (block.norm1(first) @ weight[16:32].T + bias[16:32]).view(30, 2, 8)
    expected = torch.einsum("hd,phd->hp", query, keys).view(2, 5, 6)
    torch.testing.assert_close(level.spatial[0, :, 0], expected)


@pytest.mark.parametrize("maps", ["scaled", "softmax"])
def test_other_attention_maps(maps: Any) -> None:
    kinds = {}
    for kind in ("raw", maps):
        torch.manual_seed(0)
        prompting = SwinPrompting(small_swin(), 2, PromptOptions(attention_maps=kind, channel_width=16)).eval()
        with torch.no_grad():
            kinds[kind] = prompting(images())[-1]
    raw, other = kinds["raw"], kinds[maps]
    if maps == "scaled":
        torch.testing.assert_close(other.spatial, raw.spatial * 16**-0.5)
        torch.testing.assert_close(other.channel, raw.channel / 4)
    else:
        torch.testing.assert_close(other.channel, (raw.channel / 4).softmax(2))
        assert other.spatial.min() > 0 and other.spatial.sum() < 2 * 4 * 2 * 3


@pytest.mark.parametrize("heads", [1, 4])
def test_channel_attention_by_hand(heads: int) -> None:
    """Windows of channels' values, one head each, against loops over heads and channels."""
    torch.manual_seed(0)
    options = PromptOptions(channel_attention="pixels", channel_heads=heads)
    attention = ViTChannelAttention(3, options, (4, 6))
    x, prompts = torch.randn(1, 4, 6, 3), torch.randn(1, 2, 3)
    change, weights = attention(x, prompts)
    assert weights is not None and weights.shape == (1, 2, 3, heads**0.5, heads**0.5)
    query = attention.query(prompts).view(2, 4, 6)
    gathered = torch.zeros(2, 4, 6)
    n = options.windows
    for i in range(n):
        for j in range(n):
            window = slice(i * 4 // n, (i + 1) * 4 // n), slice(j * 6 // n, (j + 1) * 6 // n)
            values = x[0][window].flatten(0, 1)
            products = query[:, window[0], window[1]].flatten(1) @ values
            torch.testing.assert_close(weights[0, :, :, i, j], products)
            shares = (products / len(values) ** 0.5).softmax(1)
            gathered[:, window[0], window[1]] = (shares @ values.T).view(2, 4 // n, 6 // n)
    torch.testing.assert_close(change, attention.expand(gathered.flatten(1))[None])
    discarding = ViTChannelAttention(3, PromptOptions(channel_attention="pixels", channel_output="discarded"), (4, 6))
    discarding.load_state_dict(attention.state_dict())
    torch.testing.assert_close(discarding(x, prompts)[0], attention.expand(attention.query(prompts)))


def test_decoder_multiplies_groups_by_maps_and_channels_by_weights() -> None:
    decoder = LevelDecoder(4, 4, 4)
    assert decoder.spatial is not None and decoder.channel is not None
    x, maps, weights = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 3, 2, 4), torch.randn(1, 3, 4, 2, 2)
    seen: list[Tensor] = []
    for projection in (decoder.spatial, decoder.channel):
        projection.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    decoder(PromptedLevel(x, torch.zeros(1, 3, 4), maps, weights), 1, 1)
    for c in range(4):
        feature = x[0, :, :, c]
        torch.testing.assert_close(seen[0][0, c], feature * (1 + maps[0, c // 2, 1]))
        window = weights[0, 1, c].repeat_interleave(2, dim=1)
        torch.testing.assert_close(seen[1][0, c], feature * (1 + window))


@pytest.mark.parametrize("size", [(32, 40), (45, 70)])
def test_any_size_unless_channels_are_described_by_pixels(size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size)
    for family, stride in (("swin", 2), ("vit", 4)):
        model = build(family).eval()
        logits = model(image).final["semseg"]
        places = -(-size[0] // 8) * 8 if family == "swin" else -(-size[0] // 16) * 16
        assert logits.shape[-2] == places // stride
        model = build(family, channel_attention="pixels").eval()
        if size == (32, 40):
            model(image)
        else:
            with pytest.raises(ConfigError, match=r"made for a map of .* and got one of"):
                model(image)


def test_recomputing_blocks_changes_nothing() -> None:
    for family in ("swin", "vit"):
        grads = []
        for checkpointing in (False, True):
            model = build(family)
            model.network.prompting.backbone.checkpointing = checkpointing
            model(torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(0))).final["depth"].sum().backward()
            grads.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        assert grads[0].keys() == grads[1].keys()
        for name, grad in grads[0].items():
            torch.testing.assert_close(grads[1][name], grad)


# ---- refusals --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("swin", {"channel_heads": 3}, "channel_heads is 3"),
        ("swin", {"channel_heads": 9}, "9 heads of channel attention over 16"),
        ("vit", {"channel_heads": 9}, "9 heads of channel attention on a grid of 4 x 4"),
        ("swin", {"spatial_prompts": False, "channel_prompts": False}, "leave nothing behind"),
        ("swin", {"cross_task": True}, "`cross_task`"),
        ("vit", {"cross_task": True, "prompts_per_task": 2}, "`cross_task`"),
        ("swin", {"channel_attention": "pixels", "input_size": None}, "without the size"),
        ("swin", {"channel_attention": "some"}, "channel_attention is 'some'"),
        ("swin", {"prompts_per_task": 3}, "3 prompts on"),
        ("vit", {"preset": "huge"}, "preset is 'huge'"),
    ],
)
def test_options_that_make_no_sense(family: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        if "preset" in options:
            TaskPrompter(tasks=SPECS, backbone="vit_base", **options)
        else:
            build(family, **options)


def test_backbones_that_hold_no_prompts() -> None:
    with pytest.raises(ConfigError, match="'tiny', which is neither Swin nor ViT"):
        TaskPrompter(tasks=SPECS, backbone="tiny", preset="tiny")
    with pytest.raises(ConfigError, match="maps of one stride only"):
        build("vit", STREETS)
    with pytest.raises(ConfigError, match="without its last norm"):
        SwinPrompting(create_backbone("swin_t", overrides=SWIN), 2, PromptOptions())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="class token"):
        ViTPrompting(create_backbone("vit_base", overrides=VIT), 2, PromptOptions())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="without the size"):
        SwinChannelAttention(8, PromptOptions(channel_attention="pixels"), None)
