from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mtdense.core.errors import ConfigError, DataError
from mtdense.reports import metric_unit
from mtdense.tasks import Depth, LossTerms


def test_loss_by_hand_in_both_families():
    # Differences 1 and 3 | 5 and one invalid: images (2, 5), pool 9 / 3 = 3. Negative logits count as they are.
    logits = torch.tensor([[[[2.0, -1.0]]], [[[6.0, 8.0]]]])
    target = torch.tensor([[[1.0, 2.0]], [[1.0, -1.0]]])
    task = Depth()
    terms = task.loss_terms(logits, target, task.valid(target))
    assert terms.counts.tolist() == [[2], [1]]
    assert task.loss_value(terms).tolist() == [2.0, 5.0]
    pool = LossTerms(terms.sums.sum(0, keepdim=True), terms.counts.sum(0, keepdim=True))
    assert task.loss_value(pool).item() == 3.0


def test_which_pixels_count():
    target = torch.tensor([[[-1.0, 0.0, 0.5, 1.0, 10.0, 11.0, math.nan, math.inf]]])
    assert Depth().valid(target)[0, 0].tolist() == [False, True, True, True, True, True, False, False]
    limited = Depth(min_depth=0.5, max_depth=10.0).valid(target)[0, 0].tolist()
    assert limited == [False, False, False, True, False, False, False, False]


def test_zoom_divides_metres_and_multiplies_disparity():
    label = np.array([[3.0, 0.0, -1.0]], dtype=np.float32)
    for task, expected in (
        (Depth(), [1.5, 0, -1]),
        (Depth(unit="disparity"), [6, 0, -1]),
        (Depth(unit="normalised_disparity"), [6, 0, -1]),
        (Depth(unit="normalised_disparity", legacy_zoom=True), [1.5, 0, -1]),
        (Depth(unit="disparity", legacy_zoom=True), [1.5, 0, -1]),
    ):
        zoomed = task.zoom_label(label, 2.0)
        assert zoomed.tolist() == [expected]
        assert zoomed.dtype == np.float32


def test_flip_moves_columns_only():
    assert Depth().flip_label(np.array([[1.0, -1.0]], dtype=np.float32)).tolist() == [[-1.0, 1.0]]


def test_predictions_are_clamped():
    logits = torch.tensor([[[[-2.0, 0.05, 3.0]]]])
    assert Depth().predict(logits)[0, 0].tolist() == pytest.approx([0.0, 0.05, 3.0])
    assert Depth(min_depth=0.1).predict(logits)[0, 0].tolist() == pytest.approx([0.1, 0.1, 3.0])


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.5, -2.0])
def test_wrong_values_are_named(value):
    with pytest.raises(DataError, match=rf"^d\.png: a depth label holds {value} \(1 px\)") as error:
        Depth().check_label(np.array([[1.0, value]]), "d.png")
    assert "ignore_values" in error.value.mend


def test_normalised_disparity_is_a_share():
    task = Depth(unit="normalised_disparity")
    assert task.check_label(np.array([[-1.0, 0.0, 1.0]]), "d.npy").tolist() == [[-1.0, 0.0, 1.0]]
    with pytest.raises(DataError, match=r"^d\.npy: normalised disparity reaches 1\.5, above 1"):
        task.check_label(np.array([[0.0, 1.5]]), "d.npy")
    assert Depth(unit="disparity").check_label(np.array([[1.5]]), "d.npy").tolist() == [[1.5]]
    assert task.meaning != Depth(unit="disparity").meaning


def test_any_number_type_becomes_float32():
    checked = Depth().check_label(np.array([[0, 3]], dtype=np.uint16), "x")
    assert checked.dtype == np.float32
    assert Depth().check_label(np.array([[-1.0, 2.5]]), "x").tolist() == [[-1.0, 2.5]]


def test_metrics():
    task = Depth()
    target = torch.tensor([[[1.0, 1.0, -1.0]]])
    scores = {}
    for name, metric in task.metrics().items():
        task.update_metric(metric, torch.tensor([[[2.0, 4.0, 9.0]]]), target, task.valid(target))
        scores[name] = metric.compute().item()
    assert scores == pytest.approx({"RMSE": math.sqrt((1 + 9) / 2), "absErr": 2.0})


