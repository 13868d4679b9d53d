"""Timed training steps: the batch, the loss, and that every architecture is treated alike."""

from __future__ import annotations

import math

import pytest
import torch

from mtdense.core.errors import ConfigError
from mtdense.models import MTLBaseline, SingleTask
from mtdense.reports.bench.parts import forward_shares
from mtdense.reports.bench.step import PARTS, StepClock, count_flops, matrix_peak
from mtdense.reports.bench.train import Arrangement, random_batch, random_target, time_steps
from mtdense.reports.profile import full_macs
from mtdense.tasks import build_tasks
from tests.models.helpers import ALL_SPECS

SPECS = {**ALL_SPECS, "depth": {}}


def test_random_labels_are_valid_ones() -> None:
    tasks = build_tasks(SPECS)
    batch = random_batch(tasks, 3, (8, 10))
    for name, task in tasks.items():
        target = batch["targets"][name]
        assert bool(task.valid(target).all()), name
        like = task.to_target(task.invalid_label(8, 10))
        assert target.shape == (3, *like.shape) and target.dtype == like.dtype, name
        for i in range(3):
            array = target[i].numpy() if task.label_channels == 1 else target[i].permute(1, 2, 0).numpy()
            task.check_label(array.astype(task.label_dtype), "noise")


def test_one_label_goes_round() -> None:
    tasks = build_tasks(SPECS)
    batch = random_batch(tasks, 8, (8, 10), "one-label")
    assert torch.stack(list(batch["labelled"].values())).sum(0).tolist() == [1] * 8
    for name, task in tasks.items():
        for i, flag in enumerate(batch["labelled"][name].tolist()):
            assert bool(task.valid(batch["targets"][name][i : i + 1]).any()) is flag


def test_the_same_seed_gives_the_same_batch() -> None:
    tasks = build_tasks({"depth": {}})
    a, b, c = (random_batch(tasks, 2, (8, 8), seed=seed)["image"] for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_task_of_no_known_form_is_refused() -> None:
    task = build_tasks({"depth": {}})["depth"]
    object.__setattr__(task, "stored_as", "as_is")
    with pytest.raises(ConfigError, match="no random labels are known for the task 'depth'"):
        random_target(task, 1, (4, 4), torch.Generator())


def test_time_steps() -> None:
    torch.manual_seed(0)
    modules = {
        "multi": MTLBaseline(tasks=SPECS, backbone="tiny", preset="tiny"),
        "single": SingleTask(tasks={"depth": {}}, backbone="tiny", preset="tiny"),
    }
    before = {name: [p.clone() for p in module.parameters()] for name, module in modules.items()}
    expected = {n: m.train().training_loss(random_batch(m.tasks, 2, (32, 40)))[0].item() for n, m in modules.items()}
    found = time_steps(modules, 2, (32, 40), runs=3)
    assert [row.name for row in found] == ["multi", "single"]
    for row in found:
        assert 0 < row.spread[0] <= row.seconds <= row.spread[1]
        assert row.loss == pytest.approx(expected[row.name]) and math.isfinite(row.loss)
        assert sum(row.split.values()) == pytest.approx(row.seconds, rel=0.5) and set(row.split) == set(PARTS)
        assert row.peak_memory is None or row.peak_memory > 4 * row.params
        # It was trained, not only run.
        assert any(not torch.equal(a, b) for a, b in zip(before[row.name], modules[row.name].parameters(), strict=True))
        assert row.forward == row.operators == {}
    assert found[0].params == sum(p.numel() for p in modules["multi"].parameters())


def test_operations_are_those_of_forward_and_backward() -> None:
    torch.manual_seed(0)
    module = MTLBaseline(tasks={"depth": {}}, backbone="tiny", preset="tiny").train()
    batch = random_batch(module.tasks, 2, (32, 40))
    flops, loss = count_flops(module, batch)
    forward = full_macs(module, lambda: module.run_network(batch))[""]
    # The image itself needs no gradient.
    assert 2 * 2 * forward < flops < 3 * 2 * forward and math.isfinite(loss)
    assert all(p.grad is None for p in module.parameters())


def test_where_the_time_goes() -> None:
    module = MTLBaseline(tasks=SPECS, backbone="tiny", preset="tiny").train()
    (row,) = time_steps({"a": module}, 1, (32, 40), runs=1, arrangements={"a": Arrangement("bf16-mixed")}, parts=True)
    # A container whose parts are called one by one has no time of its own: they have it.
    assert {"backbone"} < set(row.forward) - {""} <= {name for name, _ in module.network.named_children()}
    assert sum(row.forward.values()) == pytest.approx(1) == sum(row.operators.values())
    assert any("conv" in name for name in row.operators)
    # Nothing is left behind.
    assert forward_shares(module, random_batch(module.tasks, 1, (32, 40))).keys() == row.forward.keys()
    assert not any(part._forward_hooks for part in module.modules())


def test_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([1.0, 2.0, 5.0, 6.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    clock = StepClock(torch.device("cpu"))
    for part in ("", "a", "b", "a"):
        clock.mark(part)
    assert clock.seconds() == {"a": 2.0, "b": 3.0} and clock.seconds() == {}


def test_peak_of_a_matrix_product() -> None:
    assert matrix_peak(torch.device("cpu"), "32") > 1e9
