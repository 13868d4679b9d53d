"""Compiled colours and normals: geometry and texture of what each pixel sees.

`render_numpy` is the plain version of the same maths.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mtdense.data.procedural.jit import njit
from mtdense.data.procedural.pictures import PICTURES, rug_pattern, trim_pattern
from mtdense.data.procedural.textures import PATTERNS, Texture

__all__ = ["surfaces"]

Array = Any

# A compiled function cannot look functions up in a dictionary, so each texture gets a name here.
_plain, _wood, _checker, _stripes = PATTERNS[0], PATTERNS[1], PATTERNS[2], PATTERNS[3]
_planks, _tiles, _dots, _fabric = PATTERNS[4], PATTERNS[5], PATTERNS[6], PATTERNS[7]
_plaid, _leaves, _marble, _bricks = PATTERNS[8], PATTERNS[9], PATTERNS[10], PATTERNS[11]
_painting, _books, _screen = PICTURES[Texture.PICTURE], PICTURES[Texture.BOOKS], PICTURES[Texture.SCREEN]
_window, _doors, _face = PICTURES[Texture.WINDOW], PICTURES[Texture.DOORS], PICTURES[Texture.FACE]


@njit
def _pattern(texture: int, a: float, b: float, scale: float, seed: int, footprint: float) -> tuple[float, float]:
    if texture == 1:
        return _wood(a, b, scale, seed, footprint)
    if texture == 2:
        return _checker(a, b, scale, seed, footprint)
    if texture == 3:
        return _stripes(a, b, scale, seed, footprint)
    if texture == 4:
        return _planks(a, b, scale, seed, footprint)
    if texture == 5:
        return _tiles(a, b, scale, seed, footprint)
    if texture == 6:
        return _dots(a, b, scale, seed, footprint)
    if texture == 7:
        return _fabric(a, b, scale, seed, footprint)
    if texture == 8:
        return _plaid(a, b, scale, seed, footprint)
    if texture == 9:
        return _leaves(a, b, scale, seed, footprint)
    if texture == 10:
        return _marble(a, b, scale, seed, footprint)
    if texture == 11:
        return _bricks(a, b, scale, seed, footprint)
    return _plain(a, b, scale, seed, footprint)


@njit
def _picture(
    texture: int,
    a: float,
    u: float,
    v: float,
    one: tuple[float, float, float],
    two: tuple[float, float, float],
    scale: float,
    seed: int,
    footprint: float,
) -> tuple[float, float, float]:
    if texture == 20:
        return _painting(a, u, v, one, two, scale, seed, footprint)
    if texture == 21:
        return _books(a, u, v, one, two, scale, seed, footprint)
    if texture == 22:
        return _screen(a, u, v, one, two, scale, seed, footprint)
    if texture == 23:
        return _window(a, u, v, one, two, scale, seed, footprint)
    if texture == 24:
        return _doors(a, u, v, one, two, scale, seed, footprint)
    return _face(a, u, v, one, two, scale, seed, footprint)


@njit
def _geometry(
    kind: int, number: int, code: int, taper: float, ux: float, uy: float, uz: float
) -> tuple[float, float, float, int]:
    """Outward gradient in the unit frame and the axis that the face stands on (-1: none)."""
    if kind == 0:
        axis, sign = (2, 0, 1)[number // 2], 1.0 if number % 2 == 0 else -1.0
        return (sign if axis == 0 else 0.0), (sign if axis == 1 else 0.0), (sign if axis == 2 else 0.0), axis
    if kind == 1:
        axis, sign = code // 2, -1.0 if code % 2 == 0 else 1.0
        return (sign if axis == 0 else 0.0), (sign if axis == 1 else 0.0), (sign if axis == 2 else 0.0), axis
    if kind == 2:
        return ux, uy, uz, -1
    if kind == 3:
        if code == 0:
            return ux, uy, taper * (1.0 - taper * uz), -1
        return 0.0, 0.0, (-1.0 if code == 1 else 1.0), 2
    if code == 0:
        return ux, uy, 0.0, -1
    return ux, uy, (uz + taper if code == 1 else uz - taper), -1


@njit
def surfaces(
    camera: Array,
    kind: Array,
    matrix: Array,
    origin: Array,
    half: Array,
    taper: Array,
    colours: Array,
    texture: Array,
    scale: Array,
    seed: Array,
    rug: Array,
    trim: Array,
    depth: Array,
    seen: Array,
    face: Array,
) -> tuple[Array, Array]:
    """Normals (H, W, 3) and albedo (H, W, 3) of what is seen."""
    height, width = depth.shape
    focal, cx, cy = camera[0, 0], camera[0, 2], camera[1, 2]
    normals, albedo = np.empty((height, width, 3)), np.empty((height, width, 3))
    for r in range(height):
        for q in range(width):
            p, t = seen[r, q], depth[r, q]
            x, y = (q - cx) / focal * t, (r - cy) / focal * t
            k, hx, hy, hz = kind[p], half[p, 0], half[p, 1], half[p, 2]
            ux = matrix[p, 0, 0] * x + matrix[p, 0, 1] * y + matrix[p, 0, 2] * t + origin[p, 0]
            uy = matrix[p, 1, 0] * x + matrix[p, 1, 1] * y + matrix[p, 1, 2] * t + origin[p, 1]
            uz = matrix[p, 2, 0] * x + matrix[p, 2, 1] * y + matrix[p, 2, 2] * t + origin[p, 2]
            gx, gy, gz, axis = _geometry(k, p, face[r, q], taper[p], ux, uy, uz)
            nx = matrix[p, 0, 0] * gx + matrix[p, 1, 0] * gy + matrix[p, 2, 0] * gz
            ny = matrix[p, 0, 1] * gx + matrix[p, 1, 1] * gy + matrix[p, 2, 1] * gz
            nz = matrix[p, 0, 2] * gx + matrix[p, 1, 2] * gy + matrix[p, 2, 2] * gz
            length = math.sqrt(nx * nx + ny * ny + nz * nz)
            normals[r, q, 0], normals[r, q, 1], normals[r, q, 2] = nx / length, ny / length, nz / length
            if axis == 0:
                a, b = uy * hy, uz * hz
            elif axis == 1:
                a, b = ux * hx, uz * hz
            elif axis == 2:
                a, b = ux * hx, uy * hy
            else:
                a, b = ux * hx + 0.7 * uy * hy, uz * hz
            footprint = t / focal
            front = (k == 1 and face[r, q] == 2) or (k == 2 and uy < 0.0)
            one = (colours[p, 0], colours[p, 1], colours[p, 2])
            two = (colours[p, 3], colours[p, 4], colours[p, 5])
            if texture[p] < 20:
                share, bright = _pattern(texture[p], a, b, scale[p], seed[p], footprint)
                red = bright * (one[0] + share * (two[0] - one[0]))
                green = bright * (one[1] + share * (two[1] - one[1]))
                blue = bright * (one[2] + share * (two[2] - one[2]))
                colour = (red, green, blue)
            elif front:
                colour = _picture(texture[p], a, ux, uz, one, two, scale[p], seed[p], footprint)
            else:
                colour = one
            if p == 0 and rug[4] > 0.0:
                colour = rug_pattern(a, b, rug, colour, footprint)
            elif 2 <= p < 6:
                colour = trim_pattern(b + hz, trim, colour, footprint)
            albedo[r, q, 0], albedo[r, q, 1], albedo[r, q, 2] = colour
    return normals, albedo
