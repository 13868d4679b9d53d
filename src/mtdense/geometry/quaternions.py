"""Rotations as quaternions (w, x, y, z): the scalar comes first, as in the files of Cityscapes 3D.

All functions take arrays (..., 4) and work on each quaternion of them. q and -q are the same rotation; no function here
prefers one sign, save where it says so.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

__all__ = [
    "EulerAxes",
    "euler_from_quaternion",
    "inverse",
    "matrix_from_quaternion",
    "multiply",
    "normalise",
    "quaternion_from_euler",
    "quaternion_from_matrix",
    "rotate",
    "rotation_angle",
    "yaw_pitch_roll",
]

Array = npt.NDArray[np.float64]
EulerAxes = Literal["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX", "xyz", "xzy", "yxz", "yzx", "zxy", "zyx"]
"""Capitals turn about the axes of the turned body ("YXZ": matrix Ry Rx Rz), small letters about those that stay."""


def normalise(quaternion: npt.ArrayLike) -> Array:
    """Quaternions of length 1.

    Raises:
        ValueError: Not (..., 4), or one has no direction: its length is 0 or not finite.
    """
    q = np.asarray(quaternion, dtype=np.float64)
    if q.ndim == 0 or q.shape[-1] != 4:
        raise ValueError(f"quaternions have shape (..., 4), not {q.shape}")
    largest = np.abs(q).max(axis=-1, keepdims=True, initial=0.0)
    if not (np.isfinite(largest) & (largest > 0)).all():
        raise ValueError("a quaternion of length 0, or that is not finite, is no rotation")
    q = q / largest  # no overflow, no underflow
    return np.asarray(q / np.linalg.norm(q, axis=-1, keepdims=True))


def inverse(quaternion: npt.ArrayLike) -> Array:
    """Inverse rotations of unit quaternions."""
    return np.asarray(np.asarray(quaternion, dtype=np.float64) * [1.0, -1.0, -1.0, -1.0])


def multiply(left: npt.ArrayLike, right: npt.ArrayLike) -> Array:
    """Rotations by `right`, then by `left`; shapes (..., 4) are broadcast."""
    a, b = np.broadcast_arrays(np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64))
    w = a[..., :1] * b[..., :1] - np.sum(a[..., 1:] * b[..., 1:], axis=-1, keepdims=True)
    xyz = a[..., :1] * b[..., 1:] + b[..., :1] * a[..., 1:] + np.cross(a[..., 1:], b[..., 1:])
    return np.concatenate([w, xyz], axis=-1)


def rotate(quaternion: npt.ArrayLike, vectors: npt.ArrayLike) -> Array:
    """Vectors (..., 3) turned by unit quaternions (..., 4); leading axes are broadcast."""
    matrix = matrix_from_quaternion(quaternion)
    return np.asarray((matrix @ np.asarray(vectors, dtype=np.float64)[..., None])[..., 0])


def matrix_from_quaternion(quaternion: npt.ArrayLike) -> Array:
    """Rotation matrices (..., 3, 3) of unit quaternions; they turn column vectors."""
    w, x, y, z = np.moveaxis(np.asarray(quaternion, dtype=np.float64), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion_from_matrix(matrix: npt.ArrayLike) -> Array:
    """Unit quaternions (..., 4), w >= 0, of rotation matrices (..., 3, 3).

    Raises:
        ValueError: Not a rotation: columns are not orthonormal within 1e-6, or it mirrors.
    """
    m = np.asarray(matrix, dtype=np.float64)
    if m.shape[-2:] != (3, 3):
        raise ValueError(f"rotation matrices have shape (..., 3, 3), not {m.shape}")
    # The comparison is so written that NaN fails.
    if not (np.abs(m @ np.swapaxes(m, -1, -2) - np.eye(3)) <= 1e-6).all() or not (np.linalg.det(m) > 0).all():
        raise ValueError("the matrix is no rotation: rows of length 1 at right angles, determinant 1")
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    # 4 q q^T, each row of which is the quaternion times one of its own parts: the row of the largest is exact enough.
    outer = np.stack(
        [
            np.stack([1 + xx + yy + zz, wx, wy, wz], axis=-1),
            np.stack([wx, 1 + xx - yy - zz, xy, xz], axis=-1),
            np.stack([wy, xy, 1 - xx + yy - zz, yz], axis=-1),
            np.stack([wz, xz, yz, 1 - xx - yy + zz], axis=-1),
        ],
        axis=-2,
    )
    largest = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), axis=-1)
    q = normalise(np.take_along_axis(outer, largest[..., None, None], axis=-2)[..., 0, :])
    return np.asarray(np.where(q[..., :1] < 0, -q, q))


def quaternion_from_euler(angles: npt.ArrayLike, axes: EulerAxes) -> Array:
    """Unit quaternions of Euler angles.

    Args:
        angles: (..., 3) radians, about the axes in the order of `axes`.
        axes: See `EulerAxes`.
    """
    given = np.asarray(angles, dtype=np.float64)
    turned = Rotation.from_euler(axes, given.reshape(-1, 3)).as_quat()  # w last
    return np.asarray(turned[:, [3, 0, 1, 2]].reshape(*given.shape[:-1], 4))


def euler_from_quaternion(quaternion: npt.ArrayLike, axes: EulerAxes) -> Array:
    """Euler angles (..., 3) in radians of unit quaternions, about the axes in the order of `axes`.

    The second angle lies in [-pi/2, pi/2], the others in
    [-pi, pi]. Where the second is at its bound, only a sum or difference of the others is known; SciPy warns and sets
    one of them to 0.
    """
    q = np.asarray(quaternion, dtype=np.float64)
    turned = Rotation.from_quat(q.reshape(-1, 4)[:, [1, 2, 3, 0]])
    return np.asarray(turned.as_euler(axes).reshape(*q.shape[:-1], 3), dtype=np.float64)


def yaw_pitch_roll(quaternion: npt.ArrayLike) -> Array:
    """The angles (..., 3) that the evaluation of Cityscapes 3D compares: yaw, pitch and roll, in radians.

    They are those of the matrix Rx(roll) Ry(pitch) Rz(yaw), not of the usual Rz Ry Rx.

    * Gählert et al. Cityscapes 3D: Dataset and Benchmark for 9 DoF Vehicle Detection. CVPR Workshops 2020.
    """
    w, x, y, z = np.moveaxis(np.asarray(quaternion, dtype=np.float64), -1, 0)
    yaw = np.arctan2(2 * (w * z - x * y), 1 - 2 * (y * y + z * z))
    pitch = np.arcsin(np.clip(2 * (w * y + z * x), -1.0, 1.0))
    roll = np.arctan2(2 * (w * x - y * z), 1 - 2 * (x * x + y * y))
    return np.stack([yaw, pitch, roll], axis=-1)


def rotation_angle(left: npt.ArrayLike, right: npt.ArrayLike) -> Array:
    """Angle (...) in [0, pi] of the rotation that takes the one unit quaternion to the other."""
    between = multiply(inverse(left), right)
    return np.asarray(2 * np.arctan2(np.linalg.norm(between[..., 1:], axis=-1), np.abs(between[..., 0])))
