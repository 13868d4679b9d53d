"""Weights from uncertainty, lots and progress: values worked out by hand, and tasks that a step has no label of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from mtdense.core.errors import ConfigError
from mtdense.training import ParameterGroup, create_optimizer
from mtdense.training.weighting import LossWeighting, StepInfo, create_weighting

TASKS = ("semseg", "depth", "edges")


def losses(*values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value, requires_grad=True) for name, value in zip(TASKS, values, strict=True)}


def labelled(*images: Sequence[int]) -> dict[str, Tensor]:
    return {name: torch.tensor(flags, dtype=torch.bool) for name, flags in zip(TASKS, images, strict=True)}


def weights(weighting: LossWeighting) -> list[float]:
    return [float(weighting.weights[name]) for name in TASKS]


def test_fixed_is_the_sum_and_learns_nothing() -> None:
    weighting = create_weighting("fixed", TASKS)
    total = weighting(losses(1.0, 2.0, 3.0), [torch.tensor(0.5)], StepInfo())
    assert total.item() == 6.5
    assert (list(weighting.state_dict()), weighting.weights) == ([], {})


def test_uncertainty_by_hand() -> None:
    weighting = create_weighting("uncertainty", TASKS, {"initial_log_sigma": math.log(2.0)})
    values = losses(8.0, 0.0, 4.0)
    total = weighting(values, [torch.tensor(0.5)], StepInfo())
    total.backward()
    # 8 / 4 + log 2, nothing of depth, 4 / 4 + log 2, and the architecture's own.
    assert total.item() == pytest.approx(3.0 + 2 * math.log(2.0) + 0.5)
    assert values["semseg"].grad == pytest.approx(0.25)
    slopes = {name: p.grad.item() for name, p in cast(Any, weighting).log_sigma.items()}
    assert slopes == pytest.approx({"semseg": 1 - 2 * 2.0, "depth": 0.0, "edges": 1 - 2 * 1.0})
    assert weights(weighting) == pytest.approx([0.25] * 3)


def test_uncertainty_of_an_absent_task_rests() -> None:
    weighting: Any = create_weighting("uncertainty", TASKS, {"lr": 0.1})
    network = torch.nn.Linear(2, 2)
    everything = ParameterGroup([*network.parameters(), *weighting.parameters()])
    groups = weighting.groups([everything])
    assert [len(list(group.parameters)) for group in groups] == [2, 3]
    optimizer = create_optimizer(groups, "adam", 1e-3, weight_decay=0.1)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(1e-3, 0.1), (0.1, 0.0)]

    def step(*batches: dict[str, Tensor]) -> list[float]:
        optimizer.zero_grad()
        for batch in batches:
            weighting(batch, [], StepInfo()).backward()
        weighting.before_step()
        optimizer.step()
        return [weighting.log_sigma[name].item() for name in TASKS]

    first = step(losses(3.0, 3.0, 3.0))
    assert first[0] == pytest.approx(0.1, rel=1e-5)
    # Adam's momentum would move depth on.
    second = step(losses(3.0, 0.0, 3.0))
    assert second[1] == first[1]
    assert second[0] > first[0]
    # In one of two accumulated batches is in the step.
    third = step(losses(3.0, 0.0, 3.0), losses(3.0, 3.0, 0.0))
    assert all(new > old for new, old in zip(third, second, strict=True))


def test_random_is_a_function_of_seed_and_step() -> None:
    found = {}
    for seed, step in ((0, 0), (0, 1), (1, 0)):
        weighting = create_weighting("random", TASKS, {"seed": seed})
        total = weighting(losses(1.0, 1.0, 1.0), [], StepInfo(step=step))
        assert total.item() == pytest.approx(3.0)
        found[seed, step] = weights(weighting)
        torch.rand(3)
        weighting(losses(5.0, 1.0, 1.0), [], StepInfo(step=step))
        assert weights(weighting) == found[seed, step]
    assert len({tuple(value) for value in found.values()}) == 3
    weighting = create_weighting("random", TASKS)
    weighting(losses(1.0, 0.0, 1.0), [], StepInfo(step=0))
    one, _, three = found[0, 0]
    assert weights(weighting) == pytest.approx([2 * one / (one + three), 0.0, 2 * three / (one + three)])
    assert weighting(losses(0.0, 0.0, 0.0), [], StepInfo()).item() == 0.0


def test_dwa_by_hand() -> None:
    weighting = create_weighting("dwa", TASKS, {"temperature": 0.5, "interval": 2})
    both = labelled([1, 1], [1, 1], [1, 1])
    one = labelled([1, 0], [1, 1], [0, 0])
    # Interval means: semseg (2 * 4 + 1 * 1) / 3 = 3, then 6; depth 2 then 1; edges 5, then no label.
    for step, (batch, values) in enumerate(
        [(both, (4.0, 2.0, 5.0)), (one, (1.0, 2.0, 0.0)), (one, (6.0, 1.0, 0.0)), (one, (6.0, 1.0, 0.0))]
    ):
        weighting(losses(*values), [], StepInfo(batch, "labelled_count", step))
        assert weights(weighting) == pytest.approx([1.0] * 3)
    total = weighting(losses(1.0, 1.0, 1.0), [torch.tensor(2.0)], StepInfo(both, "labelled_count", 4))
    raw = [math.exp(2.0 / 0.5), math.exp(0.5 / 0.5), math.exp(1.0 / 0.5)]
    assert weights(weighting) == pytest.approx([3 * value / sum(raw) for value in raw])
    assert total.item() == pytest.approx(5.0)
    # The same from its state.
    again = create_weighting("dwa", TASKS, {"temperature": 0.5, "interval": 2})
    again.load_state_dict(weighting.state_dict())
    for w in (weighting, again):
        w(losses(3.0, 1.0, 1.0), [], StepInfo(both, "labelled_count", 6))
    assert weights(again) == weights(weighting) != pytest.approx([1.0] * 3)


def test_dwa_leaves_out_tasks_of_weight_zero() -> None:
    weighting = create_weighting("dwa", TASKS, {"temperature": 0.5, "interval": 1})
    all_three = labelled([1], [1], [1])
    for step, value in enumerate((1.0, 2.0, 2.0)):
        # Loss times weight: depth's is 0 whatever its loss.
        weighting(losses(value, 0.0, 3.0), [], StepInfo(all_three, step=step, idle=frozenset({"depth"})))
    one, two = math.exp(2.0 / 0.5), math.exp(1.0 / 0.5)
    assert weights(weighting) == pytest.approx([2 * one / (one + two), 0.0, 2 * two / (one + two)])
    total = weighting(losses(0.0, 0.0, 0.0), [], StepInfo(all_three, step=3, idle=frozenset(TASKS)))
    assert (total.item(), weights(weighting)) == (0.0, [0.0] * 3)


def test_dwa_takes_means_over_labelled_images() -> None:
    """Whatever the reducer divides by: the mean loss of an image that has the label is 4 in each of these."""
    flags = labelled([1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0])
    # Of T / n_b per image: semseg (1.5 + 3) * 4 / 4 images, depth 1.5 * 4 / 4, edges 3 * 4 / 4.
    for scale, values in (
        ("labelled_count", (4.0, 4.0, 4.0)),
        ("image_count", (2.0, 1.0, 1.0)),
        ("task_count_ratio", (4.5, 1.5, 3.0)),
    ):
        weighting: Any = create_weighting("dwa", TASKS)
        weighting(losses(*values), [], StepInfo(flags, cast(Any, scale)))
        torch.testing.assert_close(weighting.mean, torch.full((3,), 4.0), msg=scale)


def test_dwa_counts_epochs_in_batches() -> None:
    weighting: Any = create_weighting("dwa", TASKS)
    both = labelled([1], [1], [1])
    for value in (1.0, 1.0, 2.0, 4.0, 0.5):
        weighting(losses(value, 1.0, 1.0), [], StepInfo(both, epoch_batches=2))
    assert weighting.past[:, 0].tolist() == [1.0, 3.0]
    with pytest.raises(ConfigError, match="an epoch without end"):
        weighting(losses(1.0, 1.0, 1.0), [], StepInfo(both, epoch_batches=math.inf))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gradnorm", {}, "unknown loss_weighting 'gradnorm'"),
        ("dwa", {"temprature": 1.0}, "`weighting_options` names temprature for 'dwa'"),
        ("fixed", {"seed": 1}, "it has no options"),
        ("dwa", {"temperature": 0}, "temperature is 0"),
        ("dwa", {"interval": "week"}, "interval is 'week'"),
        ("random", {"seed": -1}, "seed is -1"),
        ("uncertainty", {"lr": 0.0}, "lr is 0.0"),
        ("uncertainty", {"initial_log_sigma": math.inf}, "initial_log_sigma is inf"),
        ("cagrad", {"c": -0.1}, "c is -0.1"),
        ("aligned_mtl", {"scale_mode": "max"}, "scale_mode is 'max'"),
    ],
)
def test_bad_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_weighting(name, TASKS, options)