def test_metrics_count_a_range_that_training_does_not_know():
    """0 < d < 80 as in TaskPrompter: 0 and 80 are trained on, but not scored."""
    target = torch.tensor([[[0.0, 79.0, 80.0, 100.0, 5.0, -1.0]]])
    prediction = torch.tensor([[[50.0, 78.0, 0.0, 0.0, 8.0, 0.0]]])
    task = Depth(unit="disparity", score_above=0.0, score_below=80.0)
    assert task.valid(target).sum() == 5
    scores = {}
    for name, metric in task.metrics().items():
        task.update_metric(metric, prediction, target, task.valid(target) & (target != 5))
        scores[name] = metric.compute().item()
    assert scores == {"RMSE": 1.0, "absErr": 1.0}
    assert Depth(**task.spec) == task != Depth(unit="disparity")


@pytest.mark.parametrize("unit", ["disparity", "metres"])
def test_scores_in_the_other_unit(unit):
    """Each image by its own camera: 0.25 m and 100 px of focal length, seen at half the size; the second has none."""
    target = torch.tensor([[[5.0, 0.0, 50.0, 0.25, -1.0]]] * 2)
    prediction = torch.tensor([[[4.0, 7.0, 0.0, 1.0, 9.0]]] * 2)
    task = Depth(unit=unit, other_unit_below=80.0)
    camera = torch.zeros(2, 3, 3)
    camera[0, 0, 0] = 50.0
    meta = {
        "baseline": torch.tensor([0.25, 0.0]),
        "camera": camera,
        "window": torch.tensor([[0.0, 0.0, 2.0, 10.0]] * 2),
        "content": torch.tensor([[0, 0, 1, 5]] * 2),
    }
    other = {"disparity": "metres", "metres": "disparity"}[unit]
    metric = task.metrics()[f"RMSE_{other}"]
    assert metric_unit(task, metric) == other and metric_unit(task, task.metrics()["RMSE"]) == unit
    task.update_metric(metric, prediction, target, task.valid(target), {"meta": meta})
    # 25 / 5 to 25 / 4; 0 has none; 25 / 50 to at most 80; 25 / 0.25 is too much.
    assert metric.compute().item() == pytest.approx(math.sqrt((1.25**2 + 79.5**2) / 2))
    metric.reset()
    task.update_metric(metric, prediction, target, task.valid(target))
    with pytest.warns(UserWarning):
        assert math.isnan(metric.compute().item())
    plain = task.metrics()["RMSE"]
    task.update_metric(plain, prediction, target, task.valid(target), {"meta": meta})
    assert plain.compute().item() > 0 and Depth(**task.spec) == task
    assert "RMSE_metres" not in Depth(unit="disparity").metrics()


def test_units_without_another():
    with pytest.raises(ConfigError, match=r"depth\.other_unit_below"):
        Depth(unit="normalised_disparity", other_unit_below=80.0)
    with pytest.raises(ConfigError, match=r"depth\.other_unit_below"):
        Depth(other_unit_below=0.0)


@pytest.mark.parametrize(
    "options",
    [{"score_above": -1.0}, {"score_below": 0.0}, {"score_above": 2.0, "score_below": 2.0}, {"score_below": True}],
)
def test_scored_ranges_that_make_no_sense(options):
    with pytest.raises(ConfigError, match=r"depth\.score_"):
        Depth(**options)


def test_near_is_bright_in_either_unit():
    ramp = np.linspace(1, 5, 64, dtype=np.float32).reshape(8, 8)
    metres, disparity = Depth().draw(ramp).sum(-1).ravel(), Depth(unit="disparity").draw(ramp).sum(-1).ravel()
    assert (np.diff(metres.astype(int)) <= 0).all()
    assert (np.diff(disparity.astype(int)) >= 0).all()
    assert metres[0] > 3 * metres[-1]


def test_pictures_share_a_scale_on_demand():
    near, far = np.full((2, 2), 1.0), np.full((2, 2), 5.0)
    scene = np.array([[1.0, 5.0], [-1.0, 3.0]])
    assert Depth().draw(near, like=scene).sum() > Depth().draw(far, like=scene).sum()
    np.testing.assert_array_equal(Depth().draw(near, low=0, high=2), Depth().draw(far, low=4, high=6))
    assert np.isfinite(Depth().draw(near)).all(), "a constant map has no scale of its own"
