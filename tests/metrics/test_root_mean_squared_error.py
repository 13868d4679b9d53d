from __future__ import annotations

import math

import pytest
import torch

from mtdense.core.errors import DataError
from mtdense.metrics import RootMeanSquaredError

CASES = ("all_invalid_image", "disparity", "legit_255", "negative_pred", "random", "uneven_valid")


def score(batches, clamp=None, per_image=False, drop=None):
    metric = RootMeanSquaredError(per_image=per_image)
    for preds, target in batches:
        valid = (target != 0) if drop is None else (target != 0) & (target != drop)
        metric.update(preds if clamp is None else preds.clamp(min=clamp), target, valid)
    return metric.compute().item()


@pytest.mark.parametrize("case", CASES)
def test_equals_the_published_evaluators(oracle, case):
    batches, expected = oracle("rmse", case)
    # ATRC scores predictions as they are, MTPSL and the InvPT line first clamp them; the latter code invalid as 255.
    assert score(batches) == pytest.approx(expected["atrc"], rel=1e-5)
    assert score(batches, clamp=1e-9) == pytest.approx(expected["mtpsl_0"], rel=1e-5)
    assert score(batches, clamp=1e-9, drop=255) == pytest.approx(expected["invpt_255"], rel=1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case != "all_invalid_image"])
def test_per_image_equals_the_mean_of_roots(oracle, case):
    batches, expected = oracle("rmse", case)
    assert score(batches, per_image=True) == pytest.approx(expected["per_image_mean_of_rmse"], rel=1e-5)


def test_per_image_leaves_out_images_without_labels(oracle):
    batches, expected = oracle("rmse", "all_invalid_image")
    assert score(batches, per_image=True) == pytest.approx(expected["atrc"], rel=1e-5), "one image is left"


@pytest.mark.parametrize("per_image", [False, True])
def test_nothing_scored_is_nan_with_a_warning(oracle, per_image):
    batches, _ = oracle("rmse", "all_invalid")
    with pytest.warns(UserWarning, match="scored no valid pixel"):
        assert math.isnan(score(batches, per_image=per_image))


def test_by_hand():
    # Image 1: errors 3 and 4. Image 2: error 1, one pixel invalid. Global sqrt(26 / 3); per image (sqrt(12.5) + 1) / 2.
    target = torch.tensor([[[1.0, 1.0]], [[1.0, -1.0]]])
    preds = torch.tensor([[[4.0, -3.0]], [[2.0, 50.0]]])
    for per_image, value in ((False, math.sqrt(26 / 3)), (True, (math.sqrt(12.5) + 1) / 2)):
        metric = RootMeanSquaredError(per_image)
        metric.update(preds, target, target >= 0)
        assert metric.compute().item() == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("per_image", [False, True])
def test_invalid_pixels_do_not_matter(per_image):
    target, valid = torch.tensor([[[1.0, float("nan")]]]), torch.tensor([[[True, False]]])
    metric = RootMeanSquaredError(per_image)
    metric.update(torch.tensor([[[3.0, float("inf")]]]), target, valid)
    assert metric.compute().item() == 2.0


@pytest.mark.parametrize("per_image", [False, True])
def test_two_ranks_equal_one(oracle, merged, per_image):
    batches = [(p, t, t != 0) for p, t in oracle("rmse", "uneven_valid")[0]]
    one = RootMeanSquaredError(per_image)
    for batch in batches:
        one.update(*batch)
    assert merged(RootMeanSquaredError(per_image), batches).compute() == one.compute()


def test_shapes_must_agree():
    with pytest.raises(DataError, match="cannot be scored"):
        RootMeanSquaredError().update(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2))
