"""Single-task baseline: the MTL baseline with one task, and its published counts."""

from __future__ import annotations

import pytest

from mtdense.core.errors import ConfigError
from mtdense.models import SingleTask
from tests.models.architecture_tester import ArchitectureTester
from tests.models.helpers import SPECS


class TestSingleTask(ArchitectureTester):
    module_class = SingleTask
    specs = {"semseg": {"num_classes": 5}}


@pytest.mark.parametrize(("classes", "total"), [(21, 25_052_757), (13, 25_048_653)])
def test_published_counts(classes: int, total: int) -> None:
    model = SingleTask(tasks={"semseg": {"num_classes": classes}}, preset="paper")
    assert sum(p.numel() for p in model.network.parameters()) == total


def test_two_tasks_are_refused() -> None:
    with pytest.raises(ConfigError, match="single-task network with the tasks semseg, depth, normals"):
        SingleTask(tasks=SPECS, backbone="tiny", preset="tiny")
