"""Compiled visibility: a depth buffer in which each primitive visits only its rectangle of the screen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mtdense.data.procedural.jit import njit

__all__ = ["hit", "visibility"]

Array = Any


@njit
def _near(x: float) -> float:
    return x if abs(x) > 1e-12 else 1e-12


@njit
def hit(kind: int, taper: float, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float) -> tuple[float, int]:
    """Where a ray enters a primitive in its unit frame: (distance, code of the face), or (-1, 0)."""
    if kind == 1:  # box
        ix, iy, iz = 1.0 / _near(dx), 1.0 / _near(dy), 1.0 / _near(dz)
        t, code = -ox * ix - abs(ix), 0 if ix > 0.0 else 1
        ty = -oy * iy - abs(iy)
        if ty > t:
            t, code = ty, 2 if iy > 0.0 else 3
        tz = -oz * iz - abs(iz)
        if tz > t:
            t, code = tz, 4 if iz > 0.0 else 5
        leave = min(-ox * ix + abs(ix), -oy * iy + abs(iy), -oz * iz + abs(iz))
        return (t, code) if t < leave else (-1.0, 0)
    if kind == 2:  # ellipsoid
        a, b, c = dx * dx + dy * dy + dz * dz, ox * dx + oy * dy + oz * dz, ox * ox + oy * oy + oz * oz - 1.0
        disc = b * b - a * c
        if b >= 0.0 or c <= 0.0 or disc <= 1e-8 * a:
            return -1.0, 0
        return c / (math.sqrt(disc) - b), 0
    if kind == 3:  # piece of a cone
        t, code = -1.0, 0
        if abs(oz) > 1.0 and oz * dz < 0.0:
            side = 1.0 if oz > 0.0 else -1.0
            t = (side - oz) / dz
            x, y, w = ox + t * dx, oy + t * dy, 1.0 - taper * side
            if x * x + y * y <= w * w:
                return t, 2 if side > 0.0 else 1
        ow, dw = 1.0 - taper * oz, -taper * dz
        a, b, c = dx * dx + dy * dy - dw * dw, ox * dx + oy * dy - ow * dw, ox * ox + oy * oy - ow * ow
        disc = b * b - a * c
        if disc <= 1e-8 * (dx * dx + dy * dy + dz * dz):
            return -1.0, 0
        root = math.sqrt(disc)
        if b < 0.0:
            t = c / (root - b)
        elif a < -1e-12:
            t = (-b - root) / a
        else:
            return -1.0, 0
        return (t, 0) if abs(oz + t * dz) <= 1.0 and ow + t * dw > 0.0 else (-1.0, 0)
    # capsule
    a, b, c = dx * dx + dy * dy, ox * dx + oy * dy, ox * ox + oy * oy - 1.0
    disc = b * b - a * c
    if disc <= 1e-8 * (a + dz * dz):
        return -1.0, 0
    if b < 0.0 and c > 0.0:
        t = c / (math.sqrt(disc) - b)
        if abs(oz + t * dz) <= taper:
            return t, 0
    for code in (1, 2):
        end = -taper if code == 1 else taper
        pz = oz - end
        b, c = ox * dx + oy * dy + pz * dz, ox * ox + oy * oy + pz * pz - 1.0
        full = a + dz * dz
        disc = b * b - full * c
        if b < 0.0 and c > 0.0 and disc > 1e-8 * full:
            t = c / (math.sqrt(disc) - b)
            z = oz + t * dz
            if (code == 1 and z < end) or (code == 2 and z > end):
                return t, code
    return -1.0, 0


@njit
def visibility(
    camera: Array,
    kind: Array,
    matrix: Array,
    origin: Array,
    taper: Array,
    rect: Array,
    near: float,
    height: int,
    width: int,
) -> tuple[Array, Array, Array]:
    """Depth (H, W), number of the visible primitive and code of its visible face."""
    focal, cx, cy = camera[0, 0], camera[0, 2], camera[1, 2]
    depth, seen, face = (
        np.empty((height, width)),
        np.empty((height, width), np.int64),
        np.zeros((height, width), np.int64),
    )
    m, o = matrix[0], origin[0]
    for r in range(height):
        y = (r - cy) / focal
        for q in range(width):
            x = (q - cx) / focal
            best, which = 1e30, 0
            for axis in range(3):
                d = _near(m[axis, 0] * x + m[axis, 1] * y + m[axis, 2])
                t = -o[axis] / d + abs(1.0 / d)
                if t < best:
                    # faces come in the order -z, +z, -x, +x, -y, +y
                    best, which = t, ((axis + 1) % 3) * 2 + (1 if d > 0.0 else 0)
            depth[r, q], seen[r, q] = best, which
    for p in range(6, kind.shape[0]):
        m = matrix[p]
        ox, oy, oz, k, extra = origin[p, 0], origin[p, 1], origin[p, 2], kind[p], taper[p]
        for r in range(rect[p, 0], rect[p, 1]):
            y = (r - cy) / focal
            bx, by, bz = m[0, 1] * y + m[0, 2], m[1, 1] * y + m[1, 2], m[2, 1] * y + m[2, 2]
            for q in range(rect[p, 2], rect[p, 3]):
                x = (q - cx) / focal
                t, code = hit(k, extra, ox, oy, oz, m[0, 0] * x + bx, m[1, 0] * x + by, m[2, 0] * x + bz)
                if near < t < depth[r, q]:
                    depth[r, q], seen[r, q], face[r, q] = t, p, code
    return depth, seen, face
