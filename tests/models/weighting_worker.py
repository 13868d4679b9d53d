"""What a rank of test_loss_weighting does: trains where no rank has labels of all tasks, under each loss weighting."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mtdense.models import DenseModule, SemiSupervised
from mtdense.training import create_optimizer
from tests.models.helpers import SPECS, fix_statistics, make_batch, share, training_step

# Rank 0 (images 0 and 1) has no depth, rank 1 no normals; in the second step depth has no label anywhere.
LABELLED = (
    {"semseg": [True, False, False, True], "depth": [False, False, True, True], "normals": [True, True, False, False]},
    {"semseg": [True, True, False, True], "depth": [False] * 4, "normals": [False, True, False, False]},
)
WEIGHTINGS: dict[str, dict[str, Any]] = {
    "uncertainty": {"lr": 0.01},
    "dwa": {"interval": 1},
    "random": {},
    "mgda": {},
}


def train(rank: int, world: int, name: str) -> dict[str, Any]:
    """Weights and losses' weights of four steps of an architecture with losses of its own."""
    torch.manual_seed(0)
    model: DenseModule = SemiSupervised(
        tasks=SPECS,
        backbone="tiny",
        preset="tiny",
        loss_weighting=name,
        weighting_options=WEIGHTINGS[name],
        optimizer="sgd",
    )
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    model.train()
    fix_statistics(model)
    step = training_step(model, world)
    optimizer = create_optimizer(model.weighting.groups(model.parameter_groups()), "sgd", 1e-3, momentum=0.9)
    batches = [share(make_batch(SPECS, labelled), rank, world) for labelled in LABELLED]
    history: list[dict[str, Tensor]] = []
    for i in range(4):
        # What Lightning would count.
        type(model).global_step = property(lambda _: i)  # type: ignore[assignment,method-assign]  # noqa: B023
        optimizer.zero_grad()
        step(batches[i % 2]).backward()
        model.on_before_optimizer_step(optimizer)
        optimizer.step()
        history.append({n: w.detach().clone() for n, w in model.weighting.weights.items()})
    return {"weights": history, "state": {n: v.detach().clone() for n, v in model.state_dict().items()}}


def run(rank: int, world: int, *names: str) -> dict[str, dict[str, Any]]:
    return {name: train(rank, world, name) for name in names}
