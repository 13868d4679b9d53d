"""PromptFusion: counts of every part, its beginning as the backbone, its parts by hand, every switch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.backbones.swin import shift_mask
from mtdense.core.errors import ConfigError
from mtdense.models import DenseModule, PromptFusion
from mtdense.models.prompt_fusion.fusion import PromptFusionModule
from mtdense.models.prompt_fusion.network import PromptFusionNetwork
from mtdense.models.prompt_fusion.options import PromptFusionOptions
from mtdense.models.prompt_fusion.stem import CentralDifferenceConv2d, ContourMaps
from mtdense.models.task_prompter.swin_prompting import SwinPrompting
from tests.models.architecture_tester import ArchitectureTester
from tests.models.detection_worker import SPECS as STREET_SPECS
from tests.models.detection_worker import detection_batch
from tests.models.helpers import SPECS, make_batch

GATES = ("gamma", "gate_prompts", "gate_image", "prompt_gate")
PLAIN: dict[str, Any] = {
    "spatial_prompts": False,
    "channel_prompts": False,
    "fusion": False,
    "prompt_gate": False,
}


def build(open_gates: bool = True, specs: dict[str, dict[str, Any]] = SPECS, **options: Any) -> PromptFusion:
    """A tiny one; its gates are not 0 any more, as after some training, unless told otherwise."""
    torch.manual_seed(0)
    model = PromptFusion(tasks=specs, backbone="tiny", preset="tiny", loss_family="atrc", **options)
    generator = torch.Generator().manual_seed(1)
    for name, p in model.named_parameters():
        if open_gates and name.endswith(GATES) and p.device.type != "meta":
            with torch.no_grad():
                p.copy_(torch.rand(p.shape, generator=generator) + 0.5)
    return model


def network_of(model: DenseModule) -> PromptFusionNetwork:
    assert isinstance(model.network, PromptFusionNetwork)
    return model.network


def options(**chosen: Any) -> PromptFusionOptions:
    with torch.device("meta"):
        return PromptFusionOptions.of(
            {**PromptFusion(tasks={"depth": {}}, backbone="tiny", preset="tiny").hparams, **chosen}
        )


class TestPromptFusion(ArchitectureTester):
    module_class = PromptFusion

    def build(self, **kwargs: Any) -> DenseModule:
        return build(**kwargs)


# ---- counts ----------------------------------------------------------------------------------------------------------
CITYSCAPES_3D = {"semseg": {"num_classes": 19}, "depth": {"unit": "disparity"}, "detection_3d": {}}


def paper(**chosen: Any) -> PromptFusionNetwork:
    with torch.device("meta"):
        return network_of(
            PromptFusion(tasks=CITYSCAPES_3D, backbone="swin_base_patch4_window12_384", preset="paper", **chosen)
        )


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_counts_of_every_part() -> None:
    net = paper()
    encoder = net.encoder
    assert isinstance(encoder, SwinPrompting)
    assert count(encoder.stem) == 220_224
    assert [count(module) for module in encoder.fusions.values()] == [463_107, 1_843_715, 7_357_443, 7_357_443]
    gates = sum(p.numel() for name, p in encoder.named_parameters() if name.endswith("prompt_gate"))
    assert gates == 2 * 4 + 2 * 8 + 18 * 16 + 2 * 32
    # With the patch embedding, which the stem has taken.
    assert count(encoder.backbone) - gates + 6_528 == 86_878_584
    assert (count(encoder.channel), count(encoder.carriers), encoder.prompts.numel()) == (12_099_840, 1_403_556, 384)
    parts = [level for levels in net.levels.values() for level in levels]
    assert sum(count(level.decoder.fuse) for level in parts) == 46_531_800
    assert sum(count(level.gate) for level in parts) == 7_282_944
    assert sum(count(level) for level in parts) == 58_146_264
    assert {name: count(head) for name, head in net.heads.items()} == {
        "semseg": 1_822_950 + 866_269,
        "depth": 1_822_950 + 862_201,
        "detection_3d": 3_412_224 + 8_568_490,
    }
    assert count(net) == 193_119_492


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "total"),
    [
        (PLAIN | {"stem_local": False, "stem_contour": False}, 151_548_828),
        (PLAIN, 151_762_524),
        ({"fusion": False}, 176_097_784),
        ({"fusion_place": "before_merge"}, 185_878_916),
        ({"fusion_kind": "pool"}, 185_819_640),
        ({"detection_head": "task_prompter"}, 193_243_962),
    ],
    ids=["baseline", "stem", "prompts", "before_merge", "pool", "deformable"],
)
def test_counts_of_ablations(chosen: dict[str, Any], total: int) -> None:
    assert count(paper(**chosen)) == total


# ---- the beginning ---------------------------------------------------------------------------------------------------
def backbone_levels(model: PromptFusion, image: Tensor) -> list[Tensor]:
    """What the untouched backbone gives: its stages' maps, merged for the next stage, and the last one normalised."""
    own = network_of(model).encoder
    reference = model.build_backbone().eval()
    state = own.backbone.state_dict() | {f"network.patch_embed.{k}": v for k, v in own.stem.state_dict().items()}
    wanted = reference.state_dict()
    reference.load_state_dict({name: state[name] for name in wanted})
    maps = reference(image)
    layers: Any = reference.network.layers
    merged = [layers[i + 1].downsample(x.permute(0, 2, 3, 1)) for i, x in enumerate(maps[:-1])]
    return [*merged, maps[-1].permute(0, 2, 3, 1)]


