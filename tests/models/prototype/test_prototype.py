"""Prototype: the paper's counts, what each loss trains, what each switch changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from mtdense.cli.configs import merged_configs
from mtdense.core.errors import ConfigError
from mtdense.core.experiments import experiment_names
from mtdense.models import DenseModule, MTLBaseline, Prototype
from mtdense.models.prototype import affinity as affinity_file
from mtdense.models.prototype.affinity import task_similarity
from mtdense.models.prototype.network import enlarge
from mtdense.models.prototype.region import grid_weights, mean_weights
from tests.models.architecture_tester import ArchitectureTester
from tests.models.helpers import ALL_SPECS, SPECS, make_batch

NYUD = {"semseg": {"num_classes": 13}, "depth": {}, "normals": {}}
# Rows of Table 3: the baseline, + TAE, + TKE (the first with retrieval), + TC.
TABLE_3: list[dict[str, bool]] = [
    {"vq": False, "loss_tae": False, "loss_tke": False, "loss_tc": False, "retrieval": False},
    {"vq": True, "loss_tae": True, "loss_tke": False, "loss_tc": False, "retrieval": False},
    {"vq": True, "loss_tae": True, "loss_tke": True, "loss_tc": False, "retrieval": True},
    {"vq": True, "loss_tae": True, "loss_tke": True, "loss_tc": True, "retrieval": True},
]
BASELINE = TABLE_3[0]


def count(module: nn.Module | None) -> int:
    assert module is not None
    return sum(p.numel() for p in module.parameters())


def inference_size(model: DenseModule) -> int:
    unused = tuple(f"{prefix}." for prefix in model.training_only)
    return sum(p.numel() for name, p in model.network.named_parameters() if not name.startswith(unused))


def build(**options: Any) -> Prototype:
    torch.manual_seed(0)
    return Prototype(**{"tasks": SPECS, "backbone": "tiny", "preset": "tiny", **options})


def build_meta(**options: Any) -> Prototype:
    with torch.device("meta"):
        return Prototype(**{"tasks": NYUD, "backbone": "resnet18", **options})


class TestPrototype(ArchitectureTester):
    module_class = Prototype

    def test_no_label_at_all_trains_with_zero_gradient(self) -> None:
        """Reconstruction and consistency need no label; everything else is an exact zero that keeps the graph."""
        model = self.build()
        batch = self.batch({name: [False, False] for name in self.specs})
        losses = self.training_losses(model, batch)
        free = {"tae", "tc"}
        assert all(value.item() == 0 for name, value in losses.items() if name not in free)
        supervised = torch.stack([value for name, value in losses.items() if name not in free]).sum()
        supervised.backward(retain_graph=True)
        assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)
        torch.stack([losses[name] for name in free]).sum().backward()
        assert all(p.grad is not None for p in model.parameters())
        assert model.network.prototype.slots.grad.abs().sum() > 0
        assert not model.network.heads["depth"].weight.grad.any()

    def test_no_label_and_no_free_loss_is_zero(self) -> None:
        model = self.build(loss_tae=False, loss_tc=False)
        batch = self.batch({name: [False, False] for name in self.specs})
        total = torch.stack(list(self.training_losses(model, batch).values())).sum()
        total.backward()
        assert total.item() == 0.0
        assert all(p.grad is not None and not p.grad.any() for p in model.parameters())

    @pytest.mark.parametrize(
        "options",
        [
            *TABLE_3,
            {"preliminary_supervision": 0.5},
            {"affinity": "tokens"},
            {"prototype_gradient": "all", "loss_tke": False, "loss_tc": False},
            {"retrieval": False},
            {"decoder": "conv"},
            {"attention_downsample": 2, "positional_encoding": "sincos"},
            {"vq_gradient": "straight_through", "codebook_weight": 1.0, "commitment_weight": 0.25},
            {"tc_form": "anchor"},
        ],
    )
    def test_every_parameter_gets_a_gradient_by_switch(self, options: dict[str, Any]) -> None:
        model = self.build(**options)
        torch.stack(list(self.training_losses(model, self.batch()).values())).sum().backward()
        assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().any()] == []

    def test_bfloat16(self) -> None:
        model = self.build()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = self.training_losses(model, self.batch())
        assert all(value.dtype == torch.float32 for value in losses.values())
        exact = self.training_losses(self.build(), self.batch())
        for name, value in losses.items():
            assert value.item() == pytest.approx(exact[name].item(), rel=0.1), name


# ---- counts --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("slot_dim", "printed", "conv", "basic_block"),
    [
        (None, "146.5", 146_469_457, 146_481_745),
        (256, "156.6", 156_594_769, 156_607_057),
        (512, "157.5", 157_513_809, 157_526_097),
        (1024, "159.4", 159_351_889, 159_364_177),
        (2048, "163.0", 163_028_049, 163_040_337),
    ],
)
def test_table_4(slot_dim: int | None, printed: str, conv: int, basic_block: int) -> None:
    options: dict[str, Any] = BASELINE if slot_dim is None else {"slot_dim": slot_dim}
    for decoder, expected in (("conv", conv), ("basic_block", basic_block)):
        size = inference_size(build_meta(preset="paper", decoder=decoder, **options))
        assert size == expected
        assert f"{size / 1e6:.1f}" == printed


@pytest.mark.parametrize(
    ("slot_dim", "expected"),
    [(256, 54_058_577), (512, 54_977_617), (1024, 56_815_697), (2048, 60_491_857)],
)
def test_counts_of_the_fair_preset(slot_dim: int, expected: int) -> None:
    assert inference_size(build_meta(preset="dmtl", slot_dim=slot_dim)) == expected


def test_fair_preset_is_the_mtl_baseline_and_more() -> None:
    plain = build_meta(preset="dmtl", **BASELINE)
    with torch.device("meta"):
        baseline = MTLBaseline(tasks=NYUD, backbone="resnet18", preset="paper")
    assert {n: p.shape for n, p in plain.network.named_parameters()} == {
        n: p.shape for n, p in baseline.network.named_parameters()
    }


def test_switched_off_it_computes_the_mtl_baseline() -> None:
    plain = build(**BASELINE).eval()
    baseline = MTLBaseline(tasks=SPECS, backbone="tiny", preset="tiny").eval()
    baseline.network.load_state_dict(plain.network.state_dict())
    image = make_batch()["image"]
    with torch.no_grad():
        a, b = plain(image).final, baseline(image).final
    assert all(torch.equal(a[name], b[name]) for name in SPECS)


def test_parts_of_the_paper_preset() -> None:
    network = build_meta(preset="paper").network
    assert count(network.backbone) == 11_176_512
    assert count(network.neck) == 4_719_616
    assert count(network.decoders) == 3 * 43_521_536
    assert count(network.quantizer) == 256 * 1024 == 262_144
    assert count(network.prototype) == 3 * 1024
    assert count(network.projections) == 3 * (512 * 1024 + 1024)
    assert [count(block) for block in network.retrieval.blocks] == [3_679_744 + 1024 * 1024] * 2
    assert count(network.lifts) == 1_575_936
    assert count(network.heads) == 8_721 + 8_704
    assert count(network.reconstruction) == 6_197_507
    assert count(build_meta(preset="paper", decoder="basic_block").network.decoders) == 130_576_896
    assert build_meta(preset="dmtl").network.quantizer.codebook.shape == (512, 512)


@pytest.mark.parametrize(
    ("decoder", "plain", "full"),
    # Without batch norm but with biases, a decoder has 4 * 1024 parameters less.
    [("basic_block", 233_541_730, 248_536_162), ("conv", 233_541_730 - 5 * 4096, 248_536_162 - 5 * 4096)],
)
def test_pascal_counts(decoder: str, plain: int, full: int) -> None:
    assert inference_size(build_meta(tasks=ALL_SPECS, preset="paper", decoder=decoder, **BASELINE)) == plain
    assert inference_size(build_meta(tasks=ALL_SPECS, preset="paper", decoder=decoder)) == full


def test_resnet50_neck_reads_the_last_map_alone() -> None:
    model = build_meta(preset="paper", backbone="resnet50")
    assert count(model.network.neck) == 2048 * 1024 * 9 + 1024 == 18_875_392
    assert build_meta(preset="dmtl", backbone="resnet50").network.neck.in_channels == 3840


def test_small_preset_is_128_wide() -> None:
    network = build_meta(preset="small").network
    assert network.neck.out_channels == 128
    assert network.quantizer.codebook.shape == (128, 128)
    assert network.prototype.slots.shape == (3, 256)


def test_sizes_by_option() -> None:
    network = build(codebook_size=5, slot_dim=7, retrieval_blocks=3, retrieval_heads=4).network
    assert network.quantizer.codebook.shape == (5, 16)
    assert network.prototype.slots.shape == (3, 7)
    assert len(network.retrieval.blocks) == 3
    assert network.retrieval.blocks[0].heads == 4


def test_what_training_alone_uses() -> None:
    """Predictions do not change when those parameters do, and change with every other one."""
    for options in ({"preliminary_supervision": 0.5}, {"retrieval": False}):
        model = build(**options).eval()
        batch = make_batch()
        with torch.no_grad():
            before = model(batch["image"]).final
        unused = tuple(f"{prefix}." for prefix in model.training_only)
        moved = set()
        for name, parameter in model.network.named_parameters():
            kept = parameter.detach().clone()
            with torch.no_grad():
                parameter.add_(0.3 + torch.rand_like(parameter))
                after = model(batch["image"]).final
                parameter.copy_(kept)
            if any(not torch.equal(before[task], after[task]) for task in SPECS):
                moved.add(name)
            assert (name in moved) == (not name.startswith(unused)), name
        assert any(name.startswith(unused) for name, _ in model.network.named_parameters())


# ---- what each loss trains -----------------------------------------------------------------------------------------
FLAGS = {"semseg": [True, False], "depth": [False, True], "normals": [False, False]}


def run(model: Prototype, flags: dict[str, list[bool]] | None = None) -> tuple[Any, dict[str, torch.Tensor]]:
    batch = make_batch(SPECS, flags)
    outputs = model.run_network(batch)
    return outputs, {**model.losses(outputs, batch), **model.extra_losses(outputs, batch)}


def trained(model: Prototype, value: torch.Tensor) -> set[str]:
    """Parts of the network that get a gradient from a loss."""
    parameters = dict(model.network.named_parameters())
    gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True, retain_graph=True)
    names = [n for n, g in zip(parameters, gradients, strict=True) if g is not None and g.abs().any()]
    parts = {"decoders", "projections", "lifts", "heads"}
    return {".".join(n.split(".")[:2]) if n.split(".")[0] in parts else n.split(".")[0] for n in names}


def test_what_each_loss_trains() -> None:
    model = build()
    _, losses = run(model, FLAGS)
    shared = {"backbone", "neck", "quantizer"}
    task = {f"{part}.semseg" for part in ("decoders", "projections", "lifts", "heads")}
    assert trained(model, losses["semseg"]) == shared | task | {"retrieval"}
    assert trained(model, losses["normals"]) == set()
    assert trained(model, losses["tae"]) == shared | {"reconstruction"}
    taught = {f"{part}.{name}" for part in ("decoders", "projections") for name in ("semseg", "depth")}
    assert trained(model, losses["tke"]) == shared | taught | {"prototype"}
    everything = {f"{part}.{name}" for part in ("decoders", "projections") for name in SPECS}
    assert trained(model, losses["tc"]) == shared | everything | {"prototype"}


def test_unlabelled_predictions_get_no_gradient() -> None:
    model = build(preliminary_supervision=0.5)
    outputs, losses = run(model, FLAGS)
    logits = [*outputs.final.values(), *outputs.preliminary[0].values()]
    names = [*SPECS, *SPECS]
    gradients = torch.autograd.grad(torch.stack(list(losses.values())).sum(), logits, allow_unused=True)
    for name, gradient in zip(names, gradients, strict=True):
        assert gradient is not None
        assert [bool(row.any()) for row in gradient] == FLAGS[name], name


def test_no_knowledge_of_an_unlabelled_image_is_stored_but_by_consistency() -> None:
    model = build()
    outputs, losses = run(model, FLAGS)
    for name, flags in FLAGS.items():
        tokens = outputs.features["tokens"][name]
        (tke,) = torch.autograd.grad(losses["tke"], tokens, retain_graph=True)
        (tc,) = torch.autograd.grad(losses["tc"], tokens, retain_graph=True)
        assert [bool(row.any()) for row in tke] == flags
        assert all(row.any() for row in tc)


def test_prototype_gradient_option() -> None:
    for gradient, moved in (("akg", False), ("affinity", True), ("all", True)):
        model = build(prototype_gradient=gradient)
        _, losses = run(model)
        assert ("prototype" in trained(model, losses["semseg"])) is moved


def test_straight_through_leaves_the_codebook_to_its_own_loss() -> None:
    model = build(vq_gradient="straight_through", codebook_weight=0.5, commitment_weight=0.25)
    _, losses = run(model)
    assert "quantizer" not in trained(model, losses["semseg"]) | trained(model, losses["tae"])
    assert trained(model, losses["codebook"]) == {"quantizer"}
    assert trained(model, losses["commitment"]) == {"backbone", "neck"}


# ---- what each switch changes --------------------------------------------------------------------------------------
def state(model: Prototype, like: Prototype) -> Prototype:
    """`model` with the weights of `like` wherever both have one of the same shape."""
    own = model.state_dict()
    same = {k: v for k, v in like.state_dict().items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(same, strict=False)
    return model


def changes(options: dict[str, Any]) -> set[str]:
    """Which results differ between the default network and one with these options and the same weights."""
    default = build()
    with torch.no_grad():
        # A codebook of the features' size, else the choice of slot hardly shows.
        default.network.quantizer.codebook.normal_(std=0.3)
    other = state(build(**options), default)
    results = []
    for model in (default, other):
        outputs, losses = run(model, {"semseg": [True, True], "depth": [True, False], "normals": [False, False]})
        results.append({"final": torch.cat([x.flatten() for x in outputs.final.values()]), **losses})
    a, b = results
    names = (a.keys() | b.keys()) - {"semseg", "depth", "normals"}
    shared = {n for n in names if n in a and n in b and a[n].shape == b[n].shape}
    return (names - shared) | {n for n in shared if not torch.allclose(a[n], b[n], rtol=1e-5, atol=1e-7)}


EVERYTHING = {"final", "tae", "tke", "tc"}


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"decoder": "conv"}, {"final", "tke", "tc"}),
        ({"decoder_stride": 16}, EVERYTHING),
        ({"vq": False}, EVERYTHING),
        ({"retrieval": False}, {"final"}),
        ({"loss_tae": False}, {"tae"}),
        ({"loss_tke": False}, {"tke"}),
        ({"loss_tc": False}, {"tc"}),
        ({"lambda_tae": 2.0}, {"tae", "tke", "tc"}),
        ({"lambda_tae": 2.0, "lambda_akg": 1.0}, {"tae"}),
        ({"lambda_akg": 2.0}, {"tke", "tc"}),
        ({"codebook_size": 3}, EVERYTHING),
        ({"vq_distance": "cosine"}, EVERYTHING),
        ({"vq_gradient": "both"}, set()),
        ({"commitment_weight": 0.25}, {"commitment"}),
        ({"codebook_weight": 0.25}, {"codebook"}),
        ({"dead_code_steps": 5}, set()),
        ({"reconstruction_target": "raw"}, {"tae"}),
        ({"reconstruction_distance": "l1"}, {"tae"}),
        ({"slot_dim": 8}, {"final", "tke", "tc"}),
        ({"prototype_init": "orthogonal"}, set()),
        ({"affinity": "pooled"}, {"final", "tke"}),
        ({"affinity": "tokens"}, {"final", "tke"}),
        ({"similarity": "dot"}, {"final", "tke"}),
        ({"temperature": 1.0}, {"final", "tke"}),
        ({"prototype_gradient": "all"}, set()),
        ({"tke_images": "all"}, {"tke"}),
        ({"tke_average": "tasks"}, {"tke"}),
        ({"tke_average": "images"}, {"tke"}),
        ({"tc_form": "infonce"}, {"tc"}),
        ({"tc_form": "anchor"}, {"tc"}),
        ({"tc_mean": "image"}, {"tc"}),
        ({"loss_region": "canvas"}, set()),
        ({"retrieval_blocks": 1}, {"final"}),
        ({"retrieval_heads": 4}, {"final"}),
        ({"retrieval_norm": "post"}, {"final"}),
        ({"cross_residual": False}, {"final"}),
        ({"attention_scaling": False}, {"final"}),
        # Of 4 x 5 positions the last column stands alone in its cell, so that the mean over cells is another, too.
        ({"attention_downsample": 2}, {"final", "tke", "tc"}),
        ({"positional_encoding": "sincos"}, {"final"}),
        ({"head_input": "sum"}, {"final"}),
        ({"preliminary_supervision": 0.5}, set()),
    ],
    ids=str,
)
def test_switches_change_what_they_say(options: dict[str, Any], changed: set[str]) -> None:
    assert changes(options) == changed


def test_contrast_has_a_temperature() -> None:
    model = build(tc_form="infonce")
    hot = state(build(tc_form="infonce", tc_temperature=1.0), model)
    assert run(model)[1]["tc"].item() != pytest.approx(run(hot)[1]["tc"].item(), rel=1e-3)


def test_preliminary_supervision_weighs_its_loss() -> None:
    model = build(preliminary_supervision=0.5)
    batch = make_batch(SPECS)
    outputs = model.run_network(batch)
    total = model.losses(outputs, batch)
    final = model._task_losses(outputs.final, batch, True)
    preliminary = model._task_losses(outputs.preliminary[0], batch, True)
    for name in SPECS:
        assert total[name].item() == pytest.approx(final[name].item() + 0.5 * preliminary[name].item(), rel=1e-6)


@pytest.mark.parametrize("size", [(32, 40), (40, 56), (72, 40)])
def test_downsampled_retrieval_of_odd_maps(size: tuple[int, int]) -> None:
    model = build(attention_downsample=2)
    batch = make_batch(SPECS, size=size)
    outputs = model.run_network(batch)
    grid = (-(-size[0] // 16), -(-size[1] // 16))
    assert outputs.features["grid"] == grid
    assert outputs.final["depth"].shape[-2:] == (size[0] // 8, size[1] // 8)


def test_raw_target_does_not_show_padding() -> None:
    for target in ("raw", "normalised"):
        model = build(reconstruction_target=target)
        values = []
        for shift in (0.0, 1.0):
            batch = make_batch(SPECS)
            batch["meta"]["content"] = torch.tensor([[4, 8, 20, 24]] * 2)
            outside = batch["image"] + shift
            outside[:, :, 4:24, 8:32] = batch["image"][:, :, 4:24, 8:32]
            batch["image"] = outside
            values.append(model.extra_losses(model.run_network(batch), batch)["tae"].item())
        assert values[0] == values[1]


# ---- dead slots ----------------------------------------------------------------------------------------------------
def train_step(model: Prototype) -> None:
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    model.training_step(make_batch(SPECS), 0).backward()


def test_dead_slots_move_onto_features_and_are_used() -> None:
    model = build(dead_code_steps=2)
    model.network.quantizer.codebook.data[3:] = 1e3
    train_step(model)
    assert (model.network.quantizer.codebook[3:] == 1e3).all()
    assert model.state_dict()["network.quantizer.idle"].tolist()[3:] == [1] * 5
    train_step(model)
    assert model.network.quantizer.codebook.abs().max() < 1e2
    outputs, _ = run(model)
    assert outputs.features["indices"].max() >= 3


def test_dead_slots_resume() -> None:
    """A run that goes on from its state does what the unbroken one did."""
    whole, first = build(dead_code_steps=2), build(dead_code_steps=2)
    for model in (whole, first):
        model.network.quantizer.codebook.data[3:] = 1e3
        train_step(model)
    resumed = build(dead_code_steps=2)
    resumed.load_state_dict(first.state_dict())
    train_step(whole)
    train_step(resumed)
    assert torch.equal(whole.network.quantizer.codebook, resumed.network.quantizer.codebook)
    assert whole.network.quantizer.codebook.max() < 1e2
    other = build(dead_code_steps=2, noise_seed=1)
    other.load_state_dict(first.state_dict())
    train_step(other)
    assert not torch.equal(whole.network.quantizer.codebook, other.network.quantizer.codebook)


# ---- options that make no sense ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "large"}, "preset is 'large'"),
        ({"decoder": "linear"}, "decoder is 'linear'"),
        ({"decoder_stride": 4}, "decoder_stride is 4"),
        ({"similarity": "l2"}, "similarity is 'l2'"),
        ({"slot_dim": 0}, "slot_dim is 0"),
        ({"codebook_size": 2.5}, "codebook_size is 2.5"),
        ({"dead_code_steps": -1}, "dead_code_steps is -1"),
        ({"attention_downsample": 0}, "attention_downsample is 0"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"lambda_akg": -1.0}, "lambda_akg is -1"),
        ({"lambda_tae": float("nan")}, "lambda_tae is nan"),
        ({"retrieval_heads": 3}, "3 attention heads"),
        ({"loss_region": "image"}, "loss_region is 'image'"),
        ({"vq": False, "dead_code_steps": 3}, "without a codebook"),
        ({"vq": False, "codebook_weight": 1.0}, "without a codebook"),
        ({"vq_gradient": "straight_through"}, "no loss reach the codebook"),
        ({"loss_tke": False, "loss_tc": False}, "no loss trains the prototype"),
        ({"loss_tke": False, "tc_form": "anchor"}, "no loss trains the prototype"),
        ({"loss_tke": False, "tc_form": "anchor", "retrieval": False}, "no use for the prototype"),
        ({"lambda_tae": 0.0}, "`loss_tae` with a weight of 0 .`lambda_tae`.\n  Mend: set `loss_tae: false`"),
        ({"lambda_tae": 0.0, "loss_tae": False}, "`loss_tke` with a weight of 0 .`lambda_tae`."),
        ({"lambda_akg": 0.0, "loss_tke": False}, "`loss_tc` with a weight of 0 .`lambda_akg`."),
    ],
)
def test_senseless_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**options)


NOTHING = {**BASELINE}
IDLE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"vq": False}, {"codebook_size": 9}),
    ({"vq": False}, {"codebook_init": "normal"}),
    ({"vq": False}, {"vq_distance": "cosine"}),
    ({"vq": False}, {"vq_gradient": "both"}),
    ({"vq": False}, {"commitment_weight": 0.25}),
    ({"vq": False}, {"codebook_weight": 0.25}),
    ({"vq": False}, {"dead_code_steps": 3}),
    ({"loss_tae": False}, {"reconstruction_target": "raw"}),
    ({"loss_tae": False}, {"reconstruction_distance": "l1"}),
    ({"loss_tae": False, "lambda_akg": 1.0}, {"lambda_tae": 2.0}),
    (NOTHING, {"lambda_akg": 2.0}),
    (NOTHING, {"slot_dim": 8}),
    (NOTHING, {"prototype_init": "orthogonal"}),
    (NOTHING, {"loss_region": "canvas"}),
    ({"retrieval": False, "loss_tke": False}, {"affinity": "pooled"}),
    ({"retrieval": False, "loss_tke": False}, {"similarity": "dot"}),
    ({"retrieval": False, "loss_tke": False}, {"temperature": 1.0}),
    ({"similarity": "dot"}, {"temperature": 5.0}),
    ({"loss_tke": False}, {"tke_images": "all"}),
    ({"loss_tke": False}, {"tke_average": "tasks"}),
    ({"loss_tc": False}, {"tc_form": "anchor"}),
    ({"loss_tc": False}, {"tc_mean": "image"}),
    ({"loss_tc": False}, {"tc_temperature": 1.0}),
    ({"tc_form": "anchor"}, {"tc_temperature": 1.0}),
    ({"retrieval": False}, {"prototype_gradient": "all"}),
    ({"retrieval": False}, {"retrieval_blocks": 5}),
    ({"retrieval": False}, {"retrieval_heads": 4}),
    ({"retrieval": False}, {"retrieval_norm": "post"}),
    ({"retrieval": False}, {"cross_residual": False}),
    ({"retrieval": False}, {"attention_scaling": False}),
    ({"retrieval": False}, {"attention_downsample": 2}),
    ({"retrieval": False}, {"positional_encoding": "sincos"}),
    ({"retrieval": False}, {"head_input": "sum"}),
    ({"retrieval": False}, {"preliminary_supervision": 0.5}),
]


@pytest.mark.parametrize(("setting", "idle"), IDLE, ids=str)
def test_options_without_effect_are_refused(setting: dict[str, Any], idle: dict[str, Any]) -> None:
    build(**setting)
    (name,) = idle
    with pytest.raises(ConfigError, match=rf"`{name}: .*` has no effect .*\n  Mend: leave out `{name}`"):
        build(**setting, **idle)


# ---- padding ---------------------------------------------------------------------------------------------------------
CHOICES: list[dict[str, Any]] = [
    {"commitment_weight": 0.25, "codebook_weight": 1.0},
    {"tc_mean": "image", "reconstruction_distance": "l1", "tke_images": "all"},
    {"affinity": "pooled", "tc_form": "anchor"},
    {"affinity": "tokens", "tc_form": "infonce", "attention_downsample": 2},
]


def padded(batch: Any, outputs: Any, model: Prototype) -> tuple[Any, Any]:
    """The batch on a canvas with 32 more columns, and the same features there with noise in the padding."""
    torch.manual_seed(1)

    def wider(x: torch.Tensor, columns: int) -> torch.Tensor:
        return torch.cat([x, 50 * torch.rand(*x.shape[:-1], columns).to(x.dtype)], -1)

    batch = {**batch, "image": wider(batch["image"], 32)}
    network, old = model.network, outputs.features
    shown = model._shown(batch["image"], batch["meta"]["content"])
    encoded = wider(old["encoded"], 4)
    features = {**old, "encoded": encoded, "integrated": wider(old["integrated"], 4)}
    features["indices"] = torch.cat([old["indices"], old["indices"].new_full((2, old["indices"].shape[1], 4), 7)], -1)
    features["shown"] = None if shown is None else grid_weights(shown, encoded.shape[-2:])
    small = None if shown is None else network._reduce(features["shown"][:, None])
    features["weights"] = None if small is None else mean_weights(small)
    height, width = old["grid"]
    wide = {
        n: wider(x.transpose(1, 2).unflatten(2, (height, width)), 4 // network._shrink)
        for n, x in old["tokens"].items()
    }
    features["tokens"] = {n: x.flatten(2).transpose(1, 2) for n, x in wide.items()}
    scores = {n: network.prototype.scores(x, features["weights"])[0] for n, x in features["tokens"].items()}
    return batch, replace(outputs, features={**features, "scores": scores})


@pytest.mark.parametrize("options", CHOICES, ids=str)
@pytest.mark.parametrize("region", ["content", "canvas"])
def test_padding_enters_no_loss(options: dict[str, Any], region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With features as they are, losses of an image on a larger canvas are those of the image alone."""
    model = build(**options, loss_region=region)
    batch = make_batch(SPECS, FLAGS, (32, 32))
    outputs = model.run_network(batch)
    guess = torch.rand(2, 3, 32, 64)
    monkeypatch.setattr(model.network, "reconstruct", lambda integrated, size: guess[..., : size[1]])
    narrow = model.extra_losses(outputs, batch)
    wide_batch, wide_outputs = padded(batch, outputs, model)
    wide = model.extra_losses(wide_outputs, wide_batch)
    assert narrow.keys() == wide.keys()
    for name, value in narrow.items():
        assert (wide[name].item() == pytest.approx(value.item(), rel=1e-5, abs=1e-7)) is (region == "content"), name


