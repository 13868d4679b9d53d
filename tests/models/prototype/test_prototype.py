"""Prototype: what each loss trains, dead slots, and the shipped experiments."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtdense.cli.configs import merged_configs
from mtdense.core.experiments import experiment_names
from mtdense.models import Prototype
from mtdense.models.prototype import affinity as affinity_file
from mtdense.models.prototype.affinity import task_similarity
from mtdense.models.prototype.network import enlarge
from tests.models.architecture_tester import ArchitectureTester
from tests.models.helpers import SPECS, make_batch
from tests.models.prototype.common import FLAGS, TABLE_3, build, build_meta, run


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


# ---- what each loss trains -----------------------------------------------------------------------------------------
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


@pytest.mark.parametrize("name", [n for n in experiment_names() if n.count("/") == 2 and "/prototype-" in n])
def test_shipped_experiments_build(name: str) -> None:
    model = merged_configs([name])["model"]
    assert model["class_path"] == "mtdense.models.Prototype"
    build_meta(**{**model["init_args"], "pretrained": False})
