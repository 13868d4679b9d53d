"""What one of several ranks is told where one of them comes to a loss or a gradient that is not finite."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from mtdense.core.errors import NonFiniteLossError
from mtdense.reports.failures import FiniteGradients
from mtdense.training.finite import check_loss
from mtdense.training.weighting import Fixed


def told(rank: int, world: int) -> list[str]:
    """The problems, of a loss that is NaN on the second rank alone, and of a gradient that is NaN on all."""
    images = [["a", "b"], ["c", "d"]][rank]
    depth = torch.tensor([1.0, float("nan")][rank])
    found = []
    try:
        check_loss(depth + 1, {"depth": depth, "edges": torch.tensor(1.0)}, Fixed(["depth", "edges"]), images, 7)
    except NonFiniteLossError as error:
        found.append(error.problem)
    weight, callback = torch.nn.Parameter(torch.zeros(2)), FiniteGradients()
    trainer: Any = SimpleNamespace(global_step=7, precision_plugin=SimpleNamespace(scaler=None))
    weight.grad = torch.tensor([float("nan"), 0.0])
    callback.on_train_batch_start(trainer, None, {"id": images}, 0)  # type: ignore[arg-type]
    try:
        callback.on_before_optimizer_step(trainer, None, torch.optim.SGD([weight], lr=1.0))  # type: ignore[arg-type]
    except NonFiniteLossError as error:
        found.append(error.problem)
    return found
