"""TIF: no task reaches another, folding changes nothing, and each switch changes what it says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtdense.backbones import TinyBackbone
from mtdense.core.errors import ConfigError
from mtdense.models import TIF, DenseModule
from mtdense.models.tif import TIFNetwork, TIFOptions
from tests.models.architecture_tester import ArchitectureTester
from tests.models.helpers import SPECS, make_batch


def build(**options: Any) -> TIF:
    torch.manual_seed(0)
    return TIF(**{"tasks": SPECS, "backbone": "tiny", "preset": "tiny", **options})


CONFIG_B: dict[str, Any] = {"preset": "config_b", "width": 16}
CROSS: dict[str, Any] = {**CONFIG_B, "distillation": "cross"}
SWITCHES: list[dict[str, Any]] = [
    {"sa_input": "raw", "sa_width": "half", "sff_hidden": "half"},
    {"task_proj": "conv1x1"},
    {"num_heads": 1},
    {"saff_scales": []},
    {"saff_scales": [2, 3]},
    {"sa_resize": "adaptive_average", "sa_norm": False},
    {"sfd_scales": [3]},
    {"sfd_scales": [2], "lthd_scales": [0]},
    {"sfd_scales": [], "lthd": "keep"},
    {"lthd": "keep"},
    {"task_proj": "conv1x1", "distillation": "cross"},
    {"task_proj": "conv1x1", "query_from": "first_task", "token_norm": "separate"},
    {"key_terms": "tasks_plus_one", "linear_bias": True},
    {"folded": True, "attention_scaling": False, "token_norm": "none"},
    {"ffn_norm": "post", "sfd_ffn_ratio": 2.0, "lthd_ffn_ratio": 0.5},
    {"ffn_norm": "none", "lthd_ffn_residual": True},
    {"lthd_mixing": "columns", "lthd_pool": "max", "lthd_fuse": "concat"},
    {"detach_attention": True, "fuse_activation": False, "fusion_width": 12},
]


class TestTIF(ArchitectureTester):
    module_class = TIF

    @pytest.mark.parametrize("options", SWITCHES, ids=str)
    def test_every_parameter_gets_a_gradient_by_switch(self, options: dict[str, Any]) -> None:
        model = self.build(**options)
        torch.stack(list(self.training_losses(model, self.batch()).values())).sum().backward()
        assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().any()] == []

    @pytest.mark.parametrize("scale", [0, 1])
    @pytest.mark.parametrize("own", [{}, {"task_proj": "conv1x1"}, {"sa_input": "raw"}], ids=str)
    def test_dropped_scale_stays_in_the_graph(self, scale: int, own: dict[str, Any]) -> None:
        """Data-parallel training needs every parameter there; what only the dropped scale reads gets exact zeros."""
        model = self.build(lthd="drop", dropped_scale=scale, **own)
        torch.stack(list(self.training_losses(model, self.batch()).values())).sum().backward()
        assert all(p.grad is not None for p in model.parameters())
        assert not model.network.saff[str(scale)].mix.weight.grad.any()
        assert model.network.saff[str(1 - scale)].mix.weight.grad.any()

    def test_bfloat16(self) -> None:
        model = self.build()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = self.training_losses(model, self.batch())
        assert all(value.dtype == torch.float32 for value in losses.values())
        exact = self.training_losses(self.build(), self.batch())
        for name, value in losses.items():
            assert value.item() == pytest.approx(exact[name].item(), rel=0.1), name

    def test_odd_sizes(self) -> None:
        """425 x 560 has maps of 107 x 140 down to 14 x 18: nothing divides."""
        model = self.build().eval()
        with torch.no_grad():
            outputs = model(torch.rand(1, 3, 53, 70))
        assert outputs.final["semseg"].shape == (1, 5, 14, 18)


# ---- no interaction ------------------------------------------------------------------------------------------------
def decoder_gradients(model: DenseModule, task: str) -> dict[str, bool]:
    """{task: whether the loss of `task` has a gradient with respect to a parameter of that task's decoder}."""
    batch = make_batch(SPECS)
    model.zero_grad()
    model.losses(model.run_network(batch), batch)[task].backward()
    return {
        name: any(p.grad is not None and bool(p.grad.any()) for p in decoder.parameters())
        for name, decoder in model.network.decoders.items()
    }


def changed_outputs(model: DenseModule, prefix: str) -> set[str]:
    """Tasks whose logits change when the parameters of this prefix do."""
    model.eval()
    image = make_batch(SPECS)["image"]
    with torch.no_grad():
        before = {name: x.clone() for name, x in model(image).final.items()}
        for name, p in model.network.named_parameters():
            if name.startswith(prefix):
                p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
        after = model(image).final
    return {name for name in after if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("options", [{}, {"preset": "config_a", "width": 16}, CONFIG_B, {"lthd": "keep"}], ids=str)
@pytest.mark.parametrize("task", SPECS)
def test_no_task_reaches_another(options: dict[str, Any], task: str) -> None:
    assert decoder_gradients(build(**options), task) == {name: name == task for name in SPECS}
    assert changed_outputs(build(**options), f"decoders.{task}.") == {task}
    # What tasks share is the encoder.
    assert changed_outputs(build(**options), "saff.2.") == set(SPECS)


@pytest.mark.parametrize("task", SPECS)
def test_cross_distillation_reaches_all_tasks(task: str) -> None:
    assert decoder_gradients(build(**CROSS), task) == dict.fromkeys(SPECS, True)
    assert changed_outputs(build(**CROSS), f"decoders.{task}.") == set(SPECS)


def test_queries_of_the_first_task_reach_the_first_task() -> None:
    options = {**CONFIG_B, "query_from": "first_task"}
    assert decoder_gradients(build(**options), "depth") == {"semseg": True, "depth": True, "normals": False}
    assert changed_outputs(build(**options), "decoders.semseg.") == set(SPECS)
    assert changed_outputs(build(**options), "decoders.depth.") == {"depth"}


def test_cross_reads_other_tasks_low_scales_only() -> None:
    """What goes from task to task is the projected map at the scales with SFD."""
    model = build(**CROSS)
    batch = make_batch(SPECS)
    model.losses(model.run_network(batch), batch)["depth"].backward()
    own = [p.grad is None for p in model.network.decoders.semseg.project.parameters()]
    assert own == [True] * 6 + [False] * 6
    assert all(p.grad is None for n, p in model.network.decoders.semseg.named_parameters() if "project" not in n)


# ---- folding -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [{}, CONFIG_B, {"linear_bias": True}, {"key_terms": "tasks_plus_one", "token_norm": "separate"}],
    ids=str,
)
def test_folded_network_is_the_unfolded_one(options: dict[str, Any]) -> None:
    whole, folded = build(**options).double().eval(), build(folded=True, **options).double().eval()
    image = make_batch(SPECS)["image"].double()
    state = whole.state_dict()
    keys = set(state)
    folded.load_state_dict(state)
    assert set(state) == keys
    with torch.no_grad():
        a, b = whole(image).final, folded(image).final
    for name in SPECS:
        assert torch.allclose(a[name], b[name], rtol=0, atol=1e-12), name
        assert a[name].abs().max() > 1e-3
    maps = 3 + (options.get("key_terms") == "tasks_plus_one")
    assert len(whole.network.decoders.depth.sfd["2"].key_values) == maps
    assert len(folded.network.decoders.depth.sfd["2"].key_values) == 1


def test_folded_in_single_precision() -> None:
    whole, folded = build().eval(), build(folded=True).eval()
    folded.load_state_dict(whole.state_dict())
    image = make_batch(SPECS)["image"]
    with torch.no_grad():
        a, b = whole(image).final, folded(image).final
    assert all(torch.allclose(a[name], b[name], rtol=1e-5, atol=1e-6) for name in SPECS)
    other = build(folded=True).eval()
    other.load_state_dict(folded.state_dict())
    with torch.no_grad():
        c = other(image).final
    assert all(torch.equal(b[name], c[name]) for name in SPECS)


def test_folding_in_place() -> None:
    model = build(linear_bias=True).eval()
    image = make_batch(SPECS)["image"]
    with torch.no_grad():
        before = model(image).final
        after = model.fold()(image).final
        again = model.fold()(image).final
    assert all(torch.allclose(before[name], after[name], rtol=1e-5, atol=1e-6) for name in SPECS)
    assert all(torch.equal(after[name], again[name]) for name in SPECS)
    assert model.hparams["folded"]
    other = build(linear_bias=True, folded=True).eval()
    other.load_state_dict(model.state_dict())
    with pytest.raises(ConfigError, match="by a map of its own"):
        build(**CROSS).fold()


def test_unfolded_network_refuses_folded_weights() -> None:
    with pytest.raises(RuntimeError, match=r"sfd\.2\.key_values\.1\.weight"):
        build().load_state_dict(build(folded=True).state_dict())


# ---- switches ------------------------------------------------------------------------------------------------------
def run(network: nn.Module) -> dict[str, Tensor]:
    torch.manual_seed(2)
    with torch.no_grad():
        final: dict[str, Tensor] = network.eval()(torch.randn(1, 3, 64, 96)).final
    return final


def excited(**options: Any) -> TIF:
    """With larger weights, so that attention is not even."""
    model = build(**options)
    with torch.no_grad():
        for name, p in model.network.decoders.named_parameters():
            if "query" in name or "key_values" in name:
                p.mul_(4.0)
    return model


@pytest.mark.parametrize(
    ("base", "switch"),
    [
        ({}, {"attention_scaling": False}),
        ({}, {"num_heads": 1}),
        ({}, {"lthd_mixing": "columns"}),
        ({}, {"lthd_pool": "max"}),
        ({}, {"lthd_ffn_residual": True}),
        ({}, {"fuse_activation": False}),
        ({}, {"sa_resize": "adaptive_average"}),
        (CONFIG_B, {"distillation": "cross"}),
        (CONFIG_B, {"query_from": "first_task"}),
    ],
    ids=str,
)
def test_same_weights_other_output(base: dict[str, Any], switch: dict[str, Any]) -> None:
    plain, other = excited(**base), build(**{**base, **switch})
    other.load_state_dict(plain.state_dict())
    a, b = run(plain.network), run(other.network)
    # The first task's queries are its own.
    same = {"semseg"} if switch.get("query_from") else set()
    assert {name for name in SPECS if torch.allclose(a[name], b[name], atol=1e-6)} == same


def test_detaching_changes_gradients_and_no_output() -> None:
    gradients = []
    for detached in (False, True):
        model = build(detach_attention=detached)
        batch = make_batch(SPECS)
        outputs = model.run_network(batch)
        model.losses(outputs, batch)["depth"].backward()
        gradients.append((outputs.final["depth"], model.network.decoders.depth.sfd["2"].query.weight.grad))
    assert torch.equal(gradients[0][0], gradients[1][0])
    assert not torch.allclose(gradients[0][1], gradients[1][1])
    assert gradients[1][1].any()


def shapes(**options: Any) -> dict[str, torch.Size]:
    return {name: p.shape for name, p in build(**options).network.named_parameters()}


def test_where_parts_are() -> None:
    """Names of the parts that ablations take away or add."""

    def parts(**options: Any) -> tuple[set[str], set[str], set[str]]:
        network = build(**options).network
        assert isinstance(network, TIFNetwork)
        decoder: Any = network.decoders["depth"]
        return set(network.saff), set(decoder.sfd), set(decoder.lthd)

    everything = {"0", "1", "2", "3"}
    assert parts() == (everything, {"2", "3"}, {"0", "1"})
    assert parts(saff_scales=[]) == (set(), {"2", "3"}, {"0", "1"})
    assert parts(saff_scales=[2, 3]) == ({"2", "3"}, {"2", "3"}, {"0", "1"})
    assert parts(sfd_scales=[3]) == (everything, {"3"}, {"0", "1"})
    assert parts(sfd_scales=[], lthd="keep") == (everything, set(), set())
    assert parts(lthd="keep") == (everything, {"2", "3"}, set())
    assert parts(lthd="drop") == (everything, {"2", "3"}, set())
    assert parts(lthd_scales=[0]) == (everything, {"2", "3"}, {"0"})


def test_what_a_scale_without_a_module_passes_on() -> None:
    """Without SAFF the reduced map, without SFD and LTHD the shared one."""
    model = build(saff_scales=[2, 3], sfd_scales=[3], lthd="keep").eval()
    network = model.network
    image = make_batch(SPECS)["image"]
    with torch.no_grad():
        maps = network.backbone(image)
        reduced = [layer(x) for layer, x in zip(network.reduce, maps, strict=True)]
        encoded = network.encode(image)
        features = network(image).features
    assert [torch.equal(a, b) for a, b in zip(reduced, encoded, strict=True)] == [True, True, False, False]
    for name in SPECS:
        before, after = features["task_maps"][name], features["refined"][name]
        assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, True, False]
        assert all(torch.equal(a, b) for a, b in zip(encoded, before, strict=True))