@pytest.mark.parametrize(
    ("chosen", "same"),
    [
        ({}, True),
        ({"fusion_place": "block"}, True),
        ({"fusion_place": "before_merge", "fusion_kind": "pool"}, True),
        ({"contour_operator": "sobel", "stem_global": False}, True),
        (PLAIN, True),
        ({"prompt_entry": "joint"}, False),
        ({"stem_fuse": "sum"}, False),
    ],
    ids=["default", "block", "pool", "stem", "plain", "joint", "sum"],
)
def test_begins_as_its_backbone(chosen: dict[str, Any], same: bool) -> None:
    model = build(open_gates=False, **chosen).eval()
    image = torch.rand(2, 3, 45, 70) - 0.5
    with torch.no_grad():
        levels, expected = network_of(model).encoder(image), backbone_levels(model, image)
        for level, wanted in zip(levels, expected, strict=True):
            assert torch.allclose(level.x, wanted, atol=1e-5) is same
        # Later on it does not.
        for name, p in model.named_parameters():
            if name.endswith(GATES):
                p.add_(0.3)
        assert not torch.allclose(network_of(model).encoder(image)[-1].x, levels[-1].x, atol=1e-5)


def test_gates_open_at_once() -> None:
    """At 0, a gate has a gradient, and so has the backbone; what is behind the gate has one from the second step on."""
    model = build(open_gates=False)
    model.training_loss(make_batch())[0].backward()
    encoder = network_of(model).encoder
    for name, p in encoder.named_parameters():
        assert p.grad is not None
        if name.endswith(GATES) or name in ("stem.proj.weight", "backbone.network.layers.0.blocks.0.mlp.fc1.weight"):
            assert p.grad.any(), name
        if name.startswith(("stem.mix", "stem.local", "stem.contour")):
            assert not p.grad.any(), name


# ---- parts by hand ---------------------------------------------------------------------------------------------------
def test_central_differences() -> None:
    conv, x = CentralDifferenceConv2d(2, 3, 0.7), torch.randn(1, 2, 7, 6)
    weight, padded = conv.conv.weight, F.pad(x, (1, 1, 1, 1))
    out = conv(x)
    assert out.shape == (1, 3, 4, 3)
    for i, j in ((0, 0), (2, 1), (3, 2)):
        window = padded[0, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        middle = window[:, 1:2, 1:2]
        expected = (weight * (0.7 * (window - middle) + 0.3 * window)).sum((1, 2, 3))
        torch.testing.assert_close(out[0, :, i, j], expected)


def test_contours_of_a_slope() -> None:
    x, y = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="xy")
    image = torch.stack([2 * x, 3 * y, x * x])[None]
    maps = ContourMaps("all")(image)
    assert maps.shape == (1, 12, 5, 6)
    inside = maps[0, :, 1:-1, 1:-1]
    # Red: x-slope 2, eight times a Sobel; green: y-slope; blue: its second derivative.
    assert inside[:3].flatten(1).unique(dim=1).squeeze().tolist() == [16.0, 0.0, 0.0]
    assert inside[3:6].flatten(1).unique(dim=1).squeeze().tolist() == [0.0, 24.0, 0.0]
    assert inside[8].unique().tolist() == [2.0]
    assert torch.equal(maps[:, 9:], image)
    assert ContourMaps("sobel").channels == 9 and ContourMaps("cdc")(image) is image


