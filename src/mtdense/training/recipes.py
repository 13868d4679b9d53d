"""Optimisers and learning-rate schedules by the names that papers use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mtdense.core.errors import ConfigError

__all__ = ["OptimizerName", "ParameterGroup", "ScheduleName", "create_optimizer", "create_schedule", "schedule_factor"]

OptimizerName = Literal["adam", "adamw", "sgd"]
ScheduleName = Literal["poly", "cosine", "constant", "step"]


@dataclass
class ParameterGroup:
    """Parameters with settings of their own.

    Args:
        parameters: What to train.
        lr: Learning rate; null takes the recipe's.
        weight_decay: Decay; null takes the recipe's.
        decay_every: Units between decays of the `step` schedule; null takes the recipe's.
    """

    parameters: Iterable[nn.Parameter]
    lr: float | None = None
    weight_decay: float | None = None
    decay_every: int | None = None


def create_optimizer(
    groups: Sequence[ParameterGroup],
    name: OptimizerName,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    fused: bool = False,
) -> Optimizer:
    """Builds an optimiser.

    Args:
        groups: What to train; a group without settings takes those given here.
        name: `adam` (L2 decay coupled to the gradient, as the papers use it), `adamw` (decoupled) or `sgd`.
        lr: Learning rate.
        weight_decay: Decay.
        momentum: For `sgd` only.
        fused: One kernel for the whole update, faster on CPUs and GPUs alike; it cannot be combined with gradient
            clipping under 16-bit mixed precision.

    Raises:
        ConfigError: Unknown name, or a learning rate that is not positive.
    """
    params = []
    for group in groups:
        own_lr = lr if group.lr is None else group.lr
        if not own_lr > 0 or not math.isfinite(own_lr):
            raise ConfigError(f"learning rate {own_lr} is not positive", "set `lr` to a positive number.")
        decay = weight_decay if group.weight_decay is None else group.weight_decay
        params.append({"params": list(group.parameters), "lr": own_lr, "weight_decay": decay})
    if name == "adam":
        return torch.optim.Adam(params, lr=lr, weight_decay=weight_decay, fused=fused)
    if name == "adamw":
        return torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay, fused=fused)
    if name == "sgd":
        return torch.optim.SGD(params, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=fused)
    raise ConfigError(f"unknown optimizer '{name}'", "use adam, adamw or sgd.")


def schedule_factor(
    name: ScheduleName,
    total: int,
    warmup: int = 0,
    power: float = 0.9,
    decay_every: int | None = None,
    decay_factor: float = 0.5,
) -> Callable[[int], float]:
    """Factor on the learning rate after `i` of `total` units (steps or epochs).

    Args:
        name: `poly` is (1 - i / total) ** power, `cosine` half a cosine to zero, `constant` 1,
            `step` decay_factor ** (i // decay_every).
        total: Units of the whole training.
        warmup: Units of linear warm-up from 1 / warmup; the schedule itself is not shifted.
        power: Exponent of `poly`.
        decay_every: Units between the decays of `step`.
        decay_factor: Factor of each decay of `step`.

    Raises:
        ConfigError: Unknown name, a length that is not positive, or `step` without a positive `decay_every`.
    """
    if name not in get_args(ScheduleName):
        raise ConfigError(f"unknown schedule '{name}'", f"use one of {', '.join(get_args(ScheduleName))}.")
    if name == "step" and (decay_every is None or decay_every < 1):
        raise ConfigError("the schedule 'step' does not say when to decay", "set `decay_every` to 1 or more.")
    if total < 1:
        raise ConfigError(f"a schedule over {total} steps", "set `trainer.max_steps` or `trainer.max_epochs`.")

    def factor(i: int) -> float:
        done = min(i / total, 1.0)
        if name == "poly":
            value = (1.0 - done) ** power
        elif name == "cosine":
            value = 0.5 * (1.0 + math.cos(math.pi * done))
        elif name == "step" and decay_every is not None:
            value = decay_factor ** (i // decay_every)
        else:
            value = 1.0
        return float(value * min(1.0, (i + 1) / warmup) if warmup > 0 else value)

    return factor


def create_schedule(
    optimizer: Optimizer,
    groups: Sequence[ParameterGroup],
    name: ScheduleName,
    total: int,
    warmup: int = 0,
    power: float = 0.9,
    decay_every: int | None = None,
    decay_factor: float = 0.5,
) -> LambdaLR:
    """The schedule of `schedule_factor` on an optimiser that `create_optimizer` made of `groups`."""
    factors = [
        schedule_factor(
            name, total, warmup, power, decay_every if group.decay_every is None else group.decay_every, decay_factor
        )
        for group in groups
    ]
    return LambdaLR(optimizer, factors)
