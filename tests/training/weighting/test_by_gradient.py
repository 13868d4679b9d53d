"""Mixed gradients: values worked out by hand, TorchJD's own backward pass, and what does not go together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mtdense.core.errors import ConfigError, MissingDependencyError, NonFiniteLossError
from mtdense.training.finite import check_loss
from mtdense.training.weighting import GradientWeighting, StepInfo, create_weighting

TASKS = ("semseg", "depth")
METHODS = ("pcgrad", "mgda", "imtl_g", "aligned_mtl")
FIRST, SECOND = (1.0, 0.0), (-1.0, 1.0)
ALIGNED = (math.sqrt(5) - 1) / 2 / math.sqrt(5)


def need(method: str = "") -> None:
    for module in ("torchjd", *(("cvxpy", "clarabel") if method == "cagrad" else ())):
        pytest.importorskip(module, reason="the extra `weighting` is not installed")


def mixed(method: str, *rows: Sequence[float], **options: Any) -> Tensor:
    """What a method makes of gradients of a shared weight."""
    names = [f"task{i}" for i in range(len(rows))]
    shared = nn.Parameter(torch.zeros(len(rows[0])))
    weighting = create_weighting(method, names, options)
    losses = {name: (torch.tensor(row) * shared).sum() for name, row in zip(names, rows, strict=True)}
    weighting(losses, [], StepInfo(parameters=[shared])).backward()
    assert shared.grad is not None
    return shared.grad


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # (1, 0) less its part against (-1, 1), and (-1, 1) less its part against (1, 0).
        ("pcgrad", (0.5 + 0.0, 0.5 + 1.0)),
        # The shortest vector between both: 3/5 and 2/5.
        ("mgda", (0.2, 0.4)),
        # Equal projections on both: x = 3 - 2 sqrt 2.
        ("imtl_g", (3 - 2 * math.sqrt(2), math.sqrt(2) - 1)),
        # sqrt(smallest eigenvalue) * M^(-1/2) (1/2, 1/2) with M = [[1, -1], [-1, 2]].
        ("aligned_mtl", (0.5 * ALIGNED, 1.5 * ALIGNED)),
    ],
)
def test_by_hand(method: str, expected: tuple[float, float]) -> None:
    need()
    torch.testing.assert_close(mixed(method, FIRST, SECOND), torch.tensor(expected))
    # Neither the size of all gradients nor a task without one changes the direction.
    for scale in (1e-5, 1e5):
        rows = [tuple(scale * x for x in row) for row in (FIRST, SECOND)]
        torch.testing.assert_close(mixed(method, *rows) / scale, torch.tensor(expected))
    torch.testing.assert_close(mixed(method, FIRST, (0.0, 0.0), SECOND), torch.tensor(expected))
    assert not mixed(method, (0.0, 0.0), (0.0, 0.0)).any()


def test_cagrad_is_the_best_of_its_ball() -> None:
    need("cagrad")
    rows = torch.tensor([FIRST, SECOND])
    mean = rows.mean(0)
    torch.testing.assert_close(mixed("cagrad", FIRST, SECOND, c=0.0), mean)
    found = mixed("cagrad", FIRST, SECOND, c=0.4)
    assert (found - mean).norm() == pytest.approx(0.4 * mean.norm().item(), rel=1e-4)
    angles = torch.linspace(0, 2 * math.pi, 2001)
    circle = mean + 0.4 * mean.norm() * torch.stack([angles.cos(), angles.sin()], 1)
    assert (rows @ found).min().item() >= (circle @ rows.T).min(1).values.max().item() - 1e-4


def test_pcgrad_draws_its_order_from_seed_and_step() -> None:
    need()
    weighting = cast(GradientWeighting, create_weighting("pcgrad", ["a", "b", "c"]))
    gradients = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 2)))
    gramian = gradients @ gradients.T
    before = torch.get_rng_state()
    drawn = [tuple(weighting.factors(gramian, step).tolist()) for step in range(8)]
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(5)
    assert drawn == [tuple(weighting.factors(gramian, step).tolist()) for step in range(8)]
    assert len(set(drawn)) > 1


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Linear(4, 6)
        self.heads = nn.ModuleList([nn.Linear(6, 2), nn.Linear(6, 3)])
        self.own = nn.Parameter(torch.ones(6))

    def losses(self) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        features = torch.tanh(self.shared(torch.linspace(-1, 1, 12).view(3, 4)))
        losses = {name: head(features).square().mean() * 3 for name, head in zip(TASKS, self.heads, strict=True)}
        return features, losses, (features * self.own).mean()


@pytest.mark.parametrize("method", METHODS)
def test_as_torchjd_does_it(method: str) -> None:
    need()
    from torchjd import aggregation, autojac

    net, oracle = Net(), Net()
    _, losses, own = net.losses()
    weighting = create_weighting(method, TASKS)
    total = weighting(losses, [own], StepInfo(parameters=list(net.parameters())))
    torch.testing.assert_close(total, torch.stack([*losses.values(), own]).sum())
    (total / 2).backward()

    features, losses, own = oracle.losses()
    aggregator = getattr(aggregation, {"pcgrad": "PCGrad", "mgda": "MGDA", "imtl_g": "IMTLG"}.get(method, "AlignedMTL"))
    autojac.mtl_backward(list(losses.values()), features, retain_graph=True)
    autojac.jac_to_grad(list(oracle.shared.parameters()), aggregator())
    own.backward()
    for (name, mine), theirs in zip(net.named_parameters(), oracle.parameters(), strict=True):
        assert mine.grad is not None
        assert mine.grad.any(), name
        torch.testing.assert_close(2 * mine.grad, theirs.grad, msg=name)


def test_a_gradient_that_is_not_finite_gives_no_loss() -> None:
    shared = nn.Parameter(torch.zeros(2))
    weighting = create_weighting("mgda", TASKS)
    # The root of 0 has a value, and no gradient.
    losses = {"semseg": shared.sum(), "depth": shared.abs().sum().sqrt()}
    total = weighting(losses, [], StepInfo(parameters=[shared]))
    assert math.isnan(total.item())
    with pytest.raises(
        NonFiniteLossError, match=r"in step 3, though that of each task is: the gradient of depth is not;"
    ):
        check_loss(total, losses, weighting, ["image4"], 3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mgda", {"precision": "16-mixed", "accelerator": "cpu"}, "precision 16-mixed"),
        ("mgda", {"strategy": "FSDPStrategy"}, "strategy FSDPStrategy"),
        ("uncertainty", {"strategy": "FSDPStrategy"}, "strategy FSDPStrategy"),
    ],
)
def test_refused_trainers(name: str, options: dict[str, Any], message: str) -> None:
    trainer: Any = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    precision = options.get("precision", "32-true")
    strategy = type(options["strategy"], (), {})() if "strategy" in options else trainer.strategy
    with pytest.raises(ConfigError, match=message):
        create_weighting(name, TASKS).check(cast(Any, SimpleNamespace(strategy=strategy, precision=precision)))


def test_a_missing_package_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtdense.core.optional.RequirementCache", lambda **_: False)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    weighting = create_weighting("mgda", TASKS)  # a checkpoint can be tested without it
    with pytest.raises(MissingDependencyError, match=r"(?s)torchjd.aggregation.*weighting"):
        weighting.check(trainer)
