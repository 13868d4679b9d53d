"""Quaternions, w first: products, matrices, Euler angles."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from mtdense.geometry.quaternions import (
    EulerAxes,
    euler_from_quaternion,
    inverse,
    matrix_from_quaternion,
    multiply,
    normalise,
    quaternion_from_euler,
    quaternion_from_matrix,
    rotate,
    rotation_angle,
    yaw_pitch_roll,
)

Array = npt.NDArray[np.float64]
HALF = math.sqrt(0.5)


def random_quaternions(count: int, seed: int = 0) -> Array:
    return normalise(np.random.default_rng(seed).normal(size=(count, 4)))


def about(axis: str, angle: float) -> Array:
    """The matrix that turns column vectors about an axis, written out."""
    c, s = math.cos(angle), math.sin(angle)
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    quarter = [HALF, 0, 0, HALF]
    turned = rotate(quarter, [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(turned, [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], atol=1e-15)
    np.testing.assert_allclose(matrix_from_quaternion(quarter), about("z", math.pi / 2), atol=1e-15)
    np.testing.assert_allclose(matrix_from_quaternion([HALF, HALF, 0, 0]), about("x", math.pi / 2), atol=1e-15)
    np.testing.assert_allclose(matrix_from_quaternion([HALF, 0, HALF, 0]), about("y", math.pi / 2), atol=1e-15)


def test_products_are_those_of_the_matrices() -> None:
    a, b = random_quaternions(50, 1), random_quaternions(50, 2)
    product = matrix_from_quaternion(a) @ matrix_from_quaternion(b)
    np.testing.assert_allclose(matrix_from_quaternion(multiply(a, b)), product, atol=1e-14)
    np.testing.assert_allclose(multiply(a, inverse(a)), np.tile([1.0, 0, 0, 0], (50, 1)), atol=1e-14)
    assert multiply(a[0], b).shape == (50, 4)
    vectors = np.random.default_rng(3).normal(size=(50, 3))
    np.testing.assert_allclose(rotate(inverse(a), rotate(a, vectors)), vectors, atol=1e-14)


def test_matrices_and_back() -> None:
    # Half turns and their neighbours are where a formula that divides by w breaks down.
    half_turns = np.array([[0.0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0.6, -0.8, 0], [1e-9, 0, 0.6, 0.8]])
    for q in (random_quaternions(200), normalise(half_turns), np.array([[1.0, 0, 0, 0]])):
        back = quaternion_from_matrix(matrix_from_quaternion(q))
        assert (back[:, 0] >= 0).all()
        np.testing.assert_allclose(np.linalg.norm(back, axis=-1), 1, atol=1e-14)
        assert rotation_angle(q, back).max() < 1e-9
        np.testing.assert_allclose(matrix_from_quaternion(back), matrix_from_quaternion(q), atol=1e-9)


@pytest.mark.parametrize(
    "matrix", [np.diag([1.0, -1, 1]), 1.01 * np.eye(3), np.full((3, 3), np.nan), np.eye(3)[:2], np.zeros((3, 3))]
)
def test_what_is_no_rotation_is_refused(matrix: Array) -> None:
    with pytest.raises(ValueError, match="matri"):
        quaternion_from_matrix(matrix)


@pytest.mark.parametrize("quaternion", [[0, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 1], [1, 0, 0], 1.0])
def test_what_has_no_direction_is_refused(quaternion: npt.ArrayLike) -> None:
    with pytest.raises(ValueError, match="quaternion"):
        normalise(quaternion)


def test_normalise() -> None:
    np.testing.assert_allclose(normalise([[3, 0, 0, 4], [1e300, 0, 0, 0], [0, -1e-300, 0, 0]]),
                               [[0.6, 0, 0, 0.8], [1, 0, 0, 0], [0, -1, 0, 0]])  # fmt: skip
    assert normalise(np.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize("axes", ["XYZ", "YXZ", "ZYX", "yxz"])
def test_euler_angles(axes: EulerAxes) -> None:
    rng = np.random.default_rng(4)
    angles = rng.uniform([-3, -1.5, -3], [3, 1.5, 3], (40, 3))
    for given, q in zip(angles, quaternion_from_euler(angles, axes), strict=True):
        first, second, third = (about(axis.lower(), angle) for axis, angle in zip(axes, given, strict=True))
        expected = first @ second @ third if axes.isupper() else third @ second @ first
        np.testing.assert_allclose(matrix_from_quaternion(q), expected, atol=1e-14)
    np.testing.assert_allclose(euler_from_quaternion(quaternion_from_euler(angles, axes), axes), angles, atol=1e-9)
    assert euler_from_quaternion(np.zeros((0, 4)), axes).shape == (0, 3)
    assert quaternion_from_euler(angles[0], axes).shape == (4,)


def test_yaw_pitch_roll_are_those_of_rx_ry_rz() -> None:
    rng = np.random.default_rng(5)
    for yaw, pitch, roll in rng.uniform([-3, -1.5, -3], [3, 1.5, 3], (40, 3)):
        q = quaternion_from_matrix(about("x", roll) @ about("y", pitch) @ about("z", yaw))
        np.testing.assert_allclose(yaw_pitch_roll(q), [yaw, pitch, roll], atol=1e-9)
        np.testing.assert_allclose(yaw_pitch_roll(-q), [yaw, pitch, roll], atol=1e-9)
    assert np.isfinite(yaw_pitch_roll([HALF, 0, HALF + 1e-12, 0])).all()  # pitch at its bound, and rounding beyond it


def test_rotation_angle() -> None:
    q = random_quaternions(20)
    turned = multiply(q, [math.cos(0.15), 0, math.sin(0.15), 0])
    np.testing.assert_allclose(rotation_angle(q, turned), 0.3)
    np.testing.assert_allclose(rotation_angle(q, -turned), 0.3)
    np.testing.assert_allclose(rotation_angle(q, -q), 0, atol=1e-7)