def test_padding_is_not_in_the_affinity_of_a_mean() -> None:
    for affinity in ("pooled", "tokens"):
        model = build(affinity=affinity).eval()
        tokens = torch.randn(1, 6, 16)
        weights = torch.tensor([[0.25, 0.25, 0.5, 0, 0, 0]])
        scores = model.network.prototype.scores(tokens, weights)[0]
        expected = (tokens[:, 0] + tokens[:, 1] + 2 * tokens[:, 2]) / 4
        torch.testing.assert_close(scores, model.network.prototype.scores(expected[:, None])[0])


def test_weights_on_the_grid() -> None:
    model = build(attention_downsample=2)
    batch = make_batch(SPECS)
    batch["meta"]["content"] = torch.tensor([[0, 0, 32, 40], [0, 12, 16, 8]])
    features = model.run_network(batch).features
    assert features["shown"][0].tolist() == [[1.0] * 5] * 4
    assert features["shown"][1].tolist() == [[0, 0.5, 0.5, 0, 0]] * 2 + [[0.0] * 5] * 2
    # Cells of 2 x 2 positions, of which the last column of cells has one column.
    assert features["weights"].tolist() == [pytest.approx([1 / 6] * 6), [0.5, 0.5, 0, 0, 0, 0]]
    assert build(loss_region="canvas").run_network(batch).features["weights"] is None


