"""Schedules at points that can be computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.training import create_optimizer, create_schedule, schedule_factor


def test_schedules_by_hand() -> None:
    poly = schedule_factor("poly", 100)
    assert poly(0) == 1.0
    assert poly(50) == pytest.approx(0.5**0.9)
    assert poly(100) == 0.0
    assert poly(150) == 0.0
    cosine = schedule_factor("cosine", 10)
    assert cosine(5) == pytest.approx(0.5)
    assert schedule_factor("constant", 10)(9) == 1.0
    warm = schedule_factor("constant", 10, warmup=4)
    assert [warm(i) for i in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_schedule_moves_the_learning_rate() -> None:
    optimizer = create_optimizer(nn.Linear(1, 1).parameters(), "sgd", 0.1, 0.0, 0.9)
    schedule = create_schedule(optimizer, "poly", 4)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.1 * (1 - i / 4) ** 0.9 for i in range(4)])


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_optimizers(name: str, kind: type) -> None:
    made = create_optimizer(nn.Linear(1, 1).parameters(), name, 1e-3, 0.1, 0.9)
    assert type(made) is kind
    assert made.param_groups[0]["weight_decay"] == 0.1


@pytest.mark.parametrize("lr", [0.0, -1.0, math.nan, math.inf])
def test_bad_learning_rate(lr: float) -> None:
    with pytest.raises(ConfigError, match="learning rate"):
        create_optimizer(nn.Linear(1, 1).parameters(), "adam", lr, 0.0, 0.9)


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="unknown optimizer 'lion'"):
        create_optimizer(nn.Linear(1, 1).parameters(), "lion", 0.1, 0.0, 0.9)
    with pytest.raises(ConfigError, match="unknown schedule 'step'"):
        schedule_factor("step", 10)
    with pytest.raises(ConfigError, match="schedule over 0 steps"):
        schedule_factor("poly", 0)
