"""Optimisers and learning-rate schedules by the names that papers use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mtdense.core.errors import ConfigError

__all__ = ["OptimizerName", "ScheduleName", "create_optimizer", "create_schedule", "schedule_factor"]

OptimizerName = Literal["adam", "adamw", "sgd"]
ScheduleName = Literal["poly", "cosine", "constant"]


def create_optimizer(
    parameters: Iterable[nn.Parameter],
    name: OptimizerName,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    fused: bool = False,
) -> Optimizer:
    """Builds an optimiser.

    Args:
        parameters: What to train.
        name: `adam` (L2 decay coupled to the gradient, as the papers use it), `adamw` (decoupled) or `sgd`.
        lr: Learning rate.
        weight_decay: Decay.
        momentum: For `sgd` only.
        fused: One kernel for the whole update, faster on CPUs and GPUs alike; it cannot be combined with gradient
            clipping under 16-bit mixed precision.

    Raises:
        ConfigError: Unknown name, or a learning rate that is not positive.
    """
    if not lr > 0 or not math.isfinite(lr):
        raise ConfigError(f"learning rate {lr} is not positive", "set `lr` to a positive number.")
    params = list(parameters)
    if name == "adam":
        return torch.optim.Adam(params, lr=lr, weight_decay=weight_decay, fused=fused)
    if name == "adamw":
        return torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay, fused=fused)
    if name == "sgd":
        return torch.optim.SGD(params, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=fused)
    raise ConfigError(f"unknown optimizer '{name}'", "use adam, adamw or sgd.")


def schedule_factor(name: ScheduleName, total: int, warmup: int = 0, power: float = 0.9) -> Callable[[int], float]:
    """Factor on the learning rate after `i` of `total` units (steps or epochs).

    Args:
        name: `poly` is (1 - i / total) ** power, `cosine` half a cosine to zero, `constant` 1.
        total: Units of the whole training.
        warmup: Units of linear warm-up from 1 / warmup; the schedule itself is not shifted.
        power: Exponent of `poly`.

    Raises:
        ConfigError: Unknown name, or a length that is not positive.
    """
    if name not in ("poly", "cosine", "constant"):
        raise ConfigError(f"unknown schedule '{name}'", "use poly, cosine or constant.")
    if total < 1:
        raise ConfigError(f"a schedule over {total} steps", "set `trainer.max_steps` or `trainer.max_epochs`.")

    def factor(i: int) -> float:
        done = min(i / total, 1.0)
        if name == "poly":
            value = (1.0 - done) ** power
        elif name == "cosine":
            value = 0.5 * (1.0 + math.cos(math.pi * done))
        else:
            value = 1.0
        return float(value * min(1.0, (i + 1) / warmup) if warmup > 0 else value)

    return factor


def create_schedule(
    optimizer: Optimizer, name: ScheduleName, total: int, warmup: int = 0, power: float = 0.9
) -> LambdaLR:
    """The schedule of `schedule_factor` on an optimiser."""
    return LambdaLR(optimizer, schedule_factor(name, total, warmup, power))
