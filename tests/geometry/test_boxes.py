"""3-D boxes: frames, corners, projection, mirror, and cameras that follow the image."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest

from mtdense.geometry import camera_matrix, project
from mtdense.geometry.boxes import (
    CORNERS,
    EDGES,
    Boxes3D,
    Frame,
    VehicleCamera,
    amodal_boxes,
    box_corners,
    clip_boxes2d,
    convert_boxes,
    convert_points,
    crop_boxes2d,
    mirror_boxes,
    mirror_boxes2d,
    modal_box,
    project_boxes,
    project_centers,
    resize_boxes2d,
    xywh_from_xyxy,
    xyxy_from_xywh,
)
from mtdense.geometry.quaternions import (
    matrix_from_quaternion,
    normalise,
    quaternion_from_euler,
    rotation_angle,
)

Array = npt.NDArray[np.float64]
FRAMES: tuple[Frame, ...] = ("V", "C", "S")
SIZE = (120, 260)
MATRIX = camera_matrix(200.0, 190.0, 133.3, 55.7)
# One metre left of and 1.5 above the origin of V, looking straight ahead.
LEVEL = VehicleCamera(MATRIX, np.column_stack([np.eye(3), [0.0, -1.0, -1.5]]), SIZE)
TILTED = VehicleCamera(
    MATRIX,
    np.column_stack([matrix_from_quaternion(quaternion_from_euler([0.05, -0.1, 0.2], "ZYX")), [-1.6, -0.13, -1.2]]),
    SIZE,
)


def random_boxes(count: int, seed: int = 0, near: bool = False) -> Boxes3D:
    """Boxes ahead of the cameras; with `near` also around and behind them."""
    rng = np.random.default_rng(seed)
    low = [-6.0, -4.0, 0.0] if near else [25.0, -8.0, 0.0]
    centers = rng.uniform(low, [6.0, 4.0, 2.0] if near else [90.0, 8.0, 2.0], (count, 3))
    return Boxes3D(centers, rng.uniform(0.4, 9.0, (count, 3)), rng.normal(size=(count, 4)))


def assert_same(left: Boxes3D, right: Boxes3D, tolerance: float = 1e-9) -> None:
    assert left.frame == right.frame
    np.testing.assert_allclose(left.centers, right.centers, atol=tolerance)
    np.testing.assert_allclose(left.dimensions, right.dimensions, atol=tolerance)
    assert rotation_angle(left.rotations, right.rotations).max(initial=0) < tolerance


# ---- corners and frames ----------------------------------------------------------------------------------------------
def test_corners_of_a_box_that_looks_ahead() -> None:
    box = Boxes3D([[10, 2, 1]], [[4, 2, 1.5]], [[1, 0, 0, 0]])
    corners = dict(zip(CORNERS, box_corners(box)[0], strict=True))
    np.testing.assert_allclose(corners["BLB"], [8, 3, 0.25])
    np.testing.assert_allclose(corners["FRT"], [12, 1, 1.75])
    # Half a radian to the left: the front goes left.
    turned = Boxes3D(box.centers, box.dimensions, [[math.cos(0.25), 0, 0, math.sin(0.25)]])
    front_right = dict(zip(CORNERS, box_corners(turned)[0], strict=True))["FRT"]
    c, s = math.cos(0.5), math.sin(0.5)
    np.testing.assert_allclose(front_right, [10 + 2 * c + 1 * s, 2 + 2 * s - 1 * c, 1.75])
    lengths = np.linalg.norm(np.diff(box_corners(box)[0][EDGES], axis=1)[:, 0], axis=-1)
    assert sorted(lengths) == pytest.approx([1.5] * 4 + [2] * 4 + [4] * 4)


def test_the_sensor_looks_along_z() -> None:
    box = convert_boxes(Boxes3D([[10, 2, 1]], [[4, 2, 1.5]], [[1, 0, 0, 0]]), "S", LEVEL)
    np.testing.assert_allclose(box.centers, [[-1, 0.5, 10]], atol=1e-12)  # 1 m left of it, 0.5 below
    np.testing.assert_allclose(box.rotations, [[1, 0, 0, 0]], atol=1e-12)
    # Length along z, width along x, height along y.
    np.testing.assert_allclose(np.ptp(box_corners(box)[0], axis=0), [2, 1.5, 4])
    # A left turn (about z up) is a negative turn about y, which points down.
    left = Boxes3D([[10, 2, 1]], [[4, 2, 1.5]], [[math.cos(0.25), 0, 0, math.sin(0.25)]])
    np.testing.assert_allclose(
        convert_boxes(left, "S", LEVEL).rotations, [[math.cos(0.25), 0, -math.sin(0.25), 0]], atol=1e-12
    )


@pytest.mark.parametrize(("source", "target"), list(itertools.product(FRAMES, FRAMES)))
def test_frames_and_back(source: Frame, target: Frame) -> None:
    boxes = convert_boxes(random_boxes(40), source, TILTED)
    moved = convert_boxes(boxes, target, TILTED)
    assert moved.frame == target
    assert_same(convert_boxes(moved, source, TILTED), boxes)
    # A box's corners are moved as points are: its rotation and its axes agree in every frame.
    np.testing.assert_allclose(
        box_corners(moved), convert_points(box_corners(boxes), source, target, TILTED), atol=1e-9
    )
    np.testing.assert_allclose(
        convert_points(convert_points(boxes.centers, source, target, TILTED), target, source, TILTED),
        boxes.centers,
        atol=1e-9,
    )


def test_a_rotation_in_decimals_is_inverted_to_the_last_digit() -> None:
    rounded = VehicleCamera(MATRIX, np.round(TILTED.camera_from_vehicle, 7), SIZE)
    boxes = random_boxes(40)
    for frame in FRAMES:
        assert_same(convert_boxes(convert_boxes(boxes, frame, rounded), "V", rounded), boxes)


# ---- projection ------------------------------------------------------------------------------------------------------
def test_projection_worked_out_by_hand() -> None:
    box = Boxes3D([[10, 2, 1]], [[4, 2, 1.5]], [[1, 0, 0, 0]])
    # In S: x from -2 to 0, y from -0.25 to 1.25, z from 8 to 12.
    near, far = 8.0, 12.0
    expected = [133.3 - 200 * 2 / near, 55.7 - 190 * 0.25 / near, 133.3 + 0 / far, 55.7 + 190 * 1.25 / near]
    np.testing.assert_allclose(project_boxes(box, LEVEL), [expected])
    np.testing.assert_allclose(amodal_boxes(box, LEVEL), [expected])
    pixels, depth = project_centers(box, LEVEL)
    np.testing.assert_allclose(pixels, [[133.3 - 200 * 1 / 10, 55.7 + 190 * 0.5 / 10]])
    np.testing.assert_allclose(depth, [10])


def faces_clipped(box: Boxes3D, camera: VehicleCamera) -> Array:
    """The evaluation's way: each face is cut as a polygon, and what is left of it projected."""
    corners = convert_points(box_corners(box)[0], box.frame, "S", camera)
    names = dict(zip(CORNERS, corners, strict=True))
    faces = (
        ("BLB", "BRB", "FRB", "FLB"),
        ("BLT", "BRT", "FRT", "FLT"),
        ("BLB", "BRB", "BRT", "BLT"),
        ("FLB", "FRB", "FRT", "FLT"),
        ("BLB", "FLB", "FLT", "BLT"),
        ("BRB", "FRB", "FRT", "BRT"),
    )
    left = []
    for face in faces:
        for a, b in itertools.pairwise((*face, face[0])):
            start, end = names[a], names[b]
            if start[2] > 0.01:
                left.append(start)
            if (start[2] > 0.01) != (end[2] > 0.01):
                share = (0.01 - start[2]) / (end[2] - start[2])
                left.append((1 - share) * start + share * end)
    if not left:
        return np.full(4, np.nan)
    pixels = project(np.array(left), camera.matrix)
    return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])


