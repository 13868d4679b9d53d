"""Compiled light: lamps, sky and sun with soft shadows, ambient light and highlights.

Shadow rays meet only what could shade their tile.

`render_numpy` is the plain version of the same maths.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mtdense.data.procedural.jit import njit
from mtdense.data.procedural.lights import SUN_REACH
from mtdense.data.procedural.raster_numba import hit

__all__ = ["light"]

Array = Any
TILE = 4
"""Pixels along the side of a tile that shares a list of shadow casters."""
BLOCK = 16
"""Pixels along the side of a block of tiles, whose own list the tiles choose from."""


@njit
def _bounds(depth: Array, camera: Array, top: int, bottom: int, left: int, right: int, low: Array, high: Array) -> None:
    """Bounding box of the points seen in a part of the image."""
    focal, cx, cy = camera[0, 0], camera[0, 2], camera[1, 2]
    low[:], high[:] = 1e30, -1e30
    for r in range(top, bottom):
        for q in range(left, right):
            z = depth[r, q]
            x, y = (q - cx) / focal * z, (r - cy) / focal * z
            low[0], low[1], low[2] = min(low[0], x), min(low[1], y), min(low[2], z)
            high[0], high[1], high[2] = max(high[0], x), max(high[1], y), max(high[2], z)


@njit
def _could_shade(
    p: int, matrix: Array, origin: Array, reach: Array, x: float, y: float, z: float,
    wx: float, wy: float, wz: float, near: float, far: float,
) -> bool:  # fmt: skip
    """Whether a beam may touch a box: it starts as wide as `near`, ends as wide as `far` (radii, metres).

    In the box's frame the beam's middle is a segment, and each face moves outwards linearly along it.
    """
    start, end = 0.0, 1.0
    for axis in range(3):
        mx, my, mz = matrix[p, axis, 0], matrix[p, axis, 1], matrix[p, axis, 2]
        grow = math.sqrt(mx * mx + my * my + mz * mz)  # unit lengths per metre
        at, step = mx * x + my * y + mz * z + origin[p, axis], mx * wx + my * wy + mz * wz
        limit, more = reach[p, axis] + near * grow, (far - near) * grow
        for sign in (-1.0, 1.0):
            value, slope = sign * at - limit, sign * step - more  # inside where value + s slope <= 0
            if slope > 0.0:
                end = min(end, -value / slope)
            elif slope < 0.0:
                start = max(start, -value / slope)
            elif value > 0.0:
                return False
        if start > end:
            return False
    return True


@njit
def _casters(
    k: int, lights: Array, low: Array, high: Array, centre: Array, radius: Array,
    matrix: Array, origin: Array, reach: Array, among: Array, number: int, found: Array,
) -> int:  # fmt: skip
    """Which of the primitives among[k, :number] could stand between the points of a box and light `k`.

    Lists them in found[k] and returns how many they are.
    """
    cx, cy, cz = 0.5 * (low[0] + high[0]), 0.5 * (low[1] + high[1]), 0.5 * (low[2] + high[2])
    dx, dy, dz = high[0] - cx, high[1] - cy, high[2] - cz
    near = math.sqrt(dx * dx + dy * dy + dz * dz)
    if lights[k, 0] == 2.0:
        wx, wy, wz = SUN_REACH * lights[k, 1], SUN_REACH * lights[k, 2], SUN_REACH * lights[k, 3]
        far = near + SUN_REACH * lights[k, 7] * 1.0001
    else:
        wx, wy, wz = lights[k, 1] - cx, lights[k, 2] - cy, lights[k, 3] - cz
        first = math.sqrt(lights[k, 8] ** 2 + lights[k, 9] ** 2 + lights[k, 10] ** 2)
        second = math.sqrt(lights[k, 11] ** 2 + lights[k, 12] ** 2 + lights[k, 13] ** 2)
        far = lights[k, 7] * max(first, second) * 1.0001
    square = wx * wx + wy * wy + wz * wz
    count = 0
    for at in range(number):
        p = among[k, at]
        px, py, pz = centre[p, 0] - cx, centre[p, 1] - cy, centre[p, 2] - cz
        s = min(max((px * wx + py * wy + pz * wz) / square, 0.0), 1.0)
        px, py, pz = px - s * wx, py - s * wy, pz - s * wz
        close = radius[p] + max(near, far)
        if px * px + py * py + pz * pz < close * close and _could_shade(
            p, matrix, origin, reach, cx, cy, cz, wx, wy, wz, near, far
        ):
            found[k, count] = p
            count += 1
    return count


@njit
def _all_casters(casts: Array, found: Array) -> int:
    """Lists in each row of `found` what throws shadows at all; returns how many."""
    count = 0
    for p in range(6, casts.shape[0]):
        if casts[p] != 0:
            found[:, count] = p
            count += 1
    return count


@njit
def _passes(start: float, way: float, spread: float, reach: float) -> bool:
    """Whether all rays of a beam stay on one outer side of a slab."""
    if start > reach:
        return start + way - spread > reach
    return start < -reach and start + way + spread < -reach


@njit
def _lit_share(
    x: float, y: float, z: float, own: int, block: int, k: int, lights: Array, points: Array, found: Array, count: int,
    kind: Array, matrix: Array, origin: Array, reach: Array, taper: Array, spread: Array,
) -> float:  # fmt: skip
    """Share of light `k` that a point of primitive `own` sees: four shadow rays."""
    dx, dy, dz = lights[k, 1], lights[k, 2], lights[k, 3]
    if lights[k, 0] == 2.0:
        dx, dy, dz = SUN_REACH * dx, SUN_REACH * dy, SUN_REACH * dz
    else:
        dx, dy, dz = dx - x, dy - y, dz - z
    blocked = 0
    for at in range(count):
        p = found[k, at]
        if p == own:  # convex: it cannot block a ray that leaves it
            continue
        ox = matrix[p, 0, 0] * x + matrix[p, 0, 1] * y + matrix[p, 0, 2] * z + origin[p, 0]
        oy = matrix[p, 1, 0] * x + matrix[p, 1, 1] * y + matrix[p, 1, 2] * z + origin[p, 1]
        oz = matrix[p, 2, 0] * x + matrix[p, 2, 1] * y + matrix[p, 2, 2] * z + origin[p, 2]
        ux = matrix[p, 0, 0] * dx + matrix[p, 0, 1] * dy + matrix[p, 0, 2] * dz
        uy = matrix[p, 1, 0] * dx + matrix[p, 1, 1] * dy + matrix[p, 1, 2] * dz
        uz = matrix[p, 2, 0] * dx + matrix[p, 2, 1] * dy + matrix[p, 2, 2] * dz
        if (
            _passes(ox, ux, abs(spread[k, p, 0]) + abs(spread[k, p, 3]), reach[p, 0])
            or _passes(oy, uy, abs(spread[k, p, 1]) + abs(spread[k, p, 4]), reach[p, 1])
            or _passes(oz, uz, abs(spread[k, p, 2]) + abs(spread[k, p, 5]), reach[p, 2])
        ):
            continue
        for n in range(4):
            if blocked & (1 << n):
                continue
            a, b = points[block, n, 0], points[block, n, 1]
            vx = ux + a * spread[k, p, 0] + b * spread[k, p, 3]
            vy = uy + a * spread[k, p, 1] + b * spread[k, p, 4]
            vz = uz + a * spread[k, p, 2] + b * spread[k, p, 5]
            t, _ = hit(kind[p], taper[p], ox, oy, oz, vx, vy, vz)
            if 1e-3 < t < 0.999:
                blocked |= 1 << n
        if blocked == 15:
            return 0.0
    lit = 4
    for n in range(4):
        lit -= (blocked >> n) & 1
    return 0.25 * lit


@njit
def _spreads(lights: Array, matrix: Array) -> Array:
    """(L, P, 6): both axes of each light's disc in the unit frame of each primitive."""
    spread = np.empty((lights.shape[0], matrix.shape[0], 6))
    for k in range(lights.shape[0]):
        first, size = (17, lights[k, 7] * SUN_REACH) if lights[k, 0] == 2.0 else (8, lights[k, 7])
        for p in range(matrix.shape[0]):
            for axis in range(3):
                one, two = 0.0, 0.0
                for c in range(3):
                    one += matrix[p, axis, c] * lights[k, first + c]
                    two += matrix[p, axis, c] * lights[k, 11 + c]
                spread[k, p, axis], spread[k, p, 3 + axis] = size * one, size * two
    return spread


