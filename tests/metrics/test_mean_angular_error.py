from __future__ import annotations

import math

import pytest
import torch

from mtdense.core.errors import DataError
from mtdense.metrics import MeanAngularError

CASES = ("antipodal", "components_sum_to_zero", "random", "zero_gt_not_masked", "zero_pred", "tiny_errors")


def scored(batches):
    metric = MeanAngularError()
    for preds, target in batches:
        metric.update(preds, target, (target != 255).all(dim=1))
    return metric


@pytest.mark.parametrize("case", CASES)
def test_equals_the_arc_tangent_evaluators(oracle, case):
    batches, expected = oracle("merr", case)
    value = scored(batches).compute().item()
    # At 0.007 degrees the evaluators' own float32 is good for some five digits.
    tolerance = 1e-4 if case == "tiny_errors" else 1e-5
    for peer in ("invpt", "diffusionmtl", "atrc"):
        assert value == pytest.approx(expected[peer], rel=tolerance), peer


def test_masking_zero_targets_gives_the_other_convention(oracle):
    batches, expected = oracle("merr", "zero_gt_not_masked")
    metric = MeanAngularError()
    for preds, target in batches:
        metric.update(preds, target, (target != 0).any(dim=1))
    assert metric.compute().item() == pytest.approx(expected["mtpsl_invalid0"], rel=1e-5)


def test_nothing_scored_is_nan_with_a_warning(oracle):
    metric = scored(oracle("merr", "all_invalid")[0])
    with pytest.warns(UserWarning, match="scored no valid pixel"):
        assert metric.compute().isnan()
    with pytest.warns(UserWarning, match="scored no valid pixel"):
        assert metric.rms().isnan()


def test_by_hand():
    # Angles 10, 20, 25 and 90 degrees in the x-z plane, predictions of any length, one invalid pixel.
    degrees = torch.tensor([10.0, 20.0, 25.0, 90.0, 0.0]).double()
    lengths = torch.tensor([0.1, 2.0, 1.0, 30.0, 1.0]).double()
    preds = torch.stack([degrees.deg2rad().sin() * lengths, 0 * degrees, -degrees.deg2rad().cos() * lengths])
    target = torch.tensor([0.0, 0.0, -1.0]).double()[:, None].expand(3, 5)
    metric = MeanAngularError()
    metric.update(preds[None, :, None], target[None, :, None], torch.tensor([[[True, True, True, True, False]]]))
    assert metric.compute().item() == pytest.approx((10 + 20 + 25 + 90) / 4, rel=1e-9)
    assert metric.rms().item() == pytest.approx(math.sqrt((100 + 400 + 625 + 8100) / 4), rel=1e-9)
    assert {limit: share.item() for limit, share in metric.shares().items()} == {11.25: 0.25, 22.5: 0.5, 30.0: 0.75}
    details = {name: value.item() for name, value in metric.details().items()}
    assert details == {
        "mean": metric.compute().item(),
        "rms": metric.rms().item(),
        "within_11.25": 0.25,
        "within_22.5": 0.5,
        "within_30": 0.75,
    }


def test_precise_near_zero():
    # 0.001 degrees in float32; an arc cosine would give 0 or 0.02.
    angle = math.radians(0.001)
    metric = MeanAngularError()
    preds = torch.tensor([math.sin(angle), 0.0, -math.cos(angle)]).view(1, 3, 1, 1)
    metric.update(preds, torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1))
    assert metric.compute().item() == pytest.approx(0.001, rel=1e-4)


def test_invalid_pixels_do_not_matter():
    preds = torch.tensor([[1.0, 0.0, 0.0], [float("nan")] * 3]).T.reshape(1, 3, 1, 2)
    target = torch.tensor([[0.0, 1.0, 0.0], [float("inf")] * 3]).T.reshape(1, 3, 1, 2)
    metric = MeanAngularError()
    metric.update(preds, target, torch.tensor([[[True, False]]]))
    assert metric.compute().item() == pytest.approx(90.0)


def test_two_ranks_equal_one(oracle, merged):
    batches = [(p, t, (t != 255).all(dim=1)) for p, t in oracle("merr", "random")[0]]
    one = MeanAngularError()
    for batch in batches:
        one.update(*batch)
    two = merged(MeanAngularError(), batches)
    assert two.details() == one.details()


def test_vectors_must_have_three_components():
    with pytest.raises(DataError, match=r"\(B, 3, H, W\)"):
        MeanAngularError().update(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4))
