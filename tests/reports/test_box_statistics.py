"""What labels of 3-D boxes hold, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mtdense.core.errors import ConfigError
from mtdense.geometry import camera_matrix
from mtdense.geometry.boxes import Boxes3D, VehicleCamera
from mtdense.reports.label_statistics import BoxStatistics, LabelStatistics, statistics_of
from mtdense.tasks import BoxLabels, LabelKind, build_tasks
from mtdense.tasks.detection_3d import BoxLabel


def label(ahead: list[float], classes: list[int], ignored: int) -> np.ndarray:
    number = len(ahead)
    camera = VehicleCamera(camera_matrix(50.0, 50.0, 20.0, 15.0), np.eye(3, 4), (30, 40))
    boxes = Boxes3D(
        np.array([[x, 1.0, 0.0] for x in ahead]), np.ones((number, 3)), np.tile([1.0, 0.0, 0.0, 0.0], (number, 1))
    )
    flat, none = np.zeros((number, 4)), np.zeros(number)
    ids = np.arange(ignored)
    numbers = np.array(classes, dtype=np.int64)
    return BoxLabel(camera, boxes, numbers, flat, flat, none, none, numbers, np.zeros((ignored, 4)), ids).table()


def test_boxes_are_counted() -> None:
    found = statistics_of(BoxLabels())
    assert isinstance(found, BoxStatistics)
    assert found.as_dict()["nearest"] is None and found.valid_share is None and found.shares.tolist() == [0] * 6
    for table in (label([7.0, 30.0], [0, 5], 1), label([], [], 2), label([4.5], [0], 0)):
        found.add(table)
    assert found.as_dict() == {
        "decoded": 3,
        "empty": 1,
        "boxes": 3,
        "ignored_regions": 3,
        "nearest": 4.5,
        "farthest": 30.0,
        "class_boxes": {"car": 2, "truck": 0, "bus": 0, "train": 0, "motorcycle": 0, "bicycle": 1},
    }
    np.testing.assert_allclose(found.shares, [2 / 3, 0, 0, 0, 0, 1 / 3])


def test_each_kind_has_its_own() -> None:
    task = build_tasks({"depth": {}})["depth"]
    assert isinstance(statistics_of(task), LabelStatistics)

    class Odd(LabelKind):
        """A kind of label that nobody counts anything of."""

    Odd.__abstractmethods__ = frozenset()
    odd: LabelKind = Odd()  # type: ignore[abstract]
    odd.name = "odd"  # type: ignore[misc]
    with pytest.raises(ConfigError, match="what labels of 'odd' hold is not known"):
        statistics_of(odd)
