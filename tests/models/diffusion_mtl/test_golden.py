"""Values of the public code (github.com/prismformore/DiffusionMTL, commit 65b84e757d6c6fd2ae76b98ff956eeac5f01a69b).

Its whole network (`DiffusionNet`) was run on the CPU with the weights, image, noise and functional of `formula`. Small
cases: on the backbone `tiny`, at that backbone's width of 24, for which the one width that it writes as a constant
(512) was replaced; one norm of a gradient for each of 178 parameters. Slow case: nothing replaced, on its own
ResNet-18; norms by part of the network.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from mtdense.backbones import create_backbone
from mtdense.models.canvas import upsample
from mtdense.models.diffusion_mtl import DiffusionNetwork, DiffusionSchedule
from tests.models.diffusion_mtl import formula

SIZE = (64, 96)
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden.json").read_text())


def network(backbone: str = "tiny", width: int = 24, steps: int = 2) -> DiffusionNetwork:
    built = DiffusionNetwork(create_backbone(backbone), formula.TASKS, width, schedule=DiffusionSchedule(steps))
    formula.fill_network(built)
    return built


def large(logits: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: upsample(x, SIZE) for name, x in logits.items()}


def check_evaluation(built: DiffusionNetwork, golden: dict[str, Any]) -> None:
    with torch.no_grad():
        outputs = built.eval()(formula.wave("image", (2, 3, *SIZE)), formula.noise)
    assert formula.sampled(large(outputs.final)) == pytest.approx(golden["eval"], rel=1e-4, abs=1e-4)


def check_training(built: DiffusionNetwork, golden: dict[str, Any]) -> dict[str, float]:
    """Compares outputs; norms of gradients by parameter."""
    outputs = built.train()(formula.wave("image", (2, 3, *SIZE)), formula.noise, formula.ROWS)
    final, first = large(outputs.final), large(outputs.preliminary[0])
    assert formula.sampled(final) == pytest.approx(golden["train"], rel=1e-4, abs=1e-4)
    assert formula.sampled(first) == pytest.approx(golden["preliminary"], rel=1e-4, abs=1e-4)
    formula.functional(final, first).backward()
    return {name: p.grad.norm().item() for name, p in built.named_parameters()}


@pytest.mark.parametrize("steps", [2, 3])
def test_evaluation(steps):
    check_evaluation(network(steps=steps), GOLDEN[f"steps{steps}"])


def test_training_with_two_steps_and_its_gradients():
    norms = check_training(network(), GOLDEN["steps2"])
    assert norms == pytest.approx(GOLDEN["steps2"]["gradients"], rel=1e-3, abs=1e-5)


def test_training_with_three_steps():
    check_training(network(steps=3), GOLDEN["steps3"])


@pytest.mark.slow
def test_the_unchanged_network_at_its_own_width():
    built, golden = network("resnet18", 512), GOLDEN["width512"]
    check_evaluation(built, golden)
    norms = check_training(built, golden)
    for part, expected in golden["gradients"].items():
        squares = [norm**2 for name, norm in norms.items() if f"{name}.".startswith(f"{part}.")]
        assert math.sqrt(sum(squares)) == pytest.approx(expected, rel=1e-3), part
