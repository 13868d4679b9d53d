"""MTPSL: the shared checks on both networks, counts, gradient facts, options."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtdense.cli.configs import merged_configs
from mtdense.core.errors import ConfigError
from mtdense.core.experiments import experiment_names
from mtdense.models import MTPSL, DenseModule
from tests.models.architecture_tester import ArchitectureTester
from tests.models.helpers import ALL_SPECS, SPECS, make_batch

PARTIAL = {"semseg": [True, False], "depth": [False, True], "normals": [False, True]}


def build(specs: dict[str, dict] = SPECS, **kwargs: Any) -> MTPSL:
    torch.manual_seed(0)
    return MTPSL(tasks=specs, **{"backbone": "tiny", "preset": "tiny", **kwargs})


def consistency(model: MTPSL, batch: Any) -> torch.Tensor:
    return model.extra_losses(model.run_network(batch), batch)["consistency"]


class TestMTPSL(ArchitectureTester):
    module_class = MTPSL


class TestMTPSLOnSegNet(ArchitectureTester):
    module_class = MTPSL

    def build(self, **kwargs: Any) -> DenseModule:
        return build(backbone="segnet", **kwargs)


class TestMTPSLOfFiveTasksPooledAndThinned(ArchitectureTester):
    module_class = MTPSL
    specs = ALL_SPECS

    def build(self, **kwargs: Any) -> DenseModule:
        return build(ALL_SPECS, mapper_norm="batch", mapper_downsample=2, view_flip_probability=1.0, **kwargs)


@pytest.mark.parametrize(
    ("specs", "used", "unused", "mapper"),
    [
        # SegNet's published counts hold parameters that never take part in anything: three uncertainties on NYUD-v2
        # (25,055,188), on Cityscapes six, and a head for normals (25,054,801).
        ({"semseg": {"num_classes": 13}, "depth": {}, "normals": {}}, 25_055_188, 3, 14_819_328),
        ({"semseg": {"num_classes": 7}, "depth": {}}, 25_054_801, 6 + 37_123, 14_780_160),
    ],
    ids=["nyud", "cityscapes"],
)
def test_published_counts(specs, used, unused, mapper):
    with torch.device("meta"):
        network = build(specs, backbone="segnet", preset="paper").network
    assert sum(p.numel() for p in network.main.parameters()) + unused == used
    assert sum(p.numel() for p in network.mapper.parameters()) == mapper


def test_resnet_counts():
    with torch.device("meta"):
        network = build(ALL_SPECS, backbone="resnet18", preset="paper").network
    assert sum(p.numel() for p in network.main.parameters()) == 62_824_546
    assert sum(p.numel() for p in network.mapper.parameters()) == 14_947_776


def test_inference_uses_nothing_of_what_is_named_training_only():
    model = build().eval()
    with torch.no_grad():
        before = model(make_batch()["image"]).final
        for name, parameter in model.network.named_parameters():
            if name.startswith(MTPSL.training_only):
                parameter.fill_(float("nan"))
        after = model(make_batch()["image"]).final
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_unlabelled_predictions_learn_from_consistency_and_not_from_task_losses():
    model = build()
    batch = make_batch(labelled=PARTIAL)
    outputs = model.run_network(batch)
    second = outputs.features["second"].final
    for logits in (*second.values(), *outputs.final.values()):
        logits.retain_grad()
    sum(model.losses(outputs, batch).values()).backward(retain_graph=True)
    for name, flags in PARTIAL.items():
        assert [bool(row.any()) for row in outputs.final[name].grad] == flags
        assert second[name].grad is None
    for logits in outputs.final.values():
        logits.grad = None
    model.extra_losses(outputs, batch)["consistency"].backward()
    for name, flags in PARTIAL.items():
        assert [not row.any() for row in second[name].grad] == flags
        assert outputs.final[name].grad is None


def test_the_encoder_is_a_constant_to_the_consistency():
    model = build()
    batch = make_batch(labelled=PARTIAL)
    outputs = model.run_network(batch)
    feature = outputs.features["second"].features["encoder"]
    assert feature.requires_grad
    loss = model.extra_losses(outputs, batch)["consistency"]
    assert torch.autograd.grad(loss, feature, allow_unused=True) == (None,)


def test_only_rows_of_present_pairs_learn():
    model = build()
    consistency(model, make_batch(labelled=PARTIAL)).backward()
    # Image 0: depth and normals to semseg, pairs 2 and 4. Image 1: semseg to depth and normals, pairs 0 and 1.
    for parameter in model.mapper.film_parameters():
        assert [bool(row.any()) for row in parameter.grad] == [True, True, True, False, True, False]


def test_stems_without_a_map_get_exact_zeros():
    model = build()
    batch = make_batch(labelled={"semseg": [True, True], "depth": [False, False], "normals": [True, True]})
    model.hparams["pairs"] = "unlabelled"
    consistency(model, batch).backward()
    assert all(p.grad is not None for p in model.mapper.parameters())
    batch = make_batch(labelled={name: [True, True] for name in SPECS})
    model.zero_grad()
    consistency(model, batch).backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.mapper.parameters())


def test_a_task_that_the_batch_lacks_is_a_source():
    model = build()
    batch = make_batch()
    del batch["targets"]["depth"], batch["labelled"]["depth"]
    _, pairs = model.consistency(model.run_network(batch), batch)
    assert {(p.source, p.target) for p in pairs} == {(1, 0), (1, 2)}


def test_noise_belongs_to_the_sample():
    # Where statistics are those of each image, a pair's loss does not depend on its company.
    model = build()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    batch = make_batch(labelled=PARTIAL)
    losses, pairs = model.consistency(model.run_network(batch), batch)
    alone = make_batch(labelled=PARTIAL)
    alone["image"], alone["id"] = alone["image"][1:], alone["id"][1:]
    alone["meta"]["content"] = alone["meta"]["content"][1:]
    alone["targets"] = {name: x[1:] for name, x in alone["targets"].items()}
    alone["labelled"] = {name: x[1:] for name, x in alone["labelled"].items()}
    own, _ = model.consistency(model.run_network(alone), alone)
    of_one = torch.stack([x for x, pair in zip(losses, pairs, strict=True) if pair.image == 1])
    torch.testing.assert_close(own, of_one)
    model.hparams["noise_seed"] = 1
    assert not torch.allclose(losses, model.consistency(model.run_network(batch), batch)[0])


def test_padding_of_the_canvas_counts_for_nothing():
    model = build(view_scales=[1.0], mapper_norm="sample")
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    batch = make_batch(labelled=PARTIAL, size=(64, 96))
    batch["meta"]["content"] = torch.tensor([[0, 0, 64, 40]] * 2)
    outputs = model.run_network(batch)
    before = model.consistency(outputs, batch)[0]
    for name, target in batch["targets"].items():
        target[..., 40:] = 0.0 if target.dtype.is_floating_point else 1
        outputs.features["second"].final[name] = outputs.features["second"].final[name].clone()
        outputs.features["second"].final[name][..., 6:] += 3.0
    after = model.consistency(outputs, batch)[0]
    torch.testing.assert_close(before, after)


def test_film_decays_as_the_rest_unless_told():
    # The public 30 are epochs: with the default interval of a step they would stop the maps in a minute.
    _, film = build(schedule="step", decay_every=20_000).parameter_groups()
    assert film.decay_every is None
    for name in (name for name in experiment_names() if name.endswith("/mtpsl-segnet.yaml")):
        options = merged_configs([name])["model"]["init_args"]
        assert (options["schedule"], options["schedule_interval"], options["film_decay_every"]) == ("step", "epoch", 30)


def test_batch_statistics_are_those_of_the_batch():
    """Why `mapper_norm: batch` has no part in test_two_ranks: a pair's loss depends on the other images."""
    for norm, alone in (("sample", True), ("batch", False)):
        model = build(mapper_norm=norm)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        batch = make_batch(labelled=PARTIAL)
        losses, pairs = model.consistency(model.run_network(batch), batch)
        first = part(batch, slice(0, 1))
        single, _ = model.consistency(model.run_network(first), first)
        mine = losses[: sum(pair.image == 0 for pair in pairs)]
        assert torch.allclose(mine, single, rtol=1e-4) is alone, norm


