"""DiffusionMTL: counts, gradients, noise, and what each option does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtdense.core.errors import ConfigError
from mtdense.data.sample import Batch
from mtdense.models import DenseModule, DiffusionMTL
from mtdense.models.outputs import Outputs
from tests.models.architecture_tester import ArchitectureTester
from tests.models.helpers import ALL_SPECS, SPECS, make_batch

NYUD = {"semseg": {"num_classes": 13}, "depth": {}, "normals": {}}
MIXED = {"semseg": [True, False, True], "depth": [False, False, True], "normals": [False, False, False]}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def build(specs: dict[str, Any] = SPECS, **kwargs: Any) -> DiffusionMTL:
    torch.manual_seed(0)
    return DiffusionMTL(tasks=specs, **{"backbone": "tiny", "preset": "tiny", **kwargs})


class DiffusionTester(ArchitectureTester):
    module_class = DiffusionMTL

    def batch(self, labelled: dict[str, list[bool]] | None = None) -> Any:
        # Of 32x40 pixels one token is left, and an attention to one key teaches its query nothing.
        return make_batch(self.specs, labelled, size=(64, 80))


class TestFeatureVariant(DiffusionTester):
    pass


class TestPredictionVariant(DiffusionTester):
    def build(self, **kwargs: Any) -> DenseModule:
        return build(variant="prediction", **kwargs)


class TestThreeStepsAllTasks(DiffusionTester):
    specs = ALL_SPECS

    def build(self, **kwargs: Any) -> DenseModule:
        return build(ALL_SPECS, variant="prediction", prediction_space="probabilities", num_steps=3, **kwargs)


# ---- counts --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("specs", "baseline", "pre_convs", "heads", "final", "condition", "diffusion", "total"),
    [
        (ALL_SPECS, 62_824_546, 11_799_040, 36_710_400, 17_442, 157_184, 70_088_738, 132_913_284),
        (NYUD, 43_933_265, 7_079_424, 22_026_240, 8_721, 78_848, 50_597_905, 94_531_170),
    ],
    ids=["pascal", "nyud13"],
)
def test_published_counts(specs, baseline, pre_convs, heads, final, condition, diffusion, total):
    with torch.device("meta"):
        network = build(specs, backbone="resnet18", preset="paper").network
    assert count(network.preliminary) == baseline
    assert count(network.denoiser.blocks) == 21_010_432
    assert count(network.denoiser.step_embedding) == 394_240
    assert count(network.denoiser.pre_convs) == pre_convs
    assert count(network.denoiser.task_heads) == heads
    assert count(network.final_heads) == final
    assert count(network.condition) == condition
    assert count(network) - count(network.preliminary) == diffusion
    assert count(network) == total


@pytest.mark.parametrize(("specs", "total"), [(ALL_SPECS, 121_273_476), (NYUD, 87_531_618)], ids=["pascal", "nyud13"])
def test_counts_of_the_prediction_variant(specs, total):
    with torch.device("meta"):
        network = build(specs, backbone="resnet18", preset="paper", variant="prediction").network
    outputs = {name: head.out_channels for name, head in network.final_heads.items()}
    assert count(network.denoiser.pre_convs) == sum(9 * channels * 512 + 512 for channels in outputs.values())
    assert count(network) == total


def test_small_preset_is_128_wide():
    network = build({"depth": {}}, preset="small").network
    assert network.condition.out_channels == network.preliminary.neck.out_channels == 128


def test_initial_weights():
    torch.manual_seed(0)
    network = build(preset="small").network
    embedding = network.denoiser.step_embedding.layers
    for layer in (embedding[0], embedding[2]):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
    query = network.denoiser.blocks[0].attention.query.weight
    assert query.abs().max().item() == pytest.approx((6 / (128 + 128)) ** 0.5, rel=0.01)
    assert not network.denoiser.blocks[0].query_mlp[1].bias.any() and not network.condition.bias.any()
    # fan_out counts the 3x3 places of all 128 outputs
    assert network.condition.weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.05)


# ---- what is denoised, and who learns from it ------------------------------------------------------------------------
def test_training_denoises_labelled_images_only():
    model, batch = build(), make_batch(SPECS, MIXED)
    outputs = model.run_network(batch)
    for name, flags in MIXED.items():
        assert outputs.final[name].shape == outputs.preliminary[0][name].shape
        assert [bool(row.any()) for row in outputs.final[name]] == flags
    evaluated = model.eval().run_network(batch)
    assert all(row.any() for logits in evaluated.final.values() for row in logits)


def test_labelled_rows_are_those_of_a_batch_that_is_all_labelled():
    model = build()
    some = model.run_network(make_batch(SPECS, MIXED)).final
    everything = model.run_network(make_batch(SPECS, {name: [True] * 3 for name in SPECS})).final
    for name, flags in MIXED.items():
        torch.testing.assert_close(some[name][flags], everything[name][flags], rtol=1e-4, atol=1e-5)


def test_a_task_that_the_batch_lacks_is_not_denoised():
    model, batch = build(), make_batch(SPECS, {name: [True, True] for name in SPECS})
    del batch["targets"]["depth"], batch["labelled"]["depth"]
    assert model.labelled_rows(batch)["depth"] == []
    total = torch.stack(list(model.losses(model.run_network(batch), batch).values())).sum()
    total.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert not any(p.grad.any() for p in model.network.denoiser.task_heads["depth"].parameters())


@pytest.mark.parametrize("variant", ["feature", "prediction"])
def test_predictions_of_unlabelled_images_get_no_gradient(variant):
    model, batch = build(variant=variant), make_batch(SPECS, MIXED)
    kept: dict[str, Tensor] = {}
    network = model.network.preliminary
    hooks = {"features": network.decoders, "logits": network.heads}
    for kind, modules in hooks.items():
        for name, module in modules.items():
            module.register_forward_hook(lambda _, __, out, key=f"{kind}/{name}": keep(kept, key, out))
    sum(model.losses(model.run_network(batch), batch).values()).backward()
    assert len(kept) == 6
    for key, tensor in kept.items():
        flags = MIXED[key.split("/")[1]]
        got = [tensor.grad is not None and bool(tensor.grad[i].any()) for i in range(3)]
        assert got == flags, key


def keep(kept: dict[str, Tensor], key: str, out: Tensor) -> None:
    out.retain_grad()
    kept[key] = out


def gradient_of_final(model: DiffusionMTL, batch: Batch) -> None:
    """Gradients of the final predictions alone."""
    sum(logits.square().sum() for logits in model.run_network(batch).final.values()).backward()


def test_the_condition_is_detached():
    batch = make_batch(SPECS)
    model = build()
    gradient_of_final(model, batch)
    heads, decoders = model.network.preliminary.heads, model.network.preliminary.decoders
    # features are noised, not predictions: the only way to the preliminary heads would be the condition
    assert all(p.grad is None for p in heads.parameters())
    assert all(p.grad is not None and p.grad.any() for p in decoders.parameters())
    assert model.network.condition.weight.grad.any()
    attached = build(detach_condition=False)
    gradient_of_final(attached, batch)
    assert all(p.grad.any() for p in attached.network.preliminary.heads.parameters())


@pytest.mark.parametrize("variant", ["feature", "prediction"])
def test_detached_start_trains_no_part_of_the_preliminary_network(variant):
    batch = make_batch(SPECS)
    model = build(variant=variant)
    gradient_of_final(model, batch)
    assert all(p.grad.any() for p in model.network.preliminary.backbone.parameters())
    model = build(variant=variant, detach_start=True)
    gradient_of_final(model, batch)
    assert all(p.grad is None for p in model.network.preliminary.parameters())


def test_preliminary_weight():
    model, batch = build(), make_batch(SPECS)
    outputs = model.run_network(batch)
    alone = model.losses(Outputs(final=outputs.final), batch)
    first = model.losses(Outputs(final=outputs.preliminary[0]), batch)
    both = model.losses(outputs, batch)
    for name in SPECS:
        torch.testing.assert_close(both[name], alone[name] + 0.5 * first[name])
    assert build(preliminary_weight=0.25).preliminary_weight == 0.25


def test_a_step_without_any_label_of_a_task_gives_zero_and_not_nothing():
    model, batch = build(), make_batch(SPECS, MIXED)
    sum(model.losses(model.run_network(batch), batch).values()).backward()
    assert all(p.grad is not None for p in model.parameters()), "plain DDP waits for all of them"
    unlabelled = [p for n, p in model.named_parameters() if ".normals." in n]
    assert unlabelled and not any(p.grad.any() for p in unlabelled)


# ---- noise -----------------------------------------------------------------------------------------------------------
def test_noise_is_a_function_of_seed_step_image_task_and_level():
    model = build()
    draw = model.noise(["a", "b"], 7)("depth", [0, 1], 2, (3, 4, 5))
    assert torch.equal(draw, model.noise(["b", "a"], 7)("depth", [1, 0], 2, (3, 4, 5)))
    assert torch.equal(draw[1:], model.noise(["b"], 7)("depth", [0], 2, (3, 4, 5)))
    others = [
        model.noise(["a", "b"], 8)("depth", [0, 1], 2, (3, 4, 5)),
        model.noise(["a", "b"], None)("depth", [0, 1], 2, (3, 4, 5)),
        model.noise(["c", "d"], 7)("depth", [0, 1], 2, (3, 4, 5)),
        model.noise(["a", "b"], 7)("semseg", [0, 1], 2, (3, 4, 5)),
        model.noise(["a", "b"], 7)("depth", [0, 1], 1, (3, 4, 5)),
        build(noise_seed=1).noise(["a", "b"], 7)("depth", [0, 1], 2, (3, 4, 5)),
    ]
    assert all((draw != other).all() for other in others)
    assert model.noise([], 7)("depth", [], 2, (3, 4, 5)).shape == (0, 3, 4, 5)


def test_noise_made_on_the_device_is_that_of_the_cpu_on_the_cpu():
    shape = ("depth", [0], 2, (3, 4, 5))
    assert torch.equal(build().noise(["a"], 7)(*shape), build(noise_device="device").noise(["a"], 7)(*shape))


def test_training_noise_moves_with_the_step(monkeypatch):
    model, batch = build(), make_batch(SPECS)
    first, again = model.run_network(batch).final, model.run_network(batch).final
    assert all(torch.equal(first[name], again[name]) for name in SPECS)
    monkeypatch.setattr(DiffusionMTL, "global_step", 1)
    assert not any(torch.equal(first[name], x) for name, x in model.run_network(batch).final.items())


def test_evaluation_does_not_depend_on_the_batch():
    model, batch = build().eval(), make_batch(SPECS, {name: [True] * 3 for name in SPECS})
    with torch.no_grad():
        together = model.run_network(batch).final
        for i in (2, 0):
            alone = Batch(
                image=batch["image"][i : i + 1],
                targets={},
                labelled={},
                id=[batch["id"][i]],
                meta={key: value[i : i + 1] for key, value in batch["meta"].items()},
            )
            for name, logits in model.run_network(alone).final.items():
                torch.testing.assert_close(logits[0], together[name][i], rtol=1e-4, atol=1e-6)
        other = model.run_network({**batch, "id": ["x", "y", "z"]}).final
    assert not any(torch.equal(other[name], logits) for name, logits in together.items()), "noise reaches them"


def test_labels_change_nothing_in_evaluation():
    model, everything = build().eval(), {name: [True] * 3 for name in SPECS}
    with torch.no_grad():
        some, whole = (model.run_network(make_batch(SPECS, labels)).final for labels in (MIXED, everything))
    assert all(torch.equal(logits, whole[name]) for name, logits in some.items())


# ---- options ---------------------------------------------------------------------------------------------------------
def test_methods_are_told_apart():
    assert build().method == "diffusion_mtl_feature"
    assert build(variant="prediction").method == "diffusion_mtl_prediction"
    assert DiffusionMTL.method == "diffusion_mtl_feature", "one instance must not rename the others"


@pytest.mark.parametrize("size", [(32, 40), (56, 72), (24, 24)])
def test_sizes_that_four_does_not_divide(size):
    # at stride 8 these are 4x5, 7x9 and 3x3
    model, batch = build(), make_batch(SPECS, size=size)
    logits = model.run_network(batch).final["depth"]
    assert logits.shape == (2, 1, size[0] // 8, size[1] // 8) and logits.isfinite().all()


@pytest.mark.parametrize("space", ["logits", "probabilities", "tanh"])
def test_space_of_noised_predictions(space):
    model = build({**SPECS, "edges": {}}, variant="prediction", prediction_space=space)
    logits = {"semseg": 9 * torch.randn(1, 5, 2, 2), "depth": torch.full((1, 1, 2, 2), 9.0)}
    logits["edges"] = 9 * torch.randn(1, 1, 2, 2)
    start = model.network.start({}, logits)
    expected = {
        "logits": logits,
        "probabilities": {
            "semseg": logits["semseg"].softmax(1),
            "depth": logits["depth"],
            "edges": logits["edges"].sigmoid(),
        },
        "tanh": {name: x.tanh() for name, x in logits.items()},
    }[space]
    assert all(torch.equal(start[name], expected[name]) for name in logits)


def test_estimates_stay_in_the_space_of_the_noised_predictions():
    model = build(variant="prediction", prediction_space="tanh").eval()
    seen = []
    step = model.network.schedule.sample_previous
    model.network.schedule.sample_previous = lambda clean, *rest: seen.append(clean) or step(clean, *rest)
    with torch.no_grad():
        for head in model.network.final_heads.values():
            head.weight.mul_(1000)
        logits = model.run_network(make_batch(SPECS)).final
    assert len(seen) == 3 and all(x.abs().max() <= 1 for x in seen)
    assert max(x.abs().max() for x in logits.values()) > 1, "the last step gives logits"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "token"}, "unknown variant 'token'"),
        ({"prediction_space": "hsv", "variant": "prediction"}, "unknown prediction_space 'hsv'"),
        ({"prediction_space": "tanh"}, "variant 'feature'"),
        ({"noise_device": "tpu"}, "unknown noise_device 'tpu'"),
        ({"num_heads": 3}, "num_heads: 3 at a width of 16"),
        ({"num_steps": 0}, "num_steps: 0"),
        ({"beta_start": 0.5, "beta_end": 0.1}, "beta_start: 0.5"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        build(**options)


def test_options_are_in_the_checkpoint():
    assert build(num_steps=3, noise_seed=4).hparams["noise_seed"] == 4
