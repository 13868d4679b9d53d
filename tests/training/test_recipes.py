"""Schedules at points that can be computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.training import ParameterGroup, create_optimizer, create_schedule, schedule_factor


def linear() -> list[ParameterGroup]:
    return [ParameterGroup(nn.Linear(1, 1).parameters())]


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
    groups = linear()
    optimizer = create_optimizer(groups, "sgd", 0.1, 0.0, 0.9)
    schedule = create_schedule(optimizer, groups, "poly", 4)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.1 * (1 - i / 4) ** 0.9 for i in range(4)])


def test_a_group_may_have_settings_of_its_own() -> None:
    slow, fast = nn.Linear(1, 1), nn.Linear(1, 1)
    groups = [ParameterGroup(slow.parameters()), ParameterGroup(fast.parameters(), lr=1.0, decay_every=2)]
    optimizer = create_optimizer(groups, "adam", 0.1, 0.5)
    schedule = create_schedule(optimizer, groups, "step", 8, decay_every=3, decay_factor=0.5)
    rates = []
    for _ in range(5):
        rates.append(tuple(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        schedule.step()
    assert [a for a, _ in rates] == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05])
    assert [b for _, b in rates] == pytest.approx([1, 1, 0.5, 0.5, 0.25])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.5]


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_optimizers(name: str, kind: type) -> None:
    made = create_optimizer(linear(), name, 1e-3, 0.1, 0.9)
    assert type(made) is kind
    assert made.param_groups[0]["weight_decay"] == 0.1


@pytest.mark.parametrize("lr", [0.0, -1.0, math.nan, math.inf])
def test_bad_learning_rate(lr: float) -> None:
    with pytest.raises(ConfigError, match="learning rate"):
        create_optimizer(linear(), "adam", lr, 0.0, 0.9)


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="unknown optimizer 'lion'"):
        create_optimizer(linear(), "lion", 0.1, 0.0, 0.9)
    with pytest.raises(ConfigError, match="unknown schedule 'stairs'"):
        schedule_factor("stairs", 10)
    with pytest.raises(ConfigError, match="does not say when to decay"):
        schedule_factor("step", 10)
    with pytest.raises(ConfigError, match="schedule over 0 steps"):
        schedule_factor("poly", 0)
