"""Cameras: what an image operation does to intrinsics, and normals from depth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from mtdense.geometry import (
    backproject,
    camera_matrix,
    crop_camera,
    flip_camera,
    normals_from_depth,
    pixel_rays,
    project,
    resize_camera,
)

CAMERA = camera_matrix(60.0, 58.0, 39.2, 31.7)
SIZE = (64, 80)


def plane_depth(normal: npt.ArrayLike, distance: float, size: tuple[int, int] = SIZE) -> npt.NDArray[np.float32]:
    """Z-depth of the plane n·p = -distance (normal facing the camera); invalid (-1) where it is not seen."""
    denominator = pixel_rays(*size, CAMERA) @ np.asarray(normal, dtype=np.float64)
    with np.errstate(divide="ignore"):
        z = -distance / denominator
    return np.where((denominator < 0) & (z < 50), z, -1).astype(np.float32)


def unit(vector: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = np.asarray(vector, dtype=np.float64)
    return array / np.linalg.norm(array)


def test_backproject_inverts_project() -> None:
    depth = np.random.default_rng(0).uniform(0.5, 5, SIZE)
    points = backproject(depth, CAMERA)
    v, u = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    np.testing.assert_allclose(project(points, CAMERA), np.stack([u, v], -1), atol=1e-9)
    np.testing.assert_allclose(points[..., 2], depth)


def test_backproject_of_invalid_depth_is_the_origin() -> None:
    depth = np.array([[1.0, -1.0], [np.nan, 0.0]])
    assert not backproject(depth, CAMERA).reshape(4, 3)[1:].any()


def test_resize_maps_borders_onto_borders() -> None:
    point = np.array([0.3, -0.2, 2.0])
    u, v = project(point, CAMERA)
    moved = project(point, resize_camera(CAMERA, 2.0, 0.5))
    # The left border, -0.5, must stay where it is; so u + 0.5 scales.
    np.testing.assert_allclose(moved, [(u + 0.5) * 2 - 0.5, (v + 0.5) * 0.5 - 0.5])


def test_crop_and_flip() -> None:
    point = np.array([0.3, -0.2, 2.0])
    u, v = project(point, CAMERA)
    np.testing.assert_allclose(project(point, crop_camera(CAMERA, 5, 7)), [u - 7, v - 5])
    mirrored = point * [-1, 1, 1]
    flipped = flip_camera(CAMERA, 80)
    np.testing.assert_allclose(project(mirrored, flipped), [79 - u, v])
    assert flipped[0, 0] == CAMERA[0, 0]


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("normal", [(0, 0, -1), (0.5, 0, -1), (0, -1, -0.25), (-0.4, -0.6, -0.7)])
def test_normals_of_planes_are_exact(normal: tuple[float, float, float], radius: int) -> None:
    depth = plane_depth(unit(normal), 1.5)
    normals = normals_from_depth(depth, CAMERA, radius=radius, max_jump=0.2)
    valid = normals.any(axis=-1)
    # Nearly everything that can be fitted is; image corners and the far end of a steep floor are not.
    assert valid.sum() > 0.8 * (depth > 0).sum()
    cosine = normals[valid] @ unit(normal)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.5
    np.testing.assert_allclose(np.linalg.norm(normals[valid], axis=-1), 1, atol=1e-5)


def test_normals_face_the_camera() -> None:
    depth = np.random.default_rng(1).uniform(1.0, 1.1, SIZE).astype(np.float32)
    normals = normals_from_depth(depth, CAMERA, max_jump=1.0)
    facing = (normals * backproject(depth, CAMERA)).sum(-1)
    assert (facing[normals.any(axis=-1)] < 0).all()


def test_a_depth_jump_does_not_blend_surfaces() -> None:
    depth = np.full(SIZE, 1.0, np.float32)
    depth[:, 40:] = 3.0
    normals = normals_from_depth(depth, CAMERA)
    inner = normals[1:-1, 1:-1]
    assert inner.any(axis=-1).all()  # both sides keep enough neighbours
    np.testing.assert_allclose(inner[..., 2], -1, atol=1e-4)


def test_invalid_pixels_have_no_normal_and_lend_none() -> None:
    depth = plane_depth((0, 0, -1), 2.0)
    depth[20, 30] = -1
    depth[40:43, 10:13] = 0
    depth[50, 50] = np.nan
    normals = normals_from_depth(depth, CAMERA)
    for row, column in [(20, 30), (41, 11), (50, 50)]:
        assert not normals[row, column].any()
    np.testing.assert_allclose(normals[21, 30], [0, 0, -1], atol=1e-4)


def test_too_few_neighbours_give_nothing() -> None:
    depth = np.full(SIZE, -1.0, np.float32)
    depth[30, 20:60] = 2.0  # a line is no surface
    assert not normals_from_depth(depth, CAMERA).any()


def test_noise_is_averaged_by_a_larger_window() -> None:
    rng = np.random.default_rng(2)
    normal = unit((0.3, -0.4, -1))
    depth = plane_depth(normal, 2.0) * (1 + 0.002 * rng.standard_normal(SIZE).astype(np.float32))

    def error(radius: int) -> float:
        normals = normals_from_depth(depth, CAMERA, radius=radius)
        cosine = normals[normals.any(axis=-1)] @ normal
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())

    assert error(3) < 0.4 * error(1)