def one_prompt(fusion: PromptFusionModule, x: Tensor, z: Tensor) -> Tensor:
    """What the first prompt gathers, (C,), one branch and one head after the other: x (h, w, C) and z (P, C)."""
    x, z = fusion.norm_image(x), fusion.norm_prompts(z)
    rows, columns = fusion.grid
    tall, wide = x.shape[0] // rows, x.shape[1] // columns
    cells = [x[i * tall : (i + 1) * tall, j * wide : (j + 1) * wide].flatten(0, 1)
             for i in range(rows) for j in range(columns)]  # fmt: skip
    memories = [
        torch.stack([z.amax(0), *(cell.amax(0) for cell in cells)]),
        torch.stack([z.mean(0), *(cell.mean(0) for cell in cells)]),
        torch.cat([z, torch.stack([cell[0] for cell in cells])]),
    ]
    found = []
    for place, memory in enumerate(memories):
        key, value = fusion.key_value(memory + fusion.branch[place]).chunk(2, dim=-1)
        query, parts = fusion.query(z[0]), []
        for head in torch.arange(x.shape[-1]).chunk(fusion.num_heads):
            share = ((key[:, head] @ query[head]) / math.sqrt(len(head))).softmax(0)
            parts.append(share @ value[:, head])
        found.append(torch.cat(parts))
    weights = fusion.weights(z[0]).softmax(0)
    joined: Tensor = fusion.join(torch.cat(found))
    return joined + sum(w * part for w, part in zip(weights, found, strict=True))


def test_fusion_by_hand() -> None:
    torch.manual_seed(0)
    fusion = PromptFusionModule(8, 2, options(fusion_grid=[2, 3]))
    for p in fusion.parameters():
        nn.init.normal_(p, std=0.5)
    x, z = torch.randn(2, 4, 6, 8), torch.randn(2, 3, 8)
    image, prompts = fusion(x, z)
    order = [0, 1, 2]
    gathered = torch.stack([one_prompt(fusion, x[1], z[1][[i, *(j for j in order if j != i)]]) for i in order])
    torch.testing.assert_close(prompts[1], z[1] + fusion.gate_prompts * gathered)
    shares = (fusion.norm_image(x[1, 3, 2]) @ fusion.norm_prompts(z[1]).T / math.sqrt(8)).softmax(0)
    torch.testing.assert_close(image[1, 3, 2], x[1, 3, 2] + fusion.gate_image * fusion.back(shares @ gathered))


def test_prompts_look_the_same_through_either_entry() -> None:
    """The gate changes what places get; what prompts gather and how they look at places is TaskPrompter's."""
    joint, gated = (network_of(build(prompt_entry=entry)).encoder for entry in ("joint", "gated"))
    assert isinstance(joint, SwinPrompting) and isinstance(gated, SwinPrompting)
    joint.load_state_dict({k: v for k, v in gated.state_dict().items() if not k.endswith("prompt_gate")})
    x, z = torch.randn(2, 9, 13, 16), torch.randn(2, 3, 16)
    blocks = gated.backbone.network.layers[1].blocks
    with torch.no_grad():
        ours = gated.run_block(1, 1, x, z, shift_mask(blocks, x))
        theirs = joint.run_block(1, 1, x, z, shift_mask(blocks, x))
    assert not torch.allclose(ours[0], theirs[0], atol=1e-4)
    assert ours[2] is not None and theirs[2] is not None
    torch.testing.assert_close(ours[2], theirs[2])


# ---- switches --------------------------------------------------------------------------------------------------------
SWITCHES: list[dict[str, Any]] = [
    {"stem_global": False},
    {"stem_local": False},
    {"stem_contour": False},
    {"stem_kernel": 0},
    {"stem_fuse": "concat"},
    {"stem_fuse": "sum"},
    {"contour_operator": "sobel"},
    {"contour_operator": "laplacian"},
    {"contour_operator": "cdc"},
    {"contour_theta": 0.3},
    {"spatial_prompts": False},
    {"channel_prompts": False},
    {"channel_grid": [3, 5]},
    {"channel_attention": "pixels", "input_size": [32, 40]},
    {"channel_output": "discarded"},
    {"attention_maps": "scaled"},
    {"attention_maps": "softmax"},
    {"prompt_entry": "joint"},
    {"prompts_per_task": 2},
    {"fusion": False},
    {"fusion_place": "before_merge"},
    {"fusion_place": "block"},
    {"fusion_kind": "pool"},
    {"fusion_salient": False},
    {"fusion_trend": False},
    {"fusion_raw": False},
    {"fusion_salient": False, "fusion_trend": False},
    {"fusion_source": "image"},
    {"fusion_source": "prompts"},
    {"fusion_target": "image"},
    {"fusion_target": "prompts"},
    {"fusion_source": "prompts", "fusion_target": "prompts"},
    {"fusion_grid": [1, 2]},
    {"fusion_kind": "pool", "fusion_salient": False, "fusion_trend": False, "fusion_target": "prompts"},
    {"fusion_kind": "pool", "fusion_raw": False, "fusion_target": "prompts"},
    {"prompt_gate": False},
    {"prompt_gate": False, "fusion_target": "prompts"},
    {"prompt_gate": False, "channel_prompts": False, "fusion_target": "prompts"},
    PLAIN,
]


