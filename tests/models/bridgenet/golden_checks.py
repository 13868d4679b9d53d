"""Comparing a network with the values of its public code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.drop import DropPath
from torch import Tensor, nn

from mtdense.models.layers.task_maps import TaskDropPath
from tests.models.bridgenet.manifest import image, pick

SIZE = (64, 128)
PUBLIC = {"edges": "edge"}


def without_stochastic_depth(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
        if isinstance(module, TaskDropPath):
            module.rate = 0.0


def check_golden(
    network: nn.Module, golden: Mapping[str, Any], groups: Mapping[str, tuple[str, ...]], rtol: float = 1e-6
) -> None:
    """Outputs at the input's size and gradient norms by part, in evaluation and in training mode.

    The loss is the mean square of each final output plus half that of each preliminary one.
    """
    without_stochastic_depth(network)
    for mode in ("eval", "train"):
        network.train(mode == "train")
        network.zero_grad()
        outputs = network(image(2, *SIZE))
        loss = torch.zeros((), dtype=torch.float64)
        for kind, logits, weight in (("final", outputs.final, 1.0), ("preliminary", outputs.preliminary[0], 0.5)):
            for task, small in logits.items():
                full = F.interpolate(small, SIZE, mode="bilinear")
                wanted = torch.tensor(golden[mode][kind][PUBLIC.get(task, task)], dtype=torch.float64)
                torch.testing.assert_close(pick(full), wanted, rtol=rtol, atol=rtol / 10)
                loss = loss + weight * full.square().mean()
        loss.backward()
        for part, prefixes in groups.items():
            norm = _gradient_norm(network, prefixes)
            torch.testing.assert_close(norm, golden[mode]["gradients"][part], rtol=rtol, atol=1e-8)


def _gradient_norm(network: nn.Module, prefixes: tuple[str, ...]) -> float:
    squares: list[Tensor] = [
        p.grad.square().sum()
        for name, p in network.named_parameters()
        if name.startswith(prefixes) and p.grad is not None
    ]
    return float(torch.stack(squares).sum().sqrt())
