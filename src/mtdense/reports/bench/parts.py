"""Where the time of a training step goes: parts of the network, and operators."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from mtdense.data.sample import Batch
from mtdense.models import DenseModule
from mtdense.reports.bench.step import Precision, StepClock, precision_context, step

__all__ = ["forward_shares", "operator_shares"]


def forward_shares(module: DenseModule, batch: Batch, precision: Precision = "32") -> dict[str, float]:
    """{part of the network: its share of a forward pass in training}, largest first; "" is what no part does.

    Parts are the network's children; what they hold counts for them.
    """
    clock = StepClock(module.device)
    depth = 0

    def before(part: nn.Module, args: Any) -> None:
        nonlocal depth
        if depth == 0:
            clock.mark("")
        depth += 1

    def after(name: str) -> Any:
        def hook(part: nn.Module, args: Any, out: Any) -> None:
            nonlocal depth
            depth -= 1
            if depth == 0:
                clock.mark(name)

        return hook

    hooks = []
    for name, child in module.network.named_children():
        for part in child.modules():
            hooks += [part.register_forward_pre_hook(before), part.register_forward_hook(after(name))]
    try:
        with precision_context(precision, module.device), torch.enable_grad():
            clock.mark("")
            module.run_network(batch)
            clock.mark("")
    finally:
        for hook in hooks:
            hook.remove()
    return _shares(clock.seconds())


def operator_shares(
    module: DenseModule, optimizer: torch.optim.Optimizer, batch: Batch, precision: Precision = "32"
) -> dict[str, float]:
    """{operator: its share of a step's time in operators}, largest first; a GPU's time, or the processor's."""
    cuda = module.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    with profile(activities=activities) as profiler:
        step(module, optimizer, batch, precision)
    times: dict[str, float] = {}
    for event in profiler.key_averages():
        spent = event.self_device_time_total if cuda else event.self_cpu_time_total
        if event.key.startswith("aten::") and spent > 0:
            times[event.key.removeprefix("aten::")] = spent
    return _shares(times)


def _shares(times: dict[str, float]) -> dict[str, float]:
    total = sum(times.values()) or 1.0
    return dict(sorted(((name, t / total) for name, t in times.items()), key=lambda pair: -pair[1]))