@njit
def _towards(lights: Array, k: int, x: float, y: float, z: float) -> tuple[float, float, float, float]:
    """Unit vector to a light and the strength that arrives head-on, shadows aside."""
    lx, ly, lz = lights[k, 1], lights[k, 2], lights[k, 3]
    if lights[k, 0] == 2.0:
        wx, wy, wz = lights[k, 8] - x, lights[k, 9] - y, lights[k, 10] - z
        slope = lights[k, 14] * lx + lights[k, 15] * ly + lights[k, 16] * lz
        way = (lights[k, 14] * wx + lights[k, 15] * wy + lights[k, 16] * wz) / slope
        if way <= 0.0:
            return lx, ly, lz, 0.0
        wx, wy, wz = way * lx - wx, way * ly - wy, way * lz - wz
        soft = 0.03 + 0.01 * way
        side = abs(wx * lights[k, 17] + wy * lights[k, 18] + wz * lights[k, 19])
        rise = abs(wx * lights[k, 11] + wy * lights[k, 12] + wz * lights[k, 13])
        side, rise = (lights[k, 20] - side) / soft + 0.5, (lights[k, 21] - rise) / soft + 0.5
        return lx, ly, lz, min(max(side, 0.0), 1.0) * min(max(rise, 0.0), 1.0)
    lx, ly, lz = lx - x, ly - y, lz - z
    square = lx * lx + ly * ly + lz * lz
    length = math.sqrt(square)
    lx, ly, lz = lx / length, ly / length, lz / length
    strength = 1.0 / (square + lights[k, 22])
    if lights[k, 0] == 1.0:
        strength *= max(-(lights[k, 14] * lx + lights[k, 15] * ly + lights[k, 16] * lz), 0.0)
    return lx, ly, lz, strength


