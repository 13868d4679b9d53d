"""Stored values to the suite's coding."""

from __future__ import annotations

import numpy as np
import pytest

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.label_coding import LabelCoding, edges_from_semseg, parse_axes
from mtdense.tasks import Depth, Task, build_tasks

TASKS = build_tasks(
    {"semseg": {"num_classes": 13}, "human_parts": {}, "saliency": {}, "edges": {}, "depth": {}, "normals": {}}
)


def decode(task: str, stored: object, **options: object) -> np.ndarray:
    return LabelCoding(**options).decode(TASKS[task], np.asarray(stored), "somewhere.png")  # type: ignore[arg-type]


def test_classes() -> None:
    stored = np.array([[0, 3, 255, 12]], np.uint8)
    assert decode("semseg", stored).tolist() == [[0, 3, 255, 12]]
    assert decode("semseg", stored, ignore_values={"semseg": [3]}).tolist() == [[0, 255, 255, 12]]


def test_offset_comes_after_ignored_values() -> None:
    # NYUD's files: 0 is void, 1 to 13 are classes. An unsigned 0 - 1 must not wrap around to 255 by chance.
    label = decode(
        "semseg", np.array([[0, 1, 13, 255]], np.uint8), ignore_values={"semseg": [0]}, label_offset={"semseg": 1}
    )
    assert label.tolist() == [[255, 0, 12, 255]]
    assert label.dtype == np.int64
    with pytest.raises(DataError, match="-1"):
        decode("semseg", np.array([[0]], np.uint8), label_offset={"semseg": 1})


def test_negative_void_of_float_files() -> None:
    assert decode("semseg", [[-1.0, 2.0]], ignore_values={"semseg": [-1]}).tolist() == [[255, 2]]


def test_class_out_of_range_names_file_value_and_mend() -> None:
    with pytest.raises(DataError, match=r"somewhere\.png.*77.*13-class") as caught:
        decode("semseg", np.array([[0, 77]], np.uint8))
    assert caught.value.mend is not None


def test_grey_stored_as_colours_is_fine_but_colours_are_not() -> None:
    grey = np.array([[1, 2]], np.uint8)
    alpha = np.full((1, 2), 255, np.uint8)
    assert decode("semseg", np.stack([grey] * 3, -1)).tolist() == [[1, 2]]
    assert decode("semseg", np.stack([grey, grey, grey, alpha], -1)).tolist() == [[1, 2]]
    assert decode("semseg", np.stack([grey, alpha], -1)).tolist() == [[1, 2]]
    with pytest.raises(DataError, match=r"somewhere\.png.*colours"):
        decode("semseg", np.stack([grey, grey, grey + 1], -1))


def test_binary_maps() -> None:
    stored = np.array([[0, 127, 128, 255]], np.uint8)
    assert decode("saliency", stored).tolist() == [[0, 0, 1, 1]]
    assert decode("edges", stored).tolist() == [[0.0, 0.0, 1.0, 1.0]]
    assert decode("edges", stored, positive_above={"edges": 0}).tolist() == [[0, 1, 1, 1]]
    assert decode("edges", stored, ignore_values={"edges": [128]}).tolist() == [[0, 0, 255, 1]]
    assert decode("saliency", [[0.2, 0.7]]).tolist() == [[0, 1]]
    assert decode("saliency", [[False, True]]).tolist() == [[0, 1]]


def test_zeros_and_ones_are_not_silently_all_negative() -> None:
    with pytest.raises(DataError, match="positive_above"):
        decode("saliency", np.array([[0, 1]], np.uint8))
    assert decode("saliency", np.array([[0, 1]], np.uint8), positive_above={"saliency": 0}).tolist() == [[0, 1]]
    assert decode("saliency", np.zeros((1, 2), np.uint8)).tolist() == [[0, 0]]  # nothing salient is possible


