from __future__ import annotations

import numpy as np

from mtdense.data.procedural.labels import instance_edges, salient_instance


def test_edges_by_hand() -> None:
    instances = np.array([[1, 1, 2], [1, 3, 2], [1, 1, 1]], dtype=np.int32)
    expected = np.array([[0, 1, 0], [1, 1, 1], [0, 0, 0]], dtype=np.float32)
    np.testing.assert_array_equal(instance_edges(instances), expected)


def blank() -> np.ndarray:
    return np.ones((40, 50), dtype=np.int32)


def test_the_heavier_of_two_equal_things_is_salient() -> None:
    instances = blank()
    instances[15:25, 10:15] = 2
    instances[15:25, 35:40] = 3
    assert salient_instance(instances, np.array([0.0, 0.0, 0.4, 0.75])) == 3
    assert salient_instance(instances, np.array([0.0, 0.0, 0.75, 0.4])) == 2


def test_the_middle_wins_over_the_margin_and_the_large_over_the_small() -> None:
    weight = np.array([0.0, 0.0, 0.5, 0.5])
    instances = blank()
    instances[0:8, 0:8] = 2
    instances[16:24, 21:29] = 3
    assert salient_instance(instances, weight) == 3
    instances = blank()
    instances[16:24, 16:24] = 2
    instances[18:22, 26:30] = 3
    assert salient_instance(instances, weight) == 2


def test_specks_count_only_where_there_is_nothing_else() -> None:
    weight = np.array([0.0, 0.0, 1.0, 0.3])
    instances = blank()
    instances[20, 25] = 2
    instances[0:6, 0:6] = 3
    assert salient_instance(instances, weight) == 3
    instances[0:6, 0:6] = 1
    assert salient_instance(instances, weight) == 2


def test_without_things_the_room_is_left() -> None:
    instances = blank()
    instances[:, 40:] = 2
    assert salient_instance(instances, np.zeros(3)) in (1, 2)