@njit
def _corner_shade(
    x: float, y: float, z: float, nx: float, ny: float, nz: float, matrix: Array, origin: Array, half: Array
) -> float:
    """Ambient occlusion by the faces of the room."""
    share = 1.0
    for axis in range(3):
        mx, my, mz, h = matrix[0, axis, 0], matrix[0, axis, 1], matrix[0, axis, 2], half[0, axis]
        unit = mx * x + my * y + mz * z + origin[0, axis]
        facing = (nx * mx + ny * my + nz * mz) * h
        low, high = (1.0 + unit) * h / 0.16, (1.0 - unit) * h / 0.16
        share *= 1.0 - 0.34 * (1.0 - max(facing, 0.0)) / (1.0 + low * low)
        share *= 1.0 - 0.34 * (1.0 - max(-facing, 0.0)) / (1.0 + high * high)
    return share


@njit
def _shine(nx: float, ny: float, nz: float, hx: float, hy: float, hz: float) -> float:
    """Blinn-Phong highlight with exponent 32; h need not have length 1."""
    shine = max((nx * hx + ny * hy + nz * hz) / math.sqrt(hx * hx + hy * hy + hz * hz), 0.0)
    for _ in range(5):
        shine *= shine
    return shine


@njit
def _shade_tile(
    top: int, bottom: int, left: int, right: int, camera: Array, kind: Array, matrix: Array, origin: Array, half: Array,
    taper: Array, reach: Array, gloss: Array, glow: Array, lights: Array, ambient: Array, up: Array, points: Array,
    depth: Array, seen: Array, normals: Array, albedo: Array, spread: Array, found: Array, counts: Array,
    radiance: Array,
) -> None:  # fmt: skip
    """Fills a tile of the radiance map, given what could shade it."""
    focal, cx, cy = camera[0, 0], camera[0, 2], camera[1, 2]
    for r in range(top, bottom):
        for q in range(left, right):
            z, p = depth[r, q], seen[r, q]
            x, y = (q - cx) / focal * z, (r - cy) / focal * z
            nx, ny, nz = normals[r, q, 0], normals[r, q, 1], normals[r, q, 2]
            red, green, blue = albedo[r, q, 0], albedo[r, q, 1], albedo[r, q, 2]
            sky = 0.5 + 0.5 * (nx * up[0] + ny * up[1] + nz * up[2])
            dark = _corner_shade(x, y, z, nx, ny, nz, matrix, origin, half)
            sum_red = red * (dark * (ambient[3] + sky * (ambient[0] - ambient[3])) + glow[p])
            sum_green = green * (dark * (ambient[4] + sky * (ambient[1] - ambient[4])) + glow[p])
            sum_blue = blue * (dark * (ambient[5] + sky * (ambient[2] - ambient[5])) + glow[p])
            away = math.sqrt(x * x + y * y + z * z)
            for k in range(lights.shape[0]):
                lx, ly, lz, strength = _towards(lights, k, x, y, z)
                facing = nx * lx + ny * ly + nz * lz
                if facing <= 0.0 or strength <= 0.0:
                    continue
                if counts[k] > 0:
                    strength *= _lit_share(
                        x, y, z, p, 2 * (r % 2) + q % 2, k, lights, points, found, counts[k],
                        kind, matrix, origin, reach, taper, spread,
                    )  # fmt: skip
                shine = 0.0
                if gloss[p] > 0.0:
                    shine = gloss[p] * _shine(nx, ny, nz, lx - x / away, ly - y / away, lz - z / away)
                sum_red += strength * lights[k, 4] * (facing * red + shine)
                sum_green += strength * lights[k, 5] * (facing * green + shine)
                sum_blue += strength * lights[k, 6] * (facing * blue + shine)
            radiance[r, q, 0], radiance[r, q, 1], radiance[r, q, 2] = sum_red, sum_green, sum_blue