def part(batch: Any, rows: slice) -> Any:
    if isinstance(batch, dict):
        return {key: part(value, rows) for key, value in batch.items()}
    return batch[rows]


def test_groups_of_the_optimiser():
    model = build(film_lr=1e-5, film_decay_every=7, weight_decay=0.1)
    rest, film = model.parameter_groups()
    assert (rest.lr, rest.weight_decay, rest.decay_every) == (None, None, None)
    assert (film.lr, film.weight_decay, film.decay_every) == (1e-5, 0.0, 7)
    names = {id(p): name for name, p in model.named_parameters()}
    assert all(names[id(p)].rsplit(".", 1)[1] in ("gamma", "beta") for p in film.parameters)
    assert len(list(rest.parameters)) + len(list(film.parameters)) == len(names)
    assert sum(p.numel() for p in film.parameters) == 2 * 6 * (2 * 4 + 2 * 4 + 3 * 8 + 3 * 16 + 2 * 16 + 24)


def test_weight_and_ramp(monkeypatch):
    batch = make_batch(labelled=PARTIAL)
    one, three = consistency(build(consistency_weight=1.0), batch), consistency(build(consistency_weight=3.0), batch)
    assert three.item() == pytest.approx(3 * one.item(), rel=1e-5)
    model = build(ramp_steps=10)
    assert model.consistency_factor == 0.0
    for step, factor in ((5, 1.0), (10, 2.0), (11, 2.0)):
        monkeypatch.setattr(MTPSL, "global_step", step)
        assert model.consistency_factor == factor
    assert build().consistency_factor == 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": "some"}, "unknown pairs 'some'"),
        ({"noise_device": "tpu"}, "unknown noise_device 'tpu'"),
        ({"consistency_weight": -1.0}, "consistency_weight is -1"),
        ({"ramp_steps": -1}, "ramp_steps is -1"),
        ({"mapper_downsample": 8}, "mapper_downsample is 8"),
        ({"specs": {"depth": {}}}, "cross-task consistency with one task"),
        ({"backbone": "segnet", "pretrained": True}, "trained from scratch"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        build(**options)
