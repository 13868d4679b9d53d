"""Loss weighting in the shared training step: every architecture, several ranks, and runs that go on."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

import mtdense.models
from mtdense.models import DenseModule
from mtdense.reports.profile import count_cost
from mtdense.training.weighting import WeightingName, create_weighting
from tests.cli.test_resume import CONFIG, assert_same, run_killed
from tests.models import weighting_worker as worker
from tests.models.helpers import SPECS, make_batch
from tests.ranks import run_ranks

VIT = {"embed_dim": 16, "depth": 4, "num_heads": 2, "drop_path_rate": 0.0}
# Options of architectures that have variants, or ask for more than the defaults.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    **{
        name: {} for name in mtdense.models.__all__ if name not in ("DenseModule", "Outputs", "load", "read_checkpoint")
    },
    "PromptedBaseline": {"prompting": "tsp"},
    "SingleTask": {"tasks": {"semseg": SPECS["semseg"]}},
    "TaskPrompter": {"backbone": "vit_base", "backbone_options": {"overrides": VIT}, "input_size": [64, 80]},
    "TSPTransformer": {"backbone": "vit_base", "backbone_options": {"overrides": VIT}, "input_size": [64, 80]},
}
FAST = "MTLBaseline"
PARTLY = {"semseg": [True, False], "depth": [False, False], "normals": [True, True]}


def missing(name: str) -> bool:
    """Whether the extra `weighting` is not installed, and this weighting needs it."""
    modules = {"cagrad": ("torchjd", "cvxpy", "clarabel")}.get(name, ("torchjd",))
    by_gradient = name in ("pcgrad", "mgda", "cagrad", "imtl_g", "aligned_mtl")
    return by_gradient and any(importlib.util.find_spec(module) is None for module in modules)


def installed() -> list[str]:
    return [name for name in get_args(WeightingName) if not missing(name)]


def build(cls: str, **options: Any) -> tuple[DenseModule, dict[str, float]]:
    torch.manual_seed(0)
    given = {"tasks": SPECS, "backbone": "tiny", "preset": "tiny", **ARCHITECTURES[cls], **options}
    model: DenseModule = getattr(mtdense.models, cls)(**given)
    logged: dict[str, float] = {}
    model.log = lambda key, value, **_: logged.__setitem__(key, float(value))  # type: ignore[method-assign,misc]
    return model.train(), logged


@pytest.mark.parametrize(
    "cls", [pytest.param(cls, marks=() if cls == FAST else pytest.mark.slow) for cls in sorted(ARCHITECTURES)]
)
def test_every_architecture_takes_a_step_with_every_weighting(cls: str) -> None:
    model, logged = build(cls)
    batch = make_batch(SPECS, PARTLY, size=(64, 80))
    for name in installed():
        # What `loss_weighting: name` builds; one network serves all of them.
        model.weighting = create_weighting(name, list(model.tasks)).train()
        model.zero_grad()
        logged.clear()
        loss = model.training_step(batch, 0)
        loss.backward()
        assert torch.isfinite(loss), name
        without = [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
        assert without == [], name  # plain DDP would refuse a parameter without a gradient
        assert any(p.grad.any() for p in model.network.parameters() if p.grad is not None), name
        told = {key for key in logged if key.startswith("weights/")}
        assert told == (set() if name == "fixed" else {f"weights/{task}" for task in model.tasks}), name
    if any(missing(name) for name in get_args(WeightingName)):
        pytest.skip(f"the extra `weighting` is not installed; done with {', '.join(installed())}")


@pytest.mark.parametrize("name", get_args(WeightingName))
def test_the_option_builds_it(name: str) -> None:
    with torch.device("meta"):
        model, _ = build("MTLBaseline", loss_weighting=name)
    made = create_weighting(name, list(SPECS))
    assert type(model.weighting) is type(made)
    assert getattr(model.weighting, "method", None) == getattr(made, "method", None)


@pytest.mark.parametrize("name", ["random", "dwa"])
def test_weights_multiply_the_fixed_ones_and_leave_own_losses(name: str) -> None:
    model, logged = build("DiffusionMTL", loss_weighting=name, loss_weights={"normals": 4.0, "depth": 0.0})
    loss = model.training_step(make_batch(SPECS, size=(64, 80)), 0)
    factors = {task: float(factor) for task, factor in model.weighting.weights.items()}
    assert factors["depth"] == 0.0  # of weight 0: takes no part
    assert sum(factors.values()) == pytest.approx(2.0)
    assert logged["weights/normals"] == pytest.approx(4.0 * factors["normals"])
    assert loss.item() == pytest.approx(sum(logged[f"weights/{task}"] * logged[f"train/{task}/loss"] for task in SPECS))


def test_uncertainties_do_not_count_as_network() -> None:
    with torch.device("meta"):
        plain, learned = build("MTLBaseline")[0], build("MTLBaseline", loss_weighting="uncertainty")[0]
    costs = [count_cost(model, (64, 80)).modules[0].params for model in (plain, learned)]
    assert costs[0] == costs[1]
    assert len(list(learned.parameters())) == len(list(plain.parameters())) + 3


def test_two_ranks_do_what_one_does(tmp_path: Path) -> None:
    names = [name for name in worker.WEIGHTINGS if not missing(name)]
    both = run_ranks(worker.run, tmp_path, *names)
    alone = worker.run(0, 1, *names)
    for name in names:
        one, (first, second) = alone[name], (rank[name] for rank in both)
        assert_same(first["weights"], second["weights"], name)
        assert_same(first["state"], second["state"], name)
        torch.testing.assert_close(
            first["weights"], one["weights"], rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
        torch.testing.assert_close(
            first["state"], one["state"], rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )
        assert any(abs(float(w) - 1) > 1e-3 for weights in one["weights"] for w in weights.values()), name


def resumed(main: Callable[..., tuple[int, str]], folder: Path, *options: str) -> list[dict[str, Any]]:
    """Checkpoints of seven steps at once, and of a run that dies in the sixth; three batches make an epoch."""
    length = ("--data.train_images", "12", "--data.val_images", "4", "--trainer.max_steps", "7", "--save_every", "5")
    length = (*length, "--trainer.log_every_n_steps", "1")
    states = []
    step = DenseModule.training_step

    def dies(self: DenseModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 5:
            raise KeyError("dies in the sixth step")
        return step(self, batch, batch_idx)

    for name in ("once", "twice"):
        run, last = folder / name, folder / name / "checkpoints" / "last.ckpt"
        arguments = ["fit", *CONFIG, *length, *options, "--run_dir", run]
        if name == "twice":
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(DenseModule, "training_step", dies)
                with pytest.raises(KeyError, match="sixth"):
                    main(*arguments)
            arguments = ["fit", "--ckpt_path", last]
        code, err = main(*arguments)
        assert code == 0, err
        states.append(torch.load(last, weights_only=True))
    return states


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("dwa", ()),
        ("random", ()),
        ("pcgrad", ()),
        ("mgda", ("--trainer.accumulate_grad_batches=2", "--trainer.gradient_clip_val=1.0")),
        ("uncertainty", ("--trainer.accumulate_grad_batches=2",)),
    ],
)
def test_a_run_goes_on_to_the_last_bit(
    mtdense_main: Callable[..., tuple[int, str]], tmp_path: Path, name: str, more: tuple[str, ...]
) -> None:
    if missing(name):
        pytest.skip("the extra `weighting` is not installed")
    once, twice = resumed(mtdense_main, tmp_path, "--model.loss_weighting", name, *more)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert_same(once[part], twice[part], part)
    state = {key: value for key, value in once["state_dict"].items() if key.startswith("weighting.")}
    if name == "uncertainty":
        assert len(state) == 3
        assert all(value.item() != 0.0 for value in state.values())
    elif name == "dwa":
        assert state["weighting.number"].item() == 2
        assert torch.isfinite(state["weighting.past"]).all()
    else:
        assert state == {}
    header = next((tmp_path / "once" / "logs").rglob("metrics.csv")).read_text().splitlines()[0].split(",")
    assert {f"weights/{task}" for task in ("semseg", "depth", "normals")} <= set(header)
    # A checkpoint builds its weighting again.
    assert mtdense_main("test", "--ckpt_path", tmp_path / "once" / "checkpoints" / "last.ckpt")[0] == 0


@pytest.mark.slow
def test_progress_survives_kills_at_the_borders_of_epochs(tmp_path: Path) -> None:
    moments = [["batch:13:start", "batch:26:start"], ["batch:12:end", "batch:39:backward", "validation:4"]]
    first, others = run_killed(tmp_path, moments, "--model.loss_weighting", "dwa")
    for other in others:
        assert_same(first, other)
