from __future__ import annotations

import pytest

from mtdense.core.errors import ConfigError
from mtdense.tasks import Depth, SemanticSegmentation, Task, build_tasks, spec_options, task_names


def test_the_six_tasks_are_found():
    assert {"semseg", "human_parts", "saliency", "normals", "edges", "depth"} <= set(task_names())


def test_builds_in_the_given_order():
    tasks = build_tasks({"depth": None, "semseg": {"num_classes": 13}, "saliency": {}})
    assert list(tasks) == ["depth", "semseg", "saliency"]
    assert tasks["semseg"] == SemanticSegmentation(13)
    assert tasks["depth"] == Depth()


def test_specifications_survive_a_round_trip():
    tasks = build_tasks({"human_parts": None, "edges": {"positive_weight": None}, "normals": {"loss": "cosine"}})
    assert build_tasks({name: task.spec for name, task in tasks.items()}) == tasks


@pytest.mark.parametrize(
    ("specs", "problem", "mend"),
    [
        ({"semsge": None}, "unknown task 'semsge'", "Did you mean 'semseg'?"),
        ({"flow": None}, "unknown task 'flow'", "Known tasks: depth, detection_3d, edges"),
        ({"semseg": None}, "needs num_classes", ""),
        ({"semseg": {"num_class": 13}}, "no option 'num_class'", "Did you mean 'num_classes'?"),
        ({"saliency": {"weight": 1}}, "no option 'weight'", "Known options: maxf_convention"),
        ({"depth": ["unit"]}, "the options of task 'depth'", "mapping"),
        ({"semseg": {"num_classes": "13"}}, "semseg.num_classes is '13'", "2..255"),
        ({"semseg": {"num_classes": True}}, "semseg.num_classes is True", "2..255"),
        ({"semseg": {"num_classes": 256}}, "semseg.num_classes is 256", "2..255"),
        ({"semseg": {"num_classes": 2, "class_names": ["a"]}}, "1 names for 2 classes", "one name per class"),
        ({"semseg": {"num_classes": 2, "class_names": "ab"}}, "semseg.class_names is 'ab'", "list of strings"),
        ({"semseg": {"num_classes": 2, "palette": [[0, 0, 0]]}}, "does not hold 2 colours", "per class"),
        ({"semseg": {"num_classes": 2, "palette": [[0, 0, 0], [1, 2]]}}, "holds [1, 2]", "[red, green, blue]"),
        ({"semseg": {"num_classes": 2, "palette": [[0, 0, 0], [1, 2, 300]]}}, "300", "0..255"),
        ({"edges": {"positive_weight": 1.5}}, "edges.positive_weight is 1.5", "0..1"),
        ({"edges": {"positive_weight": float("nan")}}, "edges.positive_weight is nan", "0..1"),
        ({"normals": {"loss": "l2"}}, "normals.loss is 'l2'", "l1, cosine"),
        ({"depth": {"unit": "meters"}}, "depth.unit is 'meters'", "metres, disparity"),
        ({"depth": {"min_depth": -1}}, "depth.min_depth is -1", "at least 0"),
        ({"depth": {"min_depth": 2, "max_depth": 2}}, "depth.max_depth is 2", "above `min_depth`"),
        ({"depth": {"legacy_zoom": 1}}, "depth.legacy_zoom is 1", "true or false"),
        ({"depth": {"legacy_zoom": True}}, "legacy_zoom", "disparity"),
    ],
)
def test_bad_specifications_say_what_and_how(specs, problem, mend):
    with pytest.raises(ConfigError) as error:
        build_tasks(specs)
    assert problem in error.value.problem
    assert mend in error.value.mend


def test_options_of_a_specification():
    assert spec_options("semseg") == {"num_classes": True, "class_names": False, "palette": False}
    assert spec_options("saliency") == {"maxf_convention": False}
    with pytest.raises(ConfigError, match="Did you mean 'depth'"):
        spec_options("detph")


def test_a_new_task_needs_no_list(monkeypatch):
    monkeypatch.setattr(Task, "registered", dict(Task.registered))
    type("Disparity", (Depth,), {"name": "disparity_of_tests"})
    assert "disparity_of_tests" in task_names()
    assert build_tasks({"disparity_of_tests": {"max_depth": 3}})["disparity_of_tests"].spec["max_depth"] == 3
