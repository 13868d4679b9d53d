from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import pytest
import torch
from torchmetrics import MeanMetric

from mtdense.core.errors import ConfigError
from mtdense.metrics import AbsoluteError, DeltaM, MaxF, MeanAngularError, MeanIoU, RootMeanSquaredError

CASE = Path(__file__).parent / "oracle" / "delta_m" / "case.json"
IDS = torch.tensor([[[0, 0, 1, 1]]])


class Gain(MeanMetric):
    higher_is_better = True


class Loss(MeanMetric):
    higher_is_better = False


def test_equals_the_published_implementations():
    case = json.loads(CASE.read_text(encoding="utf-8"))
    metric = DeltaM(
        case["single"], {task: Loss() if lower else Gain() for task, lower in case["lower_is_better"].items()}
    )
    for task, value in case["multi"].items():
        metric.metrics[task].update(value)
    assert metric.compute().item() == pytest.approx(case["delta_m_percent"], rel=1e-6)


def metric_of_two() -> DeltaM:
    return DeltaM({"semseg": 0.5, "depth": 0.8, "edges": 0.7}, {"semseg": MeanIoU(2), "depth": AbsoluteError()})


def test_feeds_its_metrics():
    metric = metric_of_two()
    preds = {"semseg": IDS, "depth": torch.full((1, 1, 2), 1.4)}
    metric.update(preds, {"semseg": IDS, "depth": torch.ones(1, 1, 2)})
    # +100 % on classes, half the error on depth.
    assert metric.compute().item() == pytest.approx((100 + 50) / 2)
    mask = {"depth": torch.tensor([[[True, False]]])}
    depth = {"depth": torch.tensor([[[1.4, 99.0]]])}
    metric.update(depth, {"depth": torch.ones(1, 1, 2)}, mask)
    assert metric.compute().item() == pytest.approx((100 + 50) / 2, rel=1e-6)


def test_metrics_may_be_fed_elsewhere_and_it_never_goes_stale():
    iou = MeanIoU(2)
    metric = DeltaM({"semseg": 0.5}, {"semseg": iou})
    iou.update(IDS, IDS)
    assert metric.compute().item() == pytest.approx(100.0)
    iou.update(1 - IDS, IDS)
    assert metric.compute().item() == pytest.approx(100 * (1 / 3 - 0.5) / 0.5)
    metric.reset()
    assert iou.confusion.sum() == 0


def test_forward_is_of_the_batch():
    metric = metric_of_two()
    assert metric({"semseg": IDS}, {"semseg": IDS}).item() == pytest.approx(100.0)
    assert metric({"semseg": 1 - IDS}, {"semseg": IDS}).item() == pytest.approx(-100.0)
    assert metric.metrics["semseg"].confusion.sum() == 8


def test_nothing_scored_is_nan_with_a_warning():
    metric = metric_of_two()
    metric.update({"semseg": IDS}, {"semseg": IDS})
    with pytest.warns(UserWarning):
        assert math.isnan(metric.compute())


def test_direction_unit_and_copies():
    metric = metric_of_two()
    assert metric.higher_is_better
    assert metric.unit == "percent"
    metric.update({"semseg": IDS, "depth": IDS.float()}, {"semseg": IDS, "depth": IDS + 0.4})
    for copy in (metric.clone(), pickle.loads(pickle.dumps(metric))):
        assert copy.compute().item() == pytest.approx(75.0)


@pytest.mark.parametrize(
    ("baselines", "metrics", "message"),
    [
        ({"a": 1.0}, {"b": AbsoluteError()}, "no single-task baseline for 'b'"),
        ({"a": 0.0}, {"a": RootMeanSquaredError()}, "'a' is 0.0"),
        ({"a": float("nan")}, {"a": MeanAngularError()}, "'a' is nan"),
        ({"a": float("inf")}, {"a": AbsoluteError()}, "'a' is inf"),
        ({"a": 51.0}, {"a": MaxF()}, "is 51, but MaxF is a fraction"),
        ({"a": 1.0}, {"a": MeanMetric()}, "does not state a direction"),
        ({"a": 1.0}, {}, "at least one task"),
    ],
)
def test_bad_baselines_are_named_at_once(baselines, metrics, message):
    with pytest.raises(ConfigError, match=message) as error:
        DeltaM(baselines, metrics)
    assert error.value.mend


def test_predictions_need_targets_and_a_metric():
    with pytest.raises(ConfigError, match="predictions of semseg and targets of depth"):
        metric_of_two().update({"semseg": IDS}, {"depth": IDS})
    with pytest.raises(ConfigError, match="normals"):
        metric_of_two().update({"normals": IDS}, {"normals": IDS})