@njit
def light(
    camera: Array, kind: Array, matrix: Array, origin: Array, half: Array, taper: Array, reach: Array, centre: Array,
    radius: Array, casts: Array, gloss: Array, glow: Array, lights: Array, ambient: Array, up: Array, points: Array,
    depth: Array, seen: Array, normals: Array, albedo: Array,
) -> Array:  # fmt: skip
    """Radiance (H, W, 3) of what is seen; arguments as in `Description`, `points` as `lights.SAMPLES`."""
    height, width = depth.shape
    number, count = lights.shape[0], kind.shape[0]
    radiance, spread = np.empty((height, width, 3)), _spreads(lights, matrix)
    low, high = np.empty(3), np.empty(3)
    # what throws shadows at all, what could do so in a block, what could do so in a tile
    whole, some, few = (
        np.empty((number, count), np.int64),
        np.empty((number, count), np.int64),
        np.empty((number, count), np.int64),
    )
    some_count, few_count = np.zeros(number, np.int64), np.zeros(number, np.int64)
    whole_count = _all_casters(casts, whole)
    for block_top in range(0, height, BLOCK):
        for block_left in range(0, width, BLOCK):
            block_bottom, block_right = min(block_top + BLOCK, height), min(block_left + BLOCK, width)
            _bounds(depth, camera, block_top, block_bottom, block_left, block_right, low, high)
            for k in range(number):
                some_count[k] = _casters(
                    k, lights, low, high, centre, radius, matrix, origin, reach, whole, whole_count, some
                )
            for top in range(block_top, block_bottom, TILE):
                for left in range(block_left, block_right, TILE):
                    bottom, right = min(top + TILE, height), min(left + TILE, width)
                    _bounds(depth, camera, top, bottom, left, right, low, high)
                    for k in range(number):
                        few_count[k] = _casters(
                            k, lights, low, high, centre, radius, matrix, origin, reach, some, some_count[k], few
                        )
                    _shade_tile(
                        top, bottom, left, right, camera, kind, matrix, origin, half, taper, reach, gloss, glow,
                        lights, ambient, up, points, depth, seen, normals, albedo, spread, few, few_count, radiance,
                    )  # fmt: skip
    return radiance