def test_depth() -> None:
    stored = np.array([[0, 1500, 65535]], np.uint16)
    label = decode("depth", stored, depth_scale=1000, depth_invalid_values=[0, 65535])
    assert label.tolist() == [[-1.0, 1.5, -1.0]]
    assert label.dtype == np.float32
    assert decode("depth", [[0.0, 2.5, np.nan, np.inf]]).tolist() == [[-1, 2.5, -1, -1]]
    with pytest.raises(DataError, match="depth_scale"):
        decode("depth", stored)
    with pytest.raises(DataError, match=r"-3"):
        decode("depth", [[-3.0, 1.0]])
    with pytest.raises(ConfigError, match="depth_scale"):
        LabelCoding(depth_scale=0)


def test_a_task_says_itself_how_its_files_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Task, "registered", dict(Task.registered))
    coding = LabelCoding(depth_scale=1000, ignore_values={"reach": [7]})
    for kind, expected in {"values": [[1.5, -1]], "as_is": [[1500, -1]]}.items():
        task = type("Reach", (Depth,), {"name": "reach", "stored_as": kind})()
        assert coding.decode(task, np.array([[1500, 7]], np.uint16), "x.png").tolist() == expected
    with pytest.raises(DataError, match="three channels"):
        coding.decode(type("Reach", (Depth,), {"name": "reach", "stored_as": "vectors"})(), np.zeros((1, 2)), "x.png")


def test_normals_of_any_axes() -> None:
    # The public DrSleep files: (R, G, B) = (+x, +z, -y). A wall seen head on has n = (0, 0, -1).
    vector = np.array([[[0.0, -1.0, 0.0], [0.6, -0.8, 0.0], [0, 0, 0]]])
    label = decode("normals", vector, normals_axes="+x+z-y")
    np.testing.assert_allclose(label[0], [[0, 0, -1], [0.6, 0, -0.8], [0, 0, 0]], atol=1e-6)
    down = decode("normals", np.array([[[0.0, -0.5, 0.75**0.5]]]), normals_axes="+x+z-y")
    np.testing.assert_allclose(down[0, 0], [0, -(0.75**0.5), -0.5], atol=1e-6)


def test_normals_of_pictures() -> None:
    vectors = np.array([[[0, 0, -1], [0.6, 0, -0.8], [0, -0.6, -0.8]]])
    stored = np.rint((vectors + 1) / 2 * 255).astype(np.uint8)
    stored = np.concatenate([stored, [[[0, 0, 0], [127, 128, 127]]]], axis=1).astype(np.uint8)
    label = decode("normals", stored)
    np.testing.assert_allclose(label[0, :3], vectors[0], atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(label[0, :3], axis=-1), 1, atol=1e-6)
    assert not label[0, 3:].any()
    wide = decode("normals", np.rint((vectors + 1) / 2 * 65535).astype(np.uint16))
    np.testing.assert_allclose(wide, vectors, atol=1e-4)


def test_normals_that_cannot_be_right() -> None:
    with pytest.raises(DataError, match="away from the camera"):
        decode("normals", np.tile([0.0, 0.0, 1.0], (4, 4, 1)))
    with pytest.raises(DataError, match="unit vectors"):
        decode("normals", np.tile([0.0, 0.0, -3.0], (4, 4, 1)))
    with pytest.raises(DataError, match="three channels"):
        decode("normals", np.zeros((4, 4)))
    assert not decode("normals", np.zeros((4, 4, 3))).any()


@pytest.mark.parametrize("text", ["", "xyz", "+x+y", "+x+x+z", "+x+y+w", "+x +y +z"])
def test_axes_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="normals_axes"):
        parse_axes(text)


def test_edges_from_semseg() -> None:
    label = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 255]])
    # Each pixel looks right and down; the border looks at itself; what touches 255 is not known.
    assert edges_from_semseg(label).tolist() == [[0, 1, 0], [1, 1, 255], [0, 255, 255]]