def test_widths() -> None:
    plain = shapes()
    assert plain["saff.1.align.0.weight"] == (16, 48, 1, 1)
    assert plain["saff.1.fuse.0.weight"] == (16, 32, 1, 1)
    assert plain["decoders.depth.fusion.0.weight"] == (7, 64, 3, 3)
    # The tiny backbone has 8, 12, 16 and 24 channels.
    assert shapes(sa_input="raw")["saff.1.align.0.weight"] == (16, 48, 1, 1)
    assert shapes(sa_input="raw")["saff.3.align.0.weight"] == (16, 36, 1, 1)
    half = shapes(sa_width="half")
    assert (half["saff.0.align.0.weight"], half["saff.0.fuse.0.weight"]) == ((8, 48, 1, 1), (16, 24, 1, 1))
    assert shapes(sff_hidden="half")["saff.0.fuse.2.weight"] == (16, 8, 1, 1)
    assert shapes(lthd="drop")["decoders.depth.fusion.0.weight"] == (7, 48, 3, 3)
    assert shapes(fusion_width=5)["decoders.depth.head.weight"] == (1, 5, 1, 1)
    assert shapes(sfd_ffn_ratio=2.0)["decoders.depth.sfd.3.ffn.layers.0.weight"] == (32, 16)
    assert shapes(lthd_ffn_ratio=0.5)["decoders.depth.lthd.1.ffn.layers.0.weight"] == (8, 16)
    assert shapes(lthd_fuse="concat")["decoders.depth.lthd.0.fuse.0.weight"] == (16, 32, 1, 1)
    assert set(shapes(sa_norm=False)) ^ set(plain) == {
        f"saff.{i}.align.{n}" for i in range(4) for n in ("weight", "bias", "0.weight", "1.weight", "1.bias")
    }
    assert set(shapes(task_proj="conv1x1")) - set(plain) == {
        f"decoders.{t}.project.{i}.{n}" for t in SPECS for i in range(4) for n in ("0.weight", "1.weight", "1.bias")
    }
    # A constant in front of a projection with batch norm would never be trained.
    assert set(plain) - set(shapes(task_proj="conv1x1")) == {f"saff.{i}.mix.bias" for i in range(4)}
    assert set(shapes(linear_bias=True)) - set(plain) == {
        f"decoders.{t}.{n}.bias"
        for t in SPECS
        for n in (
            *(f"sfd.{i}.{m}" for i in (2, 3) for m in ("query", *(f"key_values.{k}" for k in range(3)))),
            "lthd.0.value",
            "lthd.1.value",
        )
    }


