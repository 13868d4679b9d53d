"""Pinhole cameras: projection, how intrinsics move with the image, and normals from depth.

Frame: x right, y down, z forward. Pixel centres lie at whole numbers, so the image's left border is at -0.5.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = [
    "backproject",
    "camera_matrix",
    "crop_camera",
    "flip_camera",
    "normals_from_depth",
    "pixel_rays",
    "project",
    "resize_camera",
]

Array = npt.NDArray[np.float64]


def camera_matrix(fx: float, fy: float, cx: float, cy: float) -> Array:
    """Intrinsics (3, 3) from focal lengths and principal point, all in pixels."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]], dtype=np.float64)


def resize_camera(camera: Array, zoom_x: float, zoom_y: float) -> Array:
    """Intrinsics after the image was resized by the factors `zoom_x` and `zoom_y` (> 1: larger)."""
    # Borders, not pixel centres, are what a resize maps onto each other: hence the half pixel.
    move = np.array([[zoom_x, 0.0, 0.5 * zoom_x - 0.5], [0.0, zoom_y, 0.5 * zoom_y - 0.5], [0.0, 0.0, 1.0]])
    return move @ camera


def crop_camera(camera: Array, top: float, left: float) -> Array:
    """Intrinsics after `top` rows and `left` columns were cut off; negative numbers mean padding."""
    move = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top], [0.0, 0.0, 1.0]])
    return move @ camera


def flip_camera(camera: Array, width: int) -> Array:
    """Intrinsics after an image `width` pixels wide was mirrored left to right.

    The mirrored picture shows the mirrored world: the point (X, Y, Z) has become (-X, Y, Z), which is what keeps the
    focal length positive.
    """
    mirror = np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return mirror @ camera @ np.diag([-1.0, 1.0, 1.0])


def project(points: npt.ArrayLike, camera: Array) -> Array:
    """Pixel coordinates (..., 2) as (u, v) of points (..., 3) in the camera frame."""
    homogeneous = np.asarray(points, dtype=np.float64) @ camera.T
    return np.asarray(homogeneous[..., :2] / homogeneous[..., 2:])


def pixel_rays(height: int, width: int, camera: Array) -> Array:
    """Viewing rays (height, width, 3) with z = 1."""
    v, u = np.mgrid[0:height, 0:width].astype(np.float64)
    pixels = np.stack([u, v, np.ones_like(u)], axis=-1)
    return np.asarray(pixels @ np.linalg.inv(camera).T)


def backproject(depth: npt.NDArray[np.floating], camera: Array) -> Array:
    """Points (H, W, 3) in the camera frame of a z-depth map (H, W).

    Pixels with a depth that is not positive and finite (invalid ones) give the origin.
    """
    z = np.asarray(depth, dtype=np.float64)
    z = np.where(np.isfinite(z) & (z > 0), z, 0.0)
    return pixel_rays(z.shape[0], z.shape[1], camera) * z[..., None]


def _window_sums(
    inverse: npt.NDArray[np.float32], good: npt.NDArray[np.bool_], radius: int, max_jump: float
) -> dict[str, npt.NDArray[np.float32]]:
    """Sums over each pixel's window for the fit e = a·du + b·dv + c of relative inverse depth e = d / d_centre - 1."""
    height, width = inverse.shape
    near = np.pad(inverse, radius)
    usable = np.pad(good, radius)
    safe = np.where(good, inverse, np.float32(1))
    sums = {key: np.zeros((height, width), np.float32) for key in ("1", "u", "v", "uu", "uv", "vv", "e", "ue", "ve")}
    for dv in range(-radius, radius + 1):
        rows = slice(radius + dv, radius + dv + height)
        for du in range(-radius, radius + 1):
            cols = slice(radius + du, radius + du + width)
            e = near[rows, cols] / safe - np.float32(1)
            # A plane seen at a slant changes by a constant amount per pixel, so the allowance grows with the distance.
            weight = (usable[rows, cols] & (np.abs(e) <= max_jump * max(abs(du), abs(dv), 1))).astype(np.float32)
            e = e * weight
            products = {"1": 1, "u": du, "v": dv, "uu": du * du, "uv": du * dv, "vv": dv * dv}
            for key, factor in products.items():
                if factor:
                    sums[key] += np.float32(factor) * weight
            sums["e"] += e
            sums["ue"] += np.float32(du) * e
            sums["ve"] += np.float32(dv) * e
    return sums


def normals_from_depth(
    depth: npt.NDArray[np.floating],
    camera: Array,
    invalid: float = -1.0,
    *,
    radius: int = 1,
    max_jump: float = 0.05,
    min_share: float = 0.6,
) -> npt.NDArray[np.float32]:
    """Surface normals of a depth map: a plane is fitted to each pixel's window by least squares.

    Inverse depth is a linear function of the pixel coordinates on a plane, d = a·u + b·v + c, and the plane's normal is
    K^T (a, b, c) up to scale. With `radius` 1 the slopes are central differences over 3x3 pixels; sensors with noise or
    small holes want 2 or 3. Neighbours that are invalid or lie beyond a depth jump are left out of the fit.

    Args:
        depth: (H, W) z-depth in metres (any positive unit gives the same normals).
        camera: (3, 3) intrinsics in pixels.
        invalid: Value of pixels without depth; values that are not positive and finite are invalid in any case.
        radius: Half the window: it is 2 * radius + 1 pixels wide.
        max_jump: Largest relative difference of inverse depth to the centre, per pixel of distance, that still counts
            as the same surface. Larger ones are depth jumps.
        min_share: Share of the window that must be usable.

    Returns:
        (H, W, 3) float32 unit vectors in the camera frame facing the camera; (0, 0, 0) where there is no depth or too
        few usable neighbours (image corners included, at `radius` 1).
    """
    z = np.asarray(depth, dtype=np.float32)
    good = np.isfinite(z) & (z > 0) & (z != np.float32(invalid))
    inverse = np.where(good, np.float32(1) / np.where(good, z, np.float32(1)), np.float32(0))
    s = _window_sums(inverse, good, radius, max_jump)
    count = np.maximum(s["1"], np.float32(1))
    mean_u, mean_v = s["u"] / count, s["v"] / count
    uu, vv = s["uu"] - s["u"] * mean_u, s["vv"] - s["v"] * mean_v
    uv = s["uv"] - s["u"] * mean_v
    ue, ve = s["ue"] - s["e"] * mean_u, s["ve"] - s["e"] * mean_v
    determinant = uu * vv - uv * uv
    fitted = good & (s["1"] >= min_share * (2 * radius + 1) ** 2) & (determinant > 1e-3)
    determinant = np.where(fitted, determinant, np.float32(1))
    a, b = (vv * ue - uv * ve) / determinant, (uu * ve - uv * ue) / determinant
    c = 1 + s["e"] / count - a * mean_u - b * mean_v  # fitted inverse depth at the centre, relative; about 1

    v, u = np.mgrid[0 : z.shape[0], 0 : z.shape[1]]
    coefficients = np.stack([a, b, c - a * u - b * v], axis=-1).astype(np.float64)
    normals = -(coefficients @ camera)  # rows are (K^T x)^T; minus: facing the camera, as n·ray = -c < 0
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    fitted &= (c > 0) & (length[..., 0] > 0)
    unit = normals / np.where(length > 0, length, 1.0)
    return np.where(fitted[..., None], unit, 0.0).astype(np.float32)
