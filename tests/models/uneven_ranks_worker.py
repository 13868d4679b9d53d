"""What a rank of test_uneven_ranks does: trains a tiny method where no rank has labels of all tasks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import mtdense.models
from mtdense.models import DenseModule
from mtdense.training import create_optimizer
from tests.models.helpers import SPECS, backward, fix_statistics, make_batch, share, training_step

# Class and options by the id of the method.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "mtl_baseline": ("MTLBaseline", {}),
    "single_task": ("SingleTask", {}),
    "semi_supervised": ("SemiSupervised", {"probability_threshold": 0.5, "value_threshold": 10.0}),
    "mtpsl": ("MTPSL", {}),
    "mtpsl-segnet": ("MTPSL", {"backbone": "segnet"}),
    "diffusion_mtl_feature": ("DiffusionMTL", {"variant": "feature"}),
    "diffusion_mtl_prediction": ("DiffusionMTL", {"variant": "prediction"}),
    "prototype": ("Prototype", {}),
    "prompted_task_prompter": ("PromptedBaseline", {"prompting": "task_prompter"}),
    "prompted_tsp": ("PromptedBaseline", {"prompting": "tsp"}),
}
# Four images of one label each; the first two (rank 0) have no depth, the last two (rank 1) no normals.
LABELLED = {
    "semseg": [True, False, False, True],
    "depth": [False, False, True, False],
    "normals": [False, True, False, False],
}
# Rank 0 of a single-task network has no label at all.
ALONE = {"semseg": [False, False, False, True]}


def build(method: str) -> DenseModule:
    name, options = METHODS[method]
    torch.manual_seed(0)
    tasks = {"semseg": SPECS["semseg"]} if method == "single_task" else SPECS
    model: DenseModule = getattr(mtdense.models, name)(
        **{"tasks": tasks, "backbone": "tiny", "preset": "tiny", **options}
    )
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return model


def own_part(method: str, rank: int, world: int) -> Any:
    """This rank's images of the global batch of four."""
    specs, labelled = ({"semseg": SPECS["semseg"]}, ALONE) if method == "single_task" else (SPECS, LABELLED)
    # DiffusionMTL attends over positions at stride 32: there must be more than one.
    return share(make_batch(specs, labelled, size=(64, 80)), rank, world)


def gradients(method: str, rank: int, world: int) -> dict[str, Tensor]:
    """Gradients of the first step, batch statistics fixed, for those are of a rank's own images."""
    model = build(method).train()
    fix_statistics(model)
    backward(model, own_part(method, rank, world), world)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def train(method: str, rank: int, world: int) -> dict[str, Tensor]:
    """Weights after three steps; plain DDP refuses the second if a weight took no part in the first."""
    model = build(method).train()
    step, batch = training_step(model, world), own_part(method, rank, world)
    optimizer = create_optimizer(model.parameter_groups(), "adam", 1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        step(batch).backward()
        optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters()}


def run(rank: int, world: int, method: str) -> dict[str, dict[str, Tensor]]:
    return {"gradients": gradients(method, rank, world), "weights": train(method, rank, world)}
