from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mtdense.core.errors import ConfigError
from mtdense.metrics.functional import delta_m

CASE = Path(__file__).parents[1] / "oracle" / "delta_m" / "case.json"


def test_equals_the_published_implementations():
    case = json.loads(CASE.read_text(encoding="utf-8"))
    higher = {task: not lower for task, lower in case["lower_is_better"].items()}
    gain = delta_m(case["multi"], case["single"], higher)
    assert gain == pytest.approx(case["delta_m_percent"], rel=1e-12)
    assert gain / 100 == pytest.approx(case["mti_fraction"], rel=1e-12)


def test_by_hand():
    # +10 % on one, half the error on the other: (10 + 50) / 2.
    higher = {"semseg": True, "depth": False}
    assert delta_m({"semseg": 0.55, "depth": 0.4}, {"semseg": 0.5, "depth": 0.8}, higher) == pytest.approx(30.0)


def test_no_gain_over_itself_and_extra_baselines_do_not_count():
    assert delta_m({"a": 3.0}, {"a": 3.0, "b": 0.0}, {"a": True}) == 0.0


def test_a_missing_score_stays_visible():
    assert math.isnan(delta_m({"a": float("nan"), "b": 1.0}, {"a": 1.0, "b": 1.0}, {"a": True, "b": True}))


@pytest.mark.parametrize("baseline", [0.0, float("nan"), float("inf")])
def test_a_baseline_must_be_usable(baseline):
    with pytest.raises(ConfigError, match="'a'") as error:
        delta_m({"a": 1.0}, {"a": baseline}, {"a": True})
    assert error.value.mend


def test_what_is_missing_is_named():
    with pytest.raises(ConfigError, match="no single-task baseline for 'a'"):
        delta_m({"a": 1.0}, {"b": 1.0}, {"a": True})
    with pytest.raises(ConfigError, match="whether higher is better for 'a'"):
        delta_m({"a": 1.0}, {"a": 1.0}, {})
    with pytest.raises(ConfigError, match="at least one task"):
        delta_m({}, {}, {})