def test_boxes_around_the_camera_are_cut() -> None:
    boxes = random_boxes(150, near=True)
    depths = convert_points(box_corners(boxes), "V", "S", TILTED)[..., 2]
    through, behind = (depths > 0.01).any(1) & (depths <= 0.01).any(1), (depths <= 0.01).all(1)
    assert through.sum() > 30 and behind.sum() > 10  # the case that matters is there
    expected = np.array([faces_clipped(boxes[i : i + 1], TILTED) for i in range(len(boxes))])
    np.testing.assert_allclose(project_boxes(boxes, TILTED), expected, rtol=1e-9, atol=1e-6)
    assert np.isnan(project_boxes(boxes, TILTED)[behind]).all()
    amodal = amodal_boxes(boxes, TILTED)
    assert not amodal[behind].any()
    assert (amodal >= 0).all() and (amodal <= [259, 119, 259, 119]).all()
    pixels, depth = project_centers(boxes, TILTED)
    np.testing.assert_array_equal(np.isnan(pixels).any(axis=1), depth <= 0)


def test_no_boxes() -> None:
    none = Boxes3D([], [], [])
    assert len(none) == 0
    for frame in FRAMES:
        moved = mirror_boxes(convert_boxes(none, frame, TILTED))
        assert box_corners(moved).shape == (0, 8, 3)
        assert project_boxes(moved, TILTED).shape == amodal_boxes(moved, TILTED).shape == (0, 4)
        assert project_centers(moved, TILTED)[0].shape == (0, 2)


