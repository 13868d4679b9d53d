from __future__ import annotations

import numpy as np

from mtdense.tasks import HumanParts


def test_seven_pascal_classes_by_default():
    task = HumanParts()
    assert task.num_outputs == 7
    assert task.class_names is not None
    assert task.class_names[:2] == ["background", "head"]
    assert HumanParts(num_classes=3).class_names is None


def test_a_map_without_parts_counts_for_nothing():
    task = HumanParts()
    for label in (np.zeros((2, 3), dtype=np.int64), np.array([[0, 255, 0], [255, 0, 0]])):
        finished = task.finish_label(label)
        assert (finished == 255).all()
        assert finished.shape == (2, 3)
        assert finished.dtype == np.int64


def test_a_map_with_a_part_keeps_its_background():
    label = np.array([[0, 255, 6]])
    assert HumanParts().finish_label(label).tolist() == [[0, 255, 6]]


def test_parts_have_no_say_in_the_crop():
    assert HumanParts().dominant_share(np.array([[0, 1]])) is None


def test_background_is_dark():
    assert HumanParts().draw(np.array([[0]])).max() < 50
