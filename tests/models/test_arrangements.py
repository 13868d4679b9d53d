"""Every architecture's step under `channels_last` and under bf16 autocast."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.models.exact_ranks_worker import architectures, build, micro_batch

FAST = ("MTLBaseline", "PromptFusion")
# Its mapping network normalises every map by its own statistics, fourteen times over.
ROUNDED = ("MTPSL",)
NAMES = [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in architectures()]


def step(name: str, bf16: bool = False, **options: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss, and gradients by parameter."""
    model = build(name, **options)
    if options.get("channels_last"):
        order = torch.channels_last
        weights = [p for p in model.parameters() if p.ndim == 4 and not p.is_contiguous()]
        assert weights and all(p.is_contiguous(memory_format=order) for p in weights)
        assert model.normalise(torch.rand(2, 3, 8, 8)).is_contiguous(memory_format=order)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        total, losses = model.training_loss(micro_batch(model, "random-label", 0, torch.float32))
    assert total.dtype == torch.float32 and all(value.dtype == torch.float32 for value in losses.values())
    total.backward()
    return total.item(), {key: p.grad for key, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_is_the_same(name: str) -> None:
    (loss, gradients), (found, others) = step(name), step(name, channels_last=True)
    assert found == pytest.approx(loss, rel=1e-5)
    assert gradients.keys() == others.keys()
    assert length(gradients, others) <= (5e-2 if name in ROUNDED else 1e-3) * length(gradients)


@pytest.mark.parametrize("name", NAMES)
def test_bf16_is_nearly_the_same(name: str) -> None:
    (loss, gradients), (found, others) = step(name), step(name, bf16=True)
    assert found == pytest.approx(loss, rel=5e-3)
    assert gradients.keys() == others.keys()
    # Mixed, not pure: weights and what the optimiser sees stay in float32.
    assert all(value.dtype == torch.float32 and bool(torch.isfinite(value).all()) for value in others.values())
    share = length(gradients, others) / length(gradients)
    assert name in ROUNDED or 0 < share <= 0.2, share


def length(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor] | None = None) -> float:
    """Of all gradients as one vector, or of the difference of two."""
    return sum(float((v - other[k] if other else v).square().sum()) for k, v in one.items()) ** 0.5
