from __future__ import annotations

import numpy as np
import pytest

from mtdense.core.errors import DataError
from mtdense.reports import CanvasGeometry, restore_prediction
from tests.reports.helpers import tasks_of


def place(original, zoom, canvas, padding, flip, fill):
    """Puts a map on a canvas the plain way: repeat each pixel `zoom` times, mirror, pad."""
    content = original.repeat(zoom, axis=0).repeat(zoom, axis=1)
    content = content[:, ::-1] if flip else content
    placed = np.full((*canvas, *original.shape[2:]), fill, original.dtype)
    top, left = padding
    placed[top : top + content.shape[0], left : left + content.shape[1]] = content
    height, width = original.shape[:2]
    geometry = CanvasGeometry((height, width), (top, left, *content.shape[:2]), (0.0, 0.0, height, width), flip)
    return placed, geometry


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("zoom", [1, 2, 3])
def test_class_ids_come_back_exactly(zoom, flip):
    ids = np.random.default_rng(0).integers(0, 3, (5, 7))
    placed, geometry = place(ids, zoom, (20, 26), (2, 3), flip, 1)
    restored = restore_prediction(tasks_of("semseg")["semseg"], placed, geometry)
    assert restored.dtype == ids.dtype
    np.testing.assert_array_equal(restored, ids)


@pytest.mark.parametrize("flip", [False, True])
def test_a_depth_ramp_comes_back_bilinearly(flip):
    # A plane sampled at pixel centres: linear interpolation gives it back on any grid, save at the border.
    def plane(height, width):
        rows, columns = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
        return (2 + rows + 3 * columns).astype(np.float32)

    content = plane(9, 12)
    canvas = np.full((16, 16), 50, np.float32)
    canvas[3:12, 2:14] = content[:, ::-1] if flip else content
    geometry = CanvasGeometry((30, 40), (3, 2, 9, 12), (0.0, 0.0, 30.0, 40.0), flip)
    restored = restore_prediction(tasks_of("depth")["depth"], canvas, geometry)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored[2:-2, 2:-2], plane(30, 40)[2:-2, 2:-2], atol=1e-5)


@pytest.mark.parametrize("flip", [False, True])
def test_normals_come_back_unmirrored_and_of_unit_length(flip):
    normals = np.zeros((4, 6, 3), np.float32)
    normals[:, :3] = [0.6, 0, -0.8]
    normals[:, 3:] = [0, -1, 0]
    placed, _ = place(normals, 1, (8, 8), (1, 1), flip, 0)
    if flip:
        placed[..., 0] *= -1
    geometry = CanvasGeometry((8, 12), (1, 1, 4, 6), (0.0, 0.0, 8.0, 12.0), flip)
    restored = restore_prediction(tasks_of("normals")["normals"], placed, geometry)
    np.testing.assert_allclose(np.linalg.norm(restored, axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(restored[:, 0], np.tile([0.6, 0, -0.8], (8, 1)), atol=1e-6)
    np.testing.assert_allclose(restored[:, -1], np.tile([0, -1, 0], (8, 1)), atol=1e-6)


def test_normals_that_cancel_take_the_nearest():
    opposite = np.zeros((1, 2, 3), np.float32)
    opposite[0, 0, 0], opposite[0, 1, 0] = 1, -1
    geometry = CanvasGeometry((1, 9), (0, 0, 1, 2), (0.0, 0.0, 1.0, 9.0), False)
    restored = restore_prediction(tasks_of("normals")["normals"], opposite, geometry)
    np.testing.assert_allclose(np.abs(restored[0, :, 0]), 1)


def test_what_the_canvas_does_not_show_is_invalid():
    geometry = CanvasGeometry((6, 6), (0, 0, 4, 4), (1.0, 1.0, 4.0, 4.0), False)
    for name, prediction in (
        ("semseg", np.ones((4, 4), np.int64)),
        ("depth", np.ones((4, 4), np.float32)),
        ("saliency", np.ones((4, 4), np.float32)),
    ):
        task = tasks_of(name)[name]
        restored = restore_prediction(task, prediction, geometry)
        np.testing.assert_array_equal(restored[1:5, 1:5], 1)
        assert (restored[0] == task.invalid).all()
        assert (restored[:, 5] == task.invalid).all()


def test_an_all_background_prediction_of_parts_stays_background():
    # As a label, such a map means "no person, no label"; as a prediction it is a prediction.
    geometry = CanvasGeometry((2, 2), (0, 0, 2, 2), (0.0, 0.0, 2.0, 2.0), False)
    restored = restore_prediction(tasks_of("human_parts")["human_parts"], np.zeros((2, 2), np.int64), geometry)
    np.testing.assert_array_equal(restored, 0)


def test_it_undoes_the_joint_transform():
    from mtdense.data.sample import RawImage
    from mtdense.data.transform import JointTransform

    task = tasks_of("semseg")["semseg"]
    blocks = np.random.default_rng(0).integers(0, 3, (9, 14)).repeat(4, axis=0).repeat(4, axis=1)
    raw = RawImage("a", np.zeros((*blocks.shape, 3), np.uint8), {"semseg": blocks})
    for size in [(80, 80), (40, 64), (36, 56)]:
        sample = JointTransform({"semseg": task}, size, train=False)(raw, np.random.default_rng(0))
        meta = {key: [value] for key, value in sample["meta"].items()}
        restored = restore_prediction(task, sample["targets"]["semseg"].numpy(), CanvasGeometry.of(meta, 0))
        # Nearest neighbour may shift the border of a block by a pixel, never its middle.
        inner = np.zeros(blocks.shape, bool).reshape(9, 4, 14, 4)
        inner[:, 1:3, :, 1:3] = True
        inner = inner.reshape(blocks.shape)
        np.testing.assert_array_equal(restored[inner], blocks[inner])
        assert (restored != 255).all()


def test_content_outside_the_canvas_is_refused():
    geometry = CanvasGeometry((4, 4), (0, 0, 5, 4), (0.0, 0.0, 4.0, 4.0), False)
    with pytest.raises(DataError, match="canvas of 4x4"):
        restore_prediction(tasks_of("semseg")["semseg"], np.ones((4, 4), np.int64), geometry)