@pytest.fixture(scope="module")
def default() -> Tensor:
    # With the batch's statistics: at the beginning, running ones leave next to nothing of the image.
    model, batch = build(), make_batch()
    with torch.no_grad():
        logits: Tensor = model(batch["image"]).final["semseg"]
    return logits


@pytest.mark.parametrize("chosen", SWITCHES, ids=lambda chosen: ",".join(f"{k}={v}" for k, v in chosen.items()))
def test_every_switch_changes_something_and_trains_whole(chosen: dict[str, Any], default: Tensor) -> None:
    model, batch = build(**chosen), make_batch()
    with torch.no_grad():
        assert not torch.allclose(model(batch["image"]).final["semseg"], default, rtol=1e-3, atol=1e-3)
    loss = model.training_loss(batch)[0]
    loss.backward()
    assert torch.isfinite(loss)
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (PLAIN | {"fusion": True}, "without spatial and without channel prompts"),
        ({"stem_global": False, "stem_local": False, "stem_contour": False}, "without encoder"),
        ({"fusion_salient": False, "fusion_trend": False, "fusion_raw": False}, "without salient"),
        ({"fusion_kind": "pool", "fusion_source": "image"}, "a source each"),
        ({"fusion_place": "stage"}, "fusion_place"),
        ({"stem_kernel": 4}, "odd"),
        ({"contour_theta": 1.5}, "contour_theta"),
        ({"prompts_per_task": 3}, "divide"),
        ({"fusion_grid": [2]}, "rows and columns"),
        ({"channel_attention": "pixels"}, "size"),
        ({"new_lr_factor": 0.0}, "new_lr_factor"),
        ({"pretrained": True}, "no weights"),
    ],
)
def test_options_that_make_no_sense(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**chosen)


def test_other_backbones_are_refused() -> None:
    with pytest.raises(ConfigError, match="Swin"):
        PromptFusion(tasks=SPECS, backbone="resnet18", preset="tiny")


def test_learning_rate_of_what_is_new() -> None:
    model = build(new_lr_factor=10.0, lr=1e-3)
    old, new = model.parameter_groups()
    names = {id(p): name for name, p in model.named_parameters()}
    assert (old.lr, new.lr) == (None, pytest.approx(1e-2))
    known = [names[id(p)] for p in old.parameters]
    assert "network.encoder.stem.proj.weight" in known
    assert not any("prompt_gate" in name or "stem.mix" in name or "levels" in name for name in known)
    assert len(known) + len(list(new.parameters)) == len(names)


# ---- boxes -----------------------------------------------------------------------------------------------------------
def test_trains_with_boxes() -> None:
    model, batch = build(specs=STREET_SPECS), detection_batch()
    outputs = model.run_network(batch)
    assert outputs.final["semseg"].shape == (2, 5, 32, 64)
    assert [tuple(x.shape[1:]) for x in outputs.final["detection_3d"]] == [
        (22, h, w) for h, w in ((8, 16), (4, 8), (2, 4), (2, 4), (1, 2))
    ]
    sum(model.losses(outputs, batch).values()).backward()
    # Levels without a box have a factor that nothing pulls at.
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert {name for name in still if "factors" not in name} == set()
    with torch.no_grad():
        predictions = model.eval().predict_batch(batch)
    assert predictions["semseg"].shape == (2, 64, 128) and len(predictions["detection_3d"]) == 2


def test_another_size_needs_pooled_channels() -> None:
    model = build(channel_attention="pixels", input_size=[32, 40])
    with pytest.raises(ConfigError, match="pooled"):
        model(torch.rand(1, 3, 48, 40))
    build()(torch.rand(1, 3, 48, 40))