def test_width_follows_preset_and_backbone() -> None:
    widths = {}
    for preset in ("paper", "config_a", "config_b", "small"):
        for backbone in ("hrnet_w18", "resnet18"):
            with torch.device("meta"):
                widths[preset, backbone] = build(preset=preset, backbone=backbone).network.options.width
    assert widths == {
        ("paper", "hrnet_w18"): 92,
        ("config_a", "hrnet_w18"): 96,
        ("config_b", "hrnet_w18"): 88,
        ("small", "hrnet_w18"): 64,
        ("paper", "resnet18"): 128,
        ("config_a", "resnet18"): 128,
        ("config_b", "resnet18"): 128,
        ("small", "resnet18"): 64,
    }


def test_heads_start_small() -> None:
    head = build(tasks={"semseg": {"num_classes": 200}}, fusion_width=50).network.decoders["semseg"].head
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not head.bias.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "large"}, "preset is 'large'"),
        ({"lthd": "off"}, "lthd is 'off'"),
        ({"sa_input": "both"}, "sa_input is 'both'"),
        ({"num_heads": 3}, "3 attention heads do not divide the 16 channels"),
        ({"width": 0}, "width is 0"),
        ({"sfd_ffn_ratio": 0.0}, r"sfd_ffn_ratio is 0\.0"),
        ({"saff_scales": [3, 2]}, r"saff_scales is \[3, 2\]"),
        ({"sfd_scales": [1]}, r"sfd_scales is \[1\]"),
        ({"lthd_scales": [2]}, r"lthd_scales is \[2\]"),
        ({"dropped_scale": 2}, "dropped_scale is 2"),
        ({"sfd_scales": []}, "LTHD diffuses the attention of SFD"),
        ({"lthd_scales": []}, "on no scale"),
        ({"distillation": "cross"}, "without a projection all tasks have the same"),
        ({"query_from": "first_task"}, "without a projection all tasks have the same"),
        ({**CROSS, "sfd_scales": [], "lthd": "keep"}, "without SFD"),
        ({**CROSS, "folded": True}, "by a map of its own"),
        ({**CROSS, "key_terms": "tasks_plus_one"}, "by a map of its own"),
    ],
    ids=str,
)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**options)


def test_refuses_a_backbone_of_other_strides() -> None:
    backbone = TinyBackbone()
    backbone.strides = (4, 8, 8, 8)
    with pytest.raises(ConfigError, match=r"strides \[4, 8, 8, 8\]"):
        TIFNetwork(backbone, {"depth": 1}, TIFOptions(width=16))


def test_vit() -> None:
    """Four maps of stride 16 become a pyramid of strides 4 to 32."""
    model = build(backbone="vit_tiny_patch16_224", input_size=[64, 96]).eval()
    with torch.no_grad():
        outputs = model(torch.rand(1, 3, 64, 96))
    maps = outputs.features["task_maps"]["depth"]
    assert [tuple(x.shape[-2:]) for x in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert outputs.final["depth"].shape == (1, 1, 16, 24)


def test_one_task_alone() -> None:
    model = build(tasks={"depth": {}}, task_proj="conv1x1", distillation="cross")
    batch = make_batch({"depth": {}})
    model.losses(model.run_network(batch), batch)["depth"].backward()
    assert all(p.grad is not None for p in model.parameters())
