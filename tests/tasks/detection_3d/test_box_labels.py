"""3-D boxes as a kind of label: checks, geometry by hand, targets, pictures, and where a network would be needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdense.core.errors import ConfigError, DataError
from mtdense.data import collate
from mtdense.data.sample import RawImage
from mtdense.data.transform import Geometry, JointTransform
from mtdense.geometry import camera_matrix
from mtdense.geometry.boxes import Boxes3D, VehicleCamera, amodal_boxes, box_corners, convert_points
from mtdense.geometry.cameras import project
from mtdense.tasks import BoxLabels, LabelKind, Task, build_label_kinds, build_tasks, label_names, task_names
from mtdense.tasks.detection_3d import BoxLabel, CanvasBoxes

KIND = BoxLabels()
MOUNT = np.array([[1.0, 0.0, 0.0, -1.5], [0.0, 1.0, 0.0, 0.25], [0.0, 0.0, 1.0, -1.25]])
CAMERA = VehicleCamera(camera_matrix(100.0, 100.0, 99.5, 49.5), MOUNT, (100, 200))
# Ahead and to the left, looking ahead; to the right, turned by 90 degrees to the left.
BOXES = Boxes3D(
    np.array([[21.5, 3.75, 0.75], [11.5, -2.25, 1.25]]),
    np.array([[4.0, 2.0, 1.5], [6.0, 2.0, 2.5]]),
    np.array([[1.0, 0.0, 0.0, 0.0], [np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)]]),
)


def label(**changes: Any) -> BoxLabel:
    amodal = amodal_boxes(BOXES, CAMERA)
    whole = BoxLabel(
        CAMERA,
        BOXES,
        np.array([0, 2]),
        amodal,
        amodal + np.array([1.0, 1.0, -1.0, -1.0]),
        np.array([0.1, -1.0]),
        np.array([0.0, -1.0]),
        np.array([26001, 28000]),
        np.array([[10.0, 20.0, 29.0, 39.0]]),
        np.array([26]),
    )
    return replace(whole, **changes)


def none() -> BoxLabel:
    return label().select(np.zeros(2, bool), np.zeros(1, bool))


def transformed(found: BoxLabel | None, size: tuple[int, int] = (100, 200), **options: Any) -> Any:
    train = bool(options)
    transform = JointTransform({"detection_3d": KIND}, size, train=train, resize=options.pop("resize", None), **options)
    labels = {} if found is None else {"detection_3d": found.table()}
    return transform(RawImage("a", np.zeros((100, 200, 3), np.uint8), labels, CAMERA.matrix), np.random.default_rng(0))


# ---- the table -------------------------------------------------------------------------------------------------------
def test_a_table_says_all() -> None:
    table = label().table()
    assert table.shape == (4, 24) and table.dtype == np.float64
    again = BoxLabel.from_table(KIND.check_label(table, "here"))
    assert again.table().tobytes() == table.tobytes()
    assert again.camera.size == (100, 200) and len(again) == 2 and again.classes.tolist() == [0, 2]
    np.testing.assert_array_equal(again.camera.camera_from_vehicle, MOUNT)
    np.testing.assert_array_equal(again.ignored, [[10, 20, 29, 39]])
    assert KIND.label_size(table) == (100, 200)
    assert len(BoxLabel.from_table(KIND.check_label(none().table(), "here"))) == 0


FAULTS: list[tuple[tuple[int, int], float, str]] = [
    ((0, 0), 1.0, "do not begin with a camera"),
    ((0, 1), 0.0, "do not begin with a camera"),
    ((0, 3), 0.0, "focal lengths 0.0"),
    ((0, 7), -1.0, "focal lengths 100.0 and -1.0"),
    ((0, 12), 2.0, "camera makes no sense"),
    ((1, 0), 3.0, "row 1 of its 3-D boxes is neither"),
    ((2, 1), 6.0, "row 2 of its 3-D boxes has a class that is none of 0..5"),
    ((2, 1), 0.5, "row 2 of its 3-D boxes has a class"),
    ((1, 3), np.inf, "row 1 of its 3-D boxes holds inf"),
    ((1, 6), 0.0, "row 1 of its 3-D boxes has a length, width or height"),
    ((2, 8), np.nan, "row 2 of its 3-D boxes holds nan"),
    ((2, 8), 0.0, "row 2 of its 3-D boxes has a rotation of a length other than 1"),
    ((1, 14), 0.0, "amodal box of negative size"),
    ((1, 19), 0.0, "modal box of negative size"),
    ((1, 20), 1.5, "occlusion or truncation"),
    ((3, 4), 0.0, "row 3 of its 3-D boxes is a region of negative size"),
]


@pytest.mark.parametrize(("place", "value", "told"), FAULTS)
def test_what_makes_no_sense_is_refused(place: tuple[int, int], value: float, told: str) -> None:
    table = label().table()
    table[place] = value
    with pytest.raises(DataError, match="here: ") as caught:
        KIND.check_label(table, "here")
    assert told in caught.value.problem


@pytest.mark.parametrize("table", [np.zeros((0, 24)), np.zeros((2, 23)), np.zeros(24), np.zeros((1, 24), np.int64)])
def test_other_shapes_are_refused(table: np.ndarray) -> None:
    with pytest.raises(DataError, match="must be a table of 24 columns"):
        KIND.check_label(table, "here")


# ---- geometry by hand ------------------------------------------------------------------------------------------------
def test_the_target_is_in_the_sensors_frame() -> None:
    target = transformed(label())["targets"]["detection_3d"]
    assert isinstance(target, CanvasBoxes) and target.table.dtype == torch.float32 and target.size == (100, 200)
    # C: (20, 4, -0.5) and (10, -2, 0); S has x to the right, y down, z ahead.
    np.testing.assert_allclose(target.centers, [[-4.0, 0.5, 20.0], [2.0, 0.0, 10.0]], atol=1e-6)
    np.testing.assert_array_equal(target.dimensions, [[4, 2, 1.5], [6, 2, 2.5]])
    # A turn to the left is one about the upward axis, which is -y.
    np.testing.assert_allclose(target.rotations, [[1, 0, 0, 0], [0.5**0.5, 0, -(0.5**0.5), 0]], atol=1e-7)
    np.testing.assert_array_equal(target.camera, CAMERA.matrix)
    np.testing.assert_array_equal(target.camera_from_vehicle, MOUNT)
    assert target.classes.tolist() == [0, 2] and target.classes.dtype == torch.int64
    assert target.instances.tolist() == [26001, 28000]
    assert target.occlusion.tolist() == [pytest.approx(0.1), -1] and target.truncation.tolist() == [0, -1]
    np.testing.assert_array_equal(target.ignored, [[10, 20, 29, 39]])


def test_a_mirror_turns_boxes_and_camera() -> None:
    sample = transformed(label(), flip_probability=1.0)
    target = sample["targets"]["detection_3d"]
    np.testing.assert_allclose(target.centers, [[4.0, 0.5, 20.0], [-2.0, 0.0, 10.0]], atol=1e-6)
    np.testing.assert_allclose(target.rotations, [[1, 0, 0, 0], [0.5**0.5, 0, 0.5**0.5, 0]], atol=1e-7)
    np.testing.assert_array_equal(target.camera, [[100, 0, 99.5], [0, 100, 49.5], [0, 0, 1]])
    np.testing.assert_array_equal(target.camera, sample["meta"]["camera"])
    np.testing.assert_array_equal(target.camera_from_vehicle[:, 3], [-1.5, -0.25, -1.25])
    # Column c has become 199 - c.
    np.testing.assert_array_equal(target.ignored, [[170, 20, 189, 39]])
    before = label()
    np.testing.assert_allclose(target.modal[:, [0, 2]], 199 - before.modal[:, [2, 0]], atol=1e-4)
    np.testing.assert_allclose(target.modal[:, [1, 3]], before.modal[:, [1, 3]], atol=1e-4)


def test_a_zoom_moves_pixels_and_no_metres() -> None:
    sample = transformed(label(), (200, 400), scale_choices=[2.0])
    target = sample["targets"]["detection_3d"]
    np.testing.assert_allclose(target.centers, [[-4.0, 0.5, 20.0], [2.0, 0.0, 10.0]], atol=1e-6)
    np.testing.assert_array_equal(target.dimensions, [[4, 2, 1.5], [6, 2, 2.5]])
    # Pixels end half a pixel from their middles: 99.5 becomes 2 * 100 - 0.5.
    np.testing.assert_array_equal(target.camera, [[200, 0, 199.5], [0, 200, 99.5], [0, 0, 1]])
    np.testing.assert_array_equal(target.camera, sample["meta"]["camera"])
    np.testing.assert_array_equal(target.ignored, [[20.5, 40.5, 58.5, 78.5]])


def test_padding_moves_pixels_alone() -> None:
    sample = transformed(label(), (120, 210))
    target, before = sample["targets"]["detection_3d"], transformed(label())["targets"]["detection_3d"]
    assert sample["meta"]["content"].tolist() == [10, 5, 100, 200]
    np.testing.assert_array_equal(target.camera, [[100, 0, 104.5], [0, 100, 59.5], [0, 0, 1]])
    np.testing.assert_array_equal(target.centers, before.centers)
    np.testing.assert_allclose(target.amodal, before.amodal + torch.tensor([5.0, 10, 5, 10]), atol=1e-4)
    np.testing.assert_array_equal(target.ignored, [[15, 30, 34, 49]])
    assert target.size == (120, 210)


def test_what_is_cut_away_is_gone() -> None:
    """Columns 88 to 137: the vehicle on the left and the region are gone, the other ends at the border."""
    before = label()
    assert before.modal[0, 2] < 87.5 < before.modal[1, 0] < 137 < before.modal[1, 2]
    geometry = Geometry((100, 200), (100, 200), (0, 88, 100, 50), (100, 50))
    after = BoxLabel.from_table(KIND.place_label(before.table(), geometry, 1.0))
    assert after.classes.tolist() == [2] and not len(after.ignored) and len(after.ignored_instances) == 0
    np.testing.assert_allclose(after.modal, [[before.modal[1, 0] - 88, before.modal[1, 1], 49, before.modal[1, 3]]])
    np.testing.assert_array_equal(after.boxes.centers, before.boxes.centers[1:])
    assert after.camera.matrix[0, 2] == 11.5


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(60, 300), st.integers(60, 300)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_boxes_stay_on_their_pixels(
    scaled: tuple[int, int], corner: tuple[float, float], flip: bool, seed: int
) -> None:
    """A corner of a box is seen at the pixel to which the transform moved the pixel where it was seen."""
    rng = np.random.default_rng(seed)
    turn = rng.normal(size=(2, 4))
    found = label(boxes=Boxes3D(BOXES.centers, BOXES.dimensions, turn))
    crop = (int(corner[0] * (scaled[0] - 50)), int(corner[1] * (scaled[1] - 50)), 50, 50)
    geometry = Geometry((100, 200), scaled, crop, (64, 70), flip)
    moved = found.select(np.ones(2, bool), np.ones(1, bool)).resized(*scaled).camera.cropped(*crop)
    if flip:
        moved = moved.mirrored()
    after = BoxLabel.from_table(KIND.place_label(found.table(), geometry, 1.0))
    kept = np.isin(found.instances, after.instances)

    def seen(boxes: Boxes3D, camera: VehicleCamera) -> np.ndarray:
        return project(convert_points(box_corners(boxes), "V", "S", camera), camera.matrix)

    pixels = (seen(found.boxes, found.camera)[kept] + 0.5) * [scaled[1] / 200, scaled[0] / 100] - 0.5
    pixels -= [crop[1], crop[0]]
    if flip:
        pixels[..., 0] = 49 - pixels[..., 0]
        pixels = pixels[:, [1, 0, 3, 2, 5, 4, 7, 6]]  # left corners are right ones now
    np.testing.assert_allclose(seen(after.boxes, after.camera), pixels + np.array([10, 7]), atol=1e-6)
    np.testing.assert_allclose(after.camera.matrix[:2, 2], moved.matrix[:2, 2] + np.array([10, 7]))
    np.testing.assert_allclose(after.camera.matrix, geometry.camera(CAMERA.matrix))


# ---- batches ---------------------------------------------------------------------------------------------------------
def test_no_boxes_is_not_no_label() -> None:
    samples = [transformed(found) for found in (label(), none(), None)]
    batch = collate(samples)
    targets = batch["targets"]["detection_3d"]
    assert isinstance(targets, list) and [len(target.classes) for target in targets] == [2, 0, 0]
    assert batch["labelled"]["detection_3d"].tolist() == [True, True, False]
    assert targets[1].camera[0, 0] == 100 and targets[1].centers.shape == (0, 3) and targets[1].ignored.shape == (0, 4)
    assert not targets[2].camera.any() and targets[2].size == (100, 200)


def test_an_unlabelled_image_keeps_its_targets_secret() -> None:
    shown = transformed(None, flip_probability=1.0)["targets"]["detection_3d"]
    assert shown.table[0, 3:].abs().sum() == 0 and len(shown.table) == 1


def test_labels_of_another_size_are_refused() -> None:
    small = label(camera=CAMERA.resized(50, 100))
    with pytest.raises(DataError, match="100x200 pixels but its detection_3d label 50x100"):
        transformed(small)


# ---- pictures --------------------------------------------------------------------------------------------------------
def test_boxes_are_drawn_where_they_are() -> None:
    picture = KIND.draw_over(np.full((100, 200, 3), 200, np.uint8), label().table())
    assert picture.shape == (100, 200, 3) and picture.dtype == np.uint8
    drawn = (picture.astype(int) - picture[0, 0]).any(axis=-1)
    x1, y1, x2, y2 = amodal_boxes(BOXES, CAMERA)[1].round().astype(int)
    assert drawn[y1 : y2 + 1, x1 : x2 + 1].any() and drawn[20, 10:30].all()
    outside = drawn.copy()
    for box in [*amodal_boxes(BOXES, CAMERA), label().ignored[0]]:
        left, top, right, bottom = (np.floor(box[:2]) - 1).tolist() + (np.ceil(box[2:]) + 2).tolist()
        outside[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = False
    assert not outside.any()
    plain = KIND.draw_over(np.full((100, 200, 3), 200, np.uint8), none().table())
    assert (plain == plain[0, 0]).all()


def test_boxes_across_the_camera_can_be_drawn() -> None:
    around = Boxes3D(np.array([[1.0, 0.0, 1.0], [-30.0, 0.0, 1.0]]), BOXES.dimensions, BOXES.rotations)
    picture = KIND.draw_over(np.zeros((100, 200, 3), np.uint8), label(boxes=around).table())
    assert picture.any()


# ---- the network side ------------------------------------------------------------------------------------------------
def test_specification() -> None:
    assert KIND.spec == {"class_names": ["car", "truck", "bus", "train", "motorcycle", "bicycle"]}
    assert BoxLabels(**KIND.spec) == KIND and KIND.meaning == KIND.spec and not KIND.trained
    with pytest.raises(ConfigError, match="class_names"):
        BoxLabels(class_names=[])


@pytest.fixture
def label_side_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network side is registered, whether there is one or not."""
    monkeypatch.setattr(LabelKind, "registered", {**LabelKind.registered, "detection_3d": BoxLabels})


@pytest.mark.usefixtures("label_side_alone")
def test_a_model_asked_for_it_says_that_there_is_none() -> None:
    assert "detection_3d" in label_names() and "detection_3d" not in task_names()
    assert build_label_kinds({"detection_3d": None}) == {"detection_3d": KIND}
    with pytest.raises(ConfigError, match="no network is there that learns it") as caught:
        build_tasks({"semseg": {"num_classes": 3}, "detection_3d": {}})
    assert "data.tasks" in (caught.value.mend or "")


@pytest.mark.usefixtures("label_side_alone")
def test_a_task_may_complete_a_label_side_and_nothing_else() -> None:
    class Whole(BoxLabels, Task):
        name = "detection_3d"

    assert LabelKind.registered["detection_3d"] is Whole and Whole.trained
    with pytest.raises(ConfigError, match="Give each task a name of its own"):
        type("Other", (BoxLabels,), {"name": "detection_3d", "__module__": "elsewhere"})