def test_modal_box_goes_around_what_is_seen() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    assert modal_box(mask) is None
    mask[4, 7] = mask[9, 12] = True
    box = modal_box(mask)
    assert box is not None and box.tolist() == [7, 4, 12, 9]
    assert xywh_from_xyxy(box).tolist() == [7, 4, 5, 5]
    mirrored = modal_box(mask[:, ::-1])
    assert mirrored is not None and mirrored.tolist() == mirror_boxes2d(box, 30).tolist()


# ---- image operations ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("frame", FRAMES)
def test_mirror(frame: Frame) -> None:
    boxes, mirrored_camera = convert_boxes(random_boxes(60), frame, TILTED), TILTED.mirrored()
    mirrored = mirror_boxes(boxes)
    assert_same(mirror_boxes(mirrored), boxes, 1e-12)
    back = mirrored_camera.mirrored()
    np.testing.assert_allclose(back.matrix, TILTED.matrix, atol=1e-12)
    np.testing.assert_allclose(back.camera_from_vehicle, TILTED.camera_from_vehicle, atol=1e-12)
    # Left corners become right ones, at the mirrored places.
    swap = [CORNERS.index(name.translate(str.maketrans("LR", "RL"))) for name in CORNERS]
    sign = [-1, 1, 1] if frame == "S" else [1, -1, 1]
    np.testing.assert_allclose(box_corners(mirrored), box_corners(boxes)[:, swap] * sign, atol=1e-9)
    # Pictures: the mirrored box in the mirrored camera gives the mirrored 2-D box, cut at the border or not.
    for of in (project_boxes, amodal_boxes):
        expected = mirror_boxes2d(of(boxes, TILTED), SIZE[1])
        np.testing.assert_allclose(of(mirrored, mirrored_camera), expected, atol=1e-9)
    assert not np.allclose(project_boxes(boxes, TILTED), project_boxes(mirrored, mirrored_camera), atol=1)
    # Frames: mirrored and converted is converted and mirrored.
    for other in FRAMES:
        assert_same(convert_boxes(mirrored, other, mirrored_camera), mirror_boxes(convert_boxes(boxes, other, TILTED)))


def test_boxes_near_the_camera_mirror_as_well() -> None:
    boxes = random_boxes(80, 3, near=True)
    seen = ~np.isnan(project_boxes(boxes, TILTED)[:, 0])
    found = amodal_boxes(mirror_boxes(boxes), TILTED.mirrored())
    np.testing.assert_allclose(found[seen], mirror_boxes2d(amodal_boxes(boxes, TILTED), SIZE[1])[seen], atol=1e-6)
    assert not found[~seen].any() and (~seen).any()


