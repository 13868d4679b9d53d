from __future__ import annotations

import pytest
import torch

from mtdense.metrics import AbsoluteError

CASES = ("all_invalid_image", "disparity", "legit_255", "negative_pred", "random", "uneven_valid")


@pytest.mark.parametrize("case", CASES)
def test_equals_the_published_evaluators(oracle, case):
    batches, expected = oracle("abserr", case)
    metric, dropped = AbsoluteError(), AbsoluteError()
    for preds, target in batches:
        metric.update(preds.clamp(min=1e-9), target, target != 0)
        dropped.update(preds.clamp(min=1e-9), target, (target != 0) & (target != 255))
    assert metric.compute().item() == pytest.approx(expected["mtpsl_0_l1"], rel=1e-5)
    assert dropped.compute().item() == pytest.approx(expected["diffusionmtl_255_abs_err"], rel=1e-5)


def test_predictions_are_scored_as_given(oracle):
    # One batch, so LibMTL's mean of batch means is the global mean.
    batches, expected = oracle("abserr", "negative_pred")
    metric = AbsoluteError()
    for preds, target in batches:
        metric.update(preds, target, target != 0)
    assert metric.compute().item() == pytest.approx(expected["libmtl_0_abs_batchmean"], rel=1e-5)


def test_by_hand_and_invalid_pixels_do_not_matter():
    target = torch.tensor([[[1.0, 2.0, float("nan")]]])
    metric = AbsoluteError()
    metric.update(torch.tensor([[[2.0, -1.0, float("inf")]]]), target, torch.tensor([[[True, True, False]]]))
    assert metric.compute().item() == (1 + 3) / 2


def test_nothing_scored_is_nan_with_a_warning():
    metric = AbsoluteError()
    metric.update(torch.ones(1, 2, 2), torch.ones(1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.bool))
    with pytest.warns(UserWarning, match="scored no valid pixel"):
        assert metric.compute().isnan()


def test_two_ranks_equal_one(oracle, merged):
    batches = [(p, t, t != 0) for p, t in oracle("abserr", "uneven_valid")[0]]
    one = AbsoluteError()
    for batch in batches:
        one.update(*batch)
    assert merged(AbsoluteError(), batches).compute() == one.compute()
