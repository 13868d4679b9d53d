"""Stored disparity to labels, by hand: units, invalid values, sky and the public readers' quirks."""

from __future__ import annotations

import numpy as np
import pytest

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.cityscapes.facts import (
    CATEGORIES,
    CLASSES,
    LABEL_IDS,
    LABELS,
    RAIL_TRACK,
    SKY,
    category_of_class,
    class_of_label,
    semseg_spec,
)
from mtdense.data.cityscapes.protocols import DEPTH_PROTOCOLS, decode_disparity, depth_protocol, encode_disparity
from mtdense.tasks import build_tasks

STORED = np.array([[0, 1, 2, 257, 20481, 65535]], dtype=np.uint16)
ROAD = np.full(STORED.shape, 7, dtype=np.uint8)


def decode(name: str, labels: object = ROAD, focal: float | None = 512.0) -> list[float]:
    table = None if labels is None else np.asarray(labels, dtype=np.uint8)
    return decode_disparity(STORED, DEPTH_PROTOCOLS[name], "d.png", table, focal)[0].tolist()


def test_units_and_invalid_values() -> None:
    far = (65535 - 1) / 256
    measured = [1 / 256, 1.0, 80.0, pytest.approx(far)]
    assert decode("disparity", None, None) == [-1, 0, *measured]
    assert decode("taskprompter") == decode("mtmamba") == [-1, 0, *measured]
    assert decode("taskprompter_legacy") == decode("mtmamba_legacy") == [-1, -1, *measured]
    assert decode("metres", None) == [-1, -1, 512 * 256, 512, pytest.approx(6.4), pytest.approx(512 / far)]


@pytest.mark.parametrize(("label", "corrected", "legacy"), [(SKY, 0, 1.0), (RAIL_TRACK, 1.0, 0), (11, 1.0, 1.0)])
def test_the_sky_is_far_away(label: int, corrected: float, legacy: float) -> None:
    """Public code seeks the sky under 10, the rail track; measured or not, its pixels get 0."""
    labels = np.full(STORED.shape, label)
    for name in ("taskprompter", "mtmamba"):
        assert decode(name, labels)[3] == corrected
        assert decode(f"{name}_legacy", labels)[3] == legacy
    assert decode("disparity", labels)[3] == 1 and decode("metres", labels)[3] == 512
    assert decode("taskprompter", np.full(STORED.shape, SKY)) == [0] * 6


def test_what_is_scored() -> None:
    ranges = {}
    for name, protocol in DEPTH_PROTOCOLS.items():
        task = build_tasks({"depth": protocol.spec})["depth"]
        ranges[name] = (task.spec["unit"], task.spec["max_depth"], task.spec["score_above"], task.spec["score_below"])
        assert depth_protocol(name) is protocol
    assert ranges.pop("disparity") == ("disparity", None, None, None)
    assert ranges.pop("metres") == ("metres", 80, None, None)
    assert set(ranges.values()) == {("disparity", None, 0, 80)}
    sizes = {name: protocol.score_size for name, protocol in DEPTH_PROTOCOLS.items()}
    assert sizes["taskprompter"] == (512, 1024) and sizes["mtmamba_legacy"] == (1024, 2048)
    assert sizes["disparity"] is None and sizes["metres"] is None


def test_encoding_keeps_to_half_a_step() -> None:
    disparity = np.array([[-1.0, 0.0, 0.001, 0.5, 100.123, 255.9, 900.0]])
    stored = encode_disparity(disparity)
    assert stored.dtype == np.uint16 and stored[0, [0, 1, 3, 6]].tolist() == [0, 1, 129, 65535]
    back = decode_disparity(stored, DEPTH_PROTOCOLS["disparity"], "d.png")
    np.testing.assert_allclose(back[0, :6], disparity[0, :6], atol=1 / 512 + 1e-5)


@pytest.mark.parametrize(
    "stored",
    [np.zeros((2, 3), np.uint8), np.zeros((2, 3, 3), np.uint16), np.zeros((2, 3), np.float32), np.full((2, 3), 70000)],
)
def test_other_pictures_are_refused(stored: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"d\.png(.|\n)*disparity_trainvaltest"):
        decode_disparity(stored, DEPTH_PROTOCOLS["disparity"], "d.png")


def test_what_a_protocol_needs() -> None:
    with pytest.raises(DataError, match="class labels none"):
        decode("taskprompter", None)
    with pytest.raises(DataError, match="1x6 pixels, its class labels 2x2"):
        decode("taskprompter", np.zeros((2, 2)))
    with pytest.raises(DataError, match="metres need the camera"):
        decode("metres", focal=None)
    with pytest.raises(ConfigError, match="Did you mean 'taskprompter"):
        depth_protocol("task_prompter")


def test_classes_are_those_of_the_benchmark() -> None:
    assert LABEL_IDS == (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
    assert (len(CLASSES), CLASSES[0], CLASSES[10], CLASSES[18]) == (19, "road", "sky", "bicycle")
    assert [label.id for label in LABELS] == list(range(34))
    table = class_of_label()
    assert table[list(LABEL_IDS)].tolist() == list(range(19))
    assert (table[[0, 3, 9, 10, 29, 30, 255]] == 255).all() and (table[34:255] == -1).all()
    groups = [CATEGORIES[category] for category in category_of_class()]
    assert groups[:3] == ["flat", "flat", "construction"] and groups[10:13] == ["sky", "human", "human"]
    assert groups.count("vehicle") == 6 and groups.count("object") == 3 and groups.count("nature") == 2
    for number in (7, 19):
        assert build_tasks({"semseg": semseg_spec(number)})["semseg"].num_outputs == number
