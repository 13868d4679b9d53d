"""3-D boxes of vehicles: frames, corners, projection, and what image operations do to them.

Three frames, all right-handed, in metres:

* **V**, the vehicle by ISO 8855: x forward, y left, z up; its origin lies on the ground below the rear axle.
* **C**, the camera's position with axes such as those of V (turned as the camera is).
* **S**, the sensor: origin as C, x right, y down, z forward, as in `cameras`.

A box has a centre (its middle, not that of its bottom), a length, width and height along its own x, y and z, and a
rotation that turns its axes to those of the frame. In S its own axes are turned along, so that a box of rotation
1 looks forward there too: its length lies along z, its width along x, its height along y.

Image coordinates are those of `cameras`: pixel centres at whole numbers. 2-D boxes are corners (x1, y1, x2, y2), where
x2 and y2 are the last that belong to the box; files have (x, y, w, h) with w = x2 - x1.

Scaling and cutting an image move the intrinsics and leave boxes in space where they are.

* Gählert et al. Cityscapes 3D: Dataset and Benchmark for 9 DoF Vehicle Detection. CVPR Workshops 2020.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from mtdense.geometry.cameras import crop_camera, flip_camera, project, resize_camera
from mtdense.geometry.quaternions import (
    inverse,
    matrix_from_quaternion,
    multiply,
    normalise,
    quaternion_from_matrix,
)

__all__ = [
    "AXES_S_FROM_C",
    "CORNERS",
    "EDGES",
    "NEAR",
    "Boxes3D",
    "Frame",
    "VehicleCamera",
    "amodal_boxes",
    "box_corners",
    "clip_boxes2d",
    "convert_boxes",
    "convert_points",
    "crop_boxes2d",
    "mirror_boxes",
    "mirror_boxes2d",
    "modal_box",
    "project_boxes",
    "project_centers",
    "resize_boxes2d",
    "xywh_from_xyxy",
    "xyxy_from_xywh",
]

Array = npt.NDArray[np.float64]
Frame = Literal["V", "C", "S"]
"""Vehicle, camera, sensor; see above."""

AXES_S_FROM_C: Array = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""(3, 3) takes a vector in the axes of C to those of S."""

CORNERS = ("BLB", "BRB", "FRB", "FLB", "BLT", "BRT", "FRT", "FLT")
"""Names of the corners in their order: back or front, left or right, bottom or top."""

EDGES: npt.NDArray[np.int64] = np.array(
    [[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]]
)
"""(12, 2) corners at the ends of each edge."""

NEAR = 0.01
"""Metres in front of the camera at which boxes are cut off before they are projected, as the evaluation does."""

_SIGNS = np.array([[1.0 if name[0] == "F" else -1.0, 1.0 if name[1] == "L" else -1.0, 1.0 if name[2] == "T" else -1.0]
                   for name in CORNERS])  # fmt: skip