def test_resize_and_crop_move_the_camera_and_leave_the_boxes() -> None:
    boxes = random_boxes(30)
    around = project_boxes(boxes, TILTED)
    half = TILTED.resized(60, 195)
    assert half.size == (60, 195)
    np.testing.assert_allclose(project_boxes(boxes, half), resize_boxes2d(around, 0.75, 0.5), atol=1e-9)
    part = TILTED.cropped(10, -20, 90, 200)
    assert part.size == (90, 200)
    np.testing.assert_allclose(project_boxes(boxes, part), crop_boxes2d(around, 10, -20), atol=1e-9)
    np.testing.assert_allclose(amodal_boxes(boxes, part), clip_boxes2d(crop_boxes2d(around, 10, -20), (90, 200)))
    np.testing.assert_allclose(resize_boxes2d([-0.5, -0.5, 259.5, 119.5], 0.75, 0.5), [-0.5, -0.5, 194.5, 59.5])


def test_2d_boxes() -> None:
    boxes = np.array([[602.0, 415, 214, 118], [0, 0, 0, 0]])
    np.testing.assert_array_equal(xyxy_from_xywh(boxes)[0], [602, 415, 816, 533])
    np.testing.assert_array_equal(xywh_from_xyxy(xyxy_from_xywh(boxes)), boxes)
    corners = xyxy_from_xywh(boxes)
    np.testing.assert_array_equal(mirror_boxes2d(corners, 2048)[0], [2047 - 816, 415, 2047 - 602, 533])
    np.testing.assert_array_equal(mirror_boxes2d(mirror_boxes2d(corners, 2048), 2048), corners)
    np.testing.assert_array_equal(clip_boxes2d([-5, 3, 4000, 2000], (1024, 2048)), [0, 3, 2047, 1023])


# ---- what is no box --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"centers": [[1, 2]]}, r"centers of boxes must be finite numbers of shape \(N, 3\)"),
        ({"centers": [1, 2, 3]}, "centers"),
        ({"centers": [[np.nan, 0, 0]]}, "centers"),
        ({"centers": np.zeros((2, 3))}, "2 centers, 1 dimensions and 1 rotations"),
        ({"dimensions": [[1, 0, 1]]}, "above 0"),
        ({"rotations": [[0, 0, 0, 0]]}, "no rotation"),
        ({"rotations": [[1, 0, 0]]}, r"\(N, 4\)"),
        ({"frame": "K"}, "unknown frame 'K'"),
    ],
)
def test_what_is_no_box_is_refused(change: dict[str, npt.ArrayLike], message: str) -> None:
    good = {"centers": [[1, 2, 3]], "dimensions": [[1, 1, 1]], "rotations": [[2, 0, 0, 0]]}
    assert Boxes3D(**good).rotations.tolist() == [[1, 0, 0, 0]]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        Boxes3D(**{**good, **change})  # type: ignore[arg-type]


def test_what_is_no_camera_is_refused() -> None:
    with pytest.raises(ValueError, match="no rotation"):
        VehicleCamera(MATRIX, np.column_stack([np.diag([1.0, -1, 1]), np.zeros(3)]), SIZE)
    with pytest.raises(ValueError, match="camera_from_vehicle must be 3x4"):
        VehicleCamera(MATRIX, np.eye(4), SIZE)
    with pytest.raises(ValueError, match="matrix must be 3x3"):
        VehicleCamera(np.full((3, 3), np.nan), np.eye(3, 4), SIZE)


def test_some_of_the_boxes() -> None:
    boxes = random_boxes(5)
    assert_same(boxes[np.array([False, True, False, True, False])], boxes[np.array([1, 3])])
    assert len(boxes[2:]) == 3
    np.testing.assert_allclose(boxes[:1].rotations, normalise(boxes.rotations[:1]))
