from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn
from torchmetrics.utilities import dim_zero_sum

from mtdense.metrics import (
    AbsoluteError,
    MaxF,
    MeanAngularError,
    MeanIoU,
    OdsF,
    RootMeanSquaredError,
    StreamingMetric,
)

METRICS = (
    MeanIoU(3),
    RootMeanSquaredError(),
    RootMeanSquaredError(per_image=True),
    AbsoluteError(),
    MeanAngularError(),
    MaxF(),
    MaxF("astmt"),
    OdsF(thresholds=5),
    OdsF(thresholds=5, workers=2),
)
HIGHER = (True, False, False, False, False, True, True, True, True)


def maps(metric: StreamingMetric) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    if isinstance(metric, MeanIoU):
        preds, target = torch.randint(0, 3, (2, 2, 4, 4), generator=generator)
        return preds, target
    if isinstance(metric, MaxF | OdsF):
        preds, target = torch.rand((2, 2, 16, 16), generator=generator)
        return preds, target > 0.5
    shape = (2, 2, 3, 4, 4) if isinstance(metric, MeanAngularError) else (2, 2, 4, 4)
    preds, target = torch.randn(shape, generator=generator)
    return preds, target


@pytest.mark.parametrize(("metric", "higher"), list(zip(METRICS, HIGHER, strict=True)))
def test_declares_itself(metric, higher):
    assert metric.higher_is_better is higher
    assert metric.is_differentiable is False
    assert metric.full_state_update is False
    for state in metric._defaults.values():
        assert state.dtype == torch.int64, "exact in any order"
    assert set(metric._reductions.values()) == {dim_zero_sum}


@pytest.mark.parametrize("metric", METRICS)
def test_sums_keep_their_precision_in_a_half_precision_module(metric):
    module = nn.ModuleDict({"metric": metric.clone()})
    module.to(torch.bfloat16)
    module.half()
    held = module["metric"]
    for name, default in metric._defaults.items():
        assert getattr(held, name).dtype == default.dtype
    preds, target = maps(metric)
    held.update(preds, target)
    metric = metric.clone()
    metric.update(preds, target)
    assert torch.equal(held.compute(), metric.compute())


@pytest.mark.parametrize("metric", METRICS)
def test_moves_to_another_device(metric):
    moved = metric.clone().to("meta")
    assert all(getattr(moved, name).device.type == "meta" for name in metric._defaults)


@pytest.mark.parametrize("metric", METRICS)
def test_forward_reset_and_pickle(metric):
    metric = pickle.loads(pickle.dumps(metric.clone()))
    preds, target = maps(metric)
    first = metric(preds, target)
    assert torch.equal(first, metric.compute())
    metric.reset()
    assert all(not getattr(metric, name).any() for name in metric._defaults)