def test_dead_slots_move_onto_content_alone() -> None:
    for region, clean in (("content", True), ("canvas", False)):
        model = build(dead_code_steps=1, codebook_size=64, loss_region=region)
        model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
        model.network.quantizer.codebook.data[8:] = 1e3
        batch = make_batch(SPECS, size=(64, 64))
        batch["meta"]["content"] = torch.tensor([[0, 0, 64, 16]] * 2)
        model.training_step(batch, 0)
        encoded = build(dead_code_steps=1, codebook_size=64).run_network(batch).features["encoded"]
        padding = encoded[..., 2:].movedim(1, -1).flatten(0, 2)
        moved = model.network.quantizer.codebook[8:]
        assert moved.abs().max() < 1e2
        near = torch.cdist(moved, padding).min(1).values < 1e-5
        assert (not near.any()) is clean, region


# ---- the work of a pass ----------------------------------------------------------------------------------------------
def test_similarities_are_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*args: Any) -> Any:
        calls.append(args)
        return task_similarity(*args)

    monkeypatch.setattr(affinity_file, "task_similarity", counted)
    model = build()
    run(model)
    assert len(calls) == len(SPECS)


@pytest.mark.parametrize("length", [7, 8, 9])
def test_cells_are_enlarged_in_their_place(length: int) -> None:
    """A ramp, averaged over cells and enlarged, is the ramp again wherever there are whole cells on both sides."""
    ramp = torch.arange(float(length)).expand(1, 1, 4, length)
    cells = torch.nn.functional.avg_pool2d(ramp, 2, ceil_mode=True)
    back = enlarge(cells, 2, (4, length))
    assert back.shape == ramp.shape
    whole = length // 2 * 2
    torch.testing.assert_close(back[..., 1 : whole - 1], ramp[..., 1 : whole - 1])


@pytest.mark.parametrize("name", [name for name in experiment_names() if "/prototype-" in name])
def test_shipped_experiments_build(name: str) -> None:
    model = merged_configs([name])["model"]
    assert model["class_path"] == "mtdense.models.Prototype"
    build_meta(**{**model["init_args"], "pretrained": False})