_Q_S_FROM_C = quaternion_from_matrix(AXES_S_FROM_C)
_MIRROR_V = np.diag([1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Boxes3D:
    """Boxes in space; there may be none.

    Args:
        centers: (N, 3) middles in metres.
        dimensions: (N, 3) length, width and height in metres.
        rotations: (N, 4) quaternions w, x, y, z; they are brought to length 1.
        frame: In which centres and rotations are given.

    Raises:
        ValueError: Shapes that do not fit, or numbers that are no box.
    """

    centers: Array
    dimensions: Array
    rotations: Array
    frame: Frame = "V"

    def __post_init__(self) -> None:
        for name, columns in (("centers", 3), ("dimensions", 3), ("rotations", 4)):
            rows = np.asarray(getattr(self, name), dtype=np.float64)
            rows = rows.reshape(0, columns) if rows.size == 0 else rows
            if rows.ndim != 2 or rows.shape[1] != columns or not np.isfinite(rows).all():
                raise ValueError(f"{name} of boxes must be finite numbers of shape (N, {columns})")
            object.__setattr__(self, name, rows)
        object.__setattr__(self, "rotations", normalise(self.rotations))
        if not len(self.centers) == len(self.dimensions) == len(self.rotations):
            raise ValueError(
                f"{len(self.centers)} centers, {len(self.dimensions)} dimensions and {len(self.rotations)} rotations"
            )
        if (self.dimensions <= 0).any():
            raise ValueError("length, width and height of boxes must be above 0")
        if self.frame not in ("V", "C", "S"):
            raise ValueError(f"unknown frame {self.frame!r}: V, C or S")

    def __len__(self) -> int:
        return len(self.centers)

    def __getitem__(self, index: slice | npt.NDArray[np.bool_] | npt.NDArray[np.integer]) -> Boxes3D:
        """Some of the boxes."""
        return Boxes3D(self.centers[index], self.dimensions[index], self.rotations[index], self.frame)


@dataclass(frozen=True, eq=False)
class VehicleCamera:
    """A camera in a vehicle.

    Args:
        matrix: (3, 3) intrinsics in pixels.
        camera_from_vehicle: (3, 4) takes points of V to C: a rotation, and a translation in metres
            (`sensor_T_ISO_8855` in the files of Cityscapes 3D).
        size: Height and width of the image in pixels.

    Raises:
        ValueError: Wrong shapes, or the left part is no rotation.
    """

    matrix: Array
    camera_from_vehicle: Array
    size: tuple[int, int]

    def __post_init__(self) -> None:
        for name, shape in (("matrix", (3, 3)), ("camera_from_vehicle", (3, 4))):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.shape != shape or not np.isfinite(value).all():
                raise ValueError(f"{name} must be {shape[0]}x{shape[1]} finite numbers")
            object.__setattr__(self, name, value)
        quaternion_from_matrix(self.camera_from_vehicle[:, :3])

    def resized(self, height: int, width: int) -> Self:
        """The camera of the image scaled to a size."""
        matrix = resize_camera(self.matrix, width / self.size[1], height / self.size[0])
        return replace(self, matrix=matrix, size=(height, width))

    def cropped(self, top: int, left: int, height: int, width: int) -> Self:
        """The camera of a part of the image; negative numbers and larger sizes pad it."""
        return replace(self, matrix=crop_camera(self.matrix, top, left), size=(height, width))

    def mirrored(self) -> Self:
        """The camera of the image mirrored left to right, in the vehicle that is mirrored as well.

        Use it together with `mirror_boxes`.
        """
        rotation, translation = self.camera_from_vehicle[:, :3], self.camera_from_vehicle[:, 3]
        moved = np.column_stack([_MIRROR_V @ rotation @ _MIRROR_V, _MIRROR_V @ translation])
        return replace(self, matrix=flip_camera(self.matrix, self.size[1]), camera_from_vehicle=moved)


def convert_points(points: npt.ArrayLike, source: Frame, target: Frame, camera: VehicleCamera) -> Array:
    """Points (..., 3) of one frame in another."""
    moved = np.asarray(points, dtype=np.float64)
    if source == target:
        return moved.copy()
    rotation, translation = camera.camera_from_vehicle[:, :3], camera.camera_from_vehicle[:, 3]
    if source == "S":
        moved = moved @ AXES_S_FROM_C
    elif source == "V":
        moved = moved @ rotation.T + translation
    if target == "S":
        moved = moved @ AXES_S_FROM_C.T
    elif target == "V":
        # Files give the rotation in decimals: its transpose would not be its inverse to the last digit.
        moved = (moved - translation) @ np.linalg.inv(rotation).T
    return np.asarray(moved)


def convert_boxes(boxes: Boxes3D, frame: Frame, camera: VehicleCamera) -> Boxes3D:
    """Boxes in another frame; dimensions stay those along the box's own axes."""
    rotations = boxes.rotations
    if frame != boxes.frame:
        mounted = quaternion_from_matrix(camera.camera_from_vehicle[:, :3])
        if boxes.frame == "S":
            rotations = multiply(multiply(inverse(_Q_S_FROM_C), rotations), _Q_S_FROM_C)
        elif boxes.frame == "V":
            rotations = multiply(mounted, rotations)
        if frame == "S":
            rotations = multiply(multiply(_Q_S_FROM_C, rotations), inverse(_Q_S_FROM_C))
        elif frame == "V":
            rotations = multiply(inverse(mounted), rotations)
    centers = convert_points(boxes.centers, boxes.frame, frame, camera)
    return Boxes3D(centers, boxes.dimensions.copy(), rotations, frame)


def box_corners(boxes: Boxes3D) -> Array:
    """Corners (N, 8, 3) in the boxes' frame, in the order of `CORNERS`."""
    offsets = _SIGNS * boxes.dimensions[:, None, :] / 2
    if boxes.frame == "S":
        offsets = offsets @ AXES_S_FROM_C.T
    turned = offsets @ np.swapaxes(matrix_from_quaternion(boxes.rotations), -1, -2)
    return np.asarray(boxes.centers[:, None, :] + turned)


def mirror_boxes(boxes: Boxes3D) -> Boxes3D:
    """Boxes of the world mirrored left to right: at x = 0 in S, at y = 0 in V and C.

    Left corners become right corners; twice is what was before. See `VehicleCamera.mirrored` for the camera's part.
    """
    if boxes.frame == "S":
        place, turn = [-1.0, 1.0, 1.0], [1.0, 1.0, -1.0, -1.0]
    else:
        place, turn = [1.0, -1.0, 1.0], [1.0, -1.0, 1.0, -1.0]
    return Boxes3D(boxes.centers * place, boxes.dimensions.copy(), boxes.rotations * turn, boxes.frame)


def project_centers(boxes: Boxes3D, camera: VehicleCamera) -> tuple[Array, Array]:
    """Where the boxes' middles are seen.

    Returns:
        (N, 2) pixels u, v, and (N,) depth z in S in metres. What is not in front of the camera (z <= 0) has no place in
        the image: NaN.
    """
    centers = convert_points(boxes.centers, boxes.frame, "S", camera)
    seen = centers[:, 2] > 0
    safe = np.where(seen[:, None], centers, [0.0, 0.0, 1.0])
    return np.where(seen[:, None], project(safe, camera.matrix), np.nan), centers[:, 2]


def project_boxes(boxes: Boxes3D, camera: VehicleCamera) -> Array:
    """2-D boxes (N, 4) around the projections, not cut at the image's border.

    What lies less than `NEAR` in front of the camera is cut off before. A box of which nothing is left is NaN.
    """
    corners = convert_points(box_corners(boxes), boxes.frame, "S", camera)
    ahead = corners[..., 2] > NEAR
    start, end = corners[:, EDGES[:, 0]], corners[:, EDGES[:, 1]]
    crossing = ahead[:, EDGES[:, 0]] != ahead[:, EDGES[:, 1]]
    length = np.where(crossing, end[..., 2] - start[..., 2], 1.0)
    cut = start + ((NEAR - start[..., 2]) / length)[..., None] * (end - start)
    # The hull of a cut box: corners that are left, and where edges cross the plane.
    points = np.concatenate([corners, cut], axis=1)
    left = np.concatenate([ahead, crossing], axis=1)[..., None]
    pixels = project(np.where(left, points, [0.0, 0.0, 1.0]), camera.matrix)
    low = np.where(left, pixels, np.inf).min(axis=1)
    high = np.where(left, pixels, -np.inf).max(axis=1)
    around = np.concatenate([low, high], axis=1)
    return np.asarray(np.where(np.isfinite(around), around, np.nan))


def amodal_boxes(boxes: Boxes3D, camera: VehicleCamera) -> Array:
    """2-D boxes (N, 4) of the whole vehicles, hidden parts included, moved into the image as the evaluation does.

    Returns:
        Corners in [0, width - 1] and [0, height - 1]; (0, 0, 0, 0) where all of a box is behind the camera. A box that
        is ahead but out of the picture becomes a line or a point on its border.
    """
    around = clip_boxes2d(project_boxes(boxes, camera), camera.size)
    return np.asarray(np.where(np.isnan(around), 0.0, around))


def modal_box(visible: npt.NDArray[np.bool_]) -> Array | None:
    """2-D box (4,) of the pixels (H, W) in which a vehicle is seen; None where there are none."""
    rows, cols = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if not len(rows):
        return None
    return np.array([cols[0], rows[0], cols[-1], rows[-1]], dtype=np.float64)


# ---- 2-D boxes -------------------------------------------------------------------------------------------------------
def xyxy_from_xywh(boxes: npt.ArrayLike) -> Array:
    """Corners (..., 4) of boxes x, y, w, h."""
    given = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([given[..., :2], given[..., :2] + given[..., 2:]], axis=-1)


def xywh_from_xyxy(boxes: npt.ArrayLike) -> Array:
    """x, y, w, h (..., 4) of boxes given by corners."""
    given = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([given[..., :2], given[..., 2:] - given[..., :2]], axis=-1)


def mirror_boxes2d(boxes: npt.ArrayLike, width: int) -> Array:
    """2-D boxes (..., 4) after an image `width` pixels wide was mirrored left to right."""
    x1, y1, x2, y2 = np.moveaxis(np.asarray(boxes, dtype=np.float64), -1, 0)
    return np.stack([width - 1 - x2, y1, width - 1 - x1, y2], axis=-1)


def resize_boxes2d(boxes: npt.ArrayLike, zoom_x: float, zoom_y: float) -> Array:
    """2-D boxes (..., 4) after the image was resized by the factors `zoom_x` and `zoom_y`."""
    zoom = np.array([zoom_x, zoom_y, zoom_x, zoom_y])
    return np.asarray((np.asarray(boxes, dtype=np.float64) + 0.5) * zoom - 0.5)


def crop_boxes2d(boxes: npt.ArrayLike, top: float, left: float) -> Array:
    """2-D boxes (..., 4) after rows and columns were cut off, see `crop_camera`; they are not cut themselves."""
    return np.asarray(np.asarray(boxes, dtype=np.float64) - [left, top, left, top])


def clip_boxes2d(boxes: npt.ArrayLike, size: tuple[int, int]) -> Array:
    """2-D boxes (..., 4) moved into an image of a height and width: corners in [0, width - 1] and [0, height - 1]."""
    height, width = size
    return np.clip(np.asarray(boxes, dtype=np.float64), 0.0, np.array([width, height, width, height]) - 1.0)
