"""Textures: colours as a function of a point on a surface.

Every pattern is one expression without branches, so that the same source is compiled for single points by numba and
called with whole arrays by the NumPy renderer. Patterns soften by themselves where a pixel covers more than a stripe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from mtdense.data.procedural.jit import jitable, where

__all__ = ["PATTERNS", "Texture", "bands", "clip", "hash_unit", "line", "noise"]

Num = Any
"""A float in compiled code, an array in the NumPy renderer."""


class Texture:
    """Numbers of the textures; those from PICTURE on show on the front of an object only."""

    PLAIN: Final = 0
    WOOD: Final = 1
    CHECKER: Final = 2
    STRIPES: Final = 3
    PLANKS: Final = 4
    TILES: Final = 5
    DOTS: Final = 6
    FABRIC: Final = 7
    PLAID: Final = 8
    LEAVES: Final = 9
    MARBLE: Final = 10
    BRICKS: Final = 11
    PICTURE: Final = 20
    BOOKS: Final = 21
    SCREEN: Final = 22
    WINDOW: Final = 23
    DOORS: Final = 24
    FACE: Final = 25


@jitable
def hash_unit(i: Num, j: Num, k: Num) -> Num:
    """Pseudo-random number in [0, 1) from three int64, the same on every platform."""
    h = (i * 2654435761 + j * 2246822519 + k * 3266489917) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822507) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 3266489909) & 0xFFFFFFFF
    return (h ^ (h >> 16)) * (1.0 / 4294967296.0)


@jitable
def noise(x: Num, y: Num, k: Num) -> Num:
    """Value noise in [0, 1) with features of size 1."""
    xf, yf = np.floor(x), np.floor(y)
    i, j = np.int64(xf), np.int64(yf)
    fx, fy = x - xf, y - yf
    fx, fy = fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy)
    top = hash_unit(i, j, k) * (1.0 - fx) + hash_unit(i + 1, j, k) * fx
    bottom = hash_unit(i, j + 1, k) * (1.0 - fx) + hash_unit(i + 1, j + 1, k) * fx
    return top * (1.0 - fy) + bottom * fy


@jitable
def clip(x: Num) -> Num:
    """Clamps to [0, 1]."""
    return np.minimum(np.maximum(x, 0.0), 1.0)


@jitable
def _fade(period: Num, footprint: Num) -> Num:
    """1 where a pattern of this period is resolved, 0 where it is far smaller than a pixel."""
    return clip(0.6 * period / footprint - 0.4)


@jitable
def bands(x: Num, period: Num, footprint: Num) -> Num:
    """Alternating bands of equal width: -1 and 1 with a ramp as wide as a pixel."""
    fraction = x / period - np.floor(x / period)
    return np.minimum(np.maximum((0.5 - 2.0 * np.abs(fraction - 0.5)) * period / footprint, -1.0), 1.0)


@jitable
def line(distance: Num, half_width: Num, footprint: Num) -> Num:
    """Coverage of a thin line at a distance from its middle."""
    return clip((half_width - distance) / footprint + 0.5) * np.minimum(1.0, 2.0 * half_width / footprint)


# Patterns: (a, b) metres on the surface, footprint = metres per pixel.
# They return the share of the second colour and a brightness.
@jitable
def _plain(a: Num, b: Num, scale: Num, seed: Num, footprint: Num) -> tuple[Num, Num]:
    return 0.0 * a, 0.97 + 0.06 * noise(2.5 * a, 2.5 * b, seed)


@jitable
def _wood(a: Num, b: Num, scale: Num, seed: Num, footprint: Num) -> tuple[Num, Num]:
    coarse = noise(a / scale, 9.0 * b / scale, seed)
    fine = noise(3.0 * a / scale, 40.0 * b / scale, seed + 1)
    fine = 0.5 + (fine - 0.5) * _fade(scale / 20.0, footprint)
    return clip(1.4 * coarse - 0.2) * 0.65 + 0.35 * fine, 1.0 + 0.0 * a


@jitable
def _checker(a: Num, b: Num, scale: Num, seed: Num, footprint: Num) -> tuple[Num, Num]:
    return 0.5 + 0.5 * bands(a, 2.0 * scale, footprint) * bands(b, 2.0 * scale, footprint), 1.0 + 0.0 * a


@jitable
def _stripes(a: Num, b: Num, scale: Num, seed: Num, footprint: Num) -> tuple[Num, Num]:
    along = where(seed % 2 == 0, a, b)
    return 0.5 + 0.5 * bands(along, scale, footprint), 1.0 + 0.0 * a


@jitable
def _planks(a: Num, b: Num, scale: Num, seed: Num, footprint: Num) -> tuple[Num, Num]:
    row = np.floor(b / scale)
    r = np.int64(row)
    length = 9.0 * scale
    along = a / length + hash_unit(r, r, seed)
    cell = np.floor(along)
    tone = hash_unit(r, np.int64(cell), seed + 2)
    grain = noise(a / scale, 12.0 * b / scale, seed + r)
    grain = 0.5 + (grain - 0.5) * _fade(scale / 6.0, footprint)
    side = b - row * scale
    gap = line(np.minimum(side, scale - side), 0.004, footprint)
    end = line(np.minimum(along - cell, cell + 1.0 - along) * length, 0.004, footprint)
    return 0.55 * tone * _fade(scale, footprint) + 0.4 * grain, 1.0 - 0.6 * np.maximum(gap, end)


@jitable
def _tiles(a: Num, b: Num, scale: Num, seed: Num, footprint: Num) -> tuple[Num, Num]:
    i, j = np.floor(a / scale), np.floor(b / scale)
    x, y = a - i * scale, b - j * scale
    edge = np.minimum(np.minimum(x, scale - x), np.minimum(y, scale - y))
    tone = (hash_unit(np.int64(i), np.int64(j), seed) - 0.5) * _fade(scale, footprint)
    return line(edge, 0.006, footprint), 1.0 + 0.16 * tone


@jitable
def _bricks(a: Num, b: Num, scale: Num, seed: Num, footprint: Num) -> tuple[Num, Num]:
    j = np.floor(b / scale)
    long = 3.0 * scale
    shifted = a + 0.5 * long * (j - 2.0 * np.floor(0.5 * j))
    i = np.floor(shifted / long)
    x, y = shifted - i * long, b - j * scale
    edge = np.minimum(np.minimum(x, long - x), np.minimum(y, scale - y))
    tone = (hash_unit(np.int64(i), np.int64(j), seed) - 0.5) * _fade(scale, footprint)
    return line(edge, 0.007, footprint), 1.0 + 0.35 * tone


@jitable
def _dots(a: Num, b: Num, scale: Num, seed: Num, footprint: Num) -> tuple[Num, Num]:
    j = np.floor(b / scale)
    shifted = a / scale + 0.5 * (j - 2.0 * np.floor(0.5 * j))
    x, y = shifted - np.floor(shifted) - 0.5, b / scale - j - 0.5
    round_dot = np.sqrt(x * x + y * y)
    diamond = np.abs(x) + np.abs(y)
    distance = where(seed % 2 == 0, round_dot, diamond) * scale
    inside = clip((0.28 * scale - distance) / footprint + 0.5)
    weight = _fade(scale, footprint)
    return inside * weight + 0.22 * (1.0 - weight), 1.0 + 0.0 * a


@jitable
def _fabric(a: Num, b: Num, scale: Num, seed: Num, footprint: Num) -> tuple[Num, Num]:
    fine = (noise(a / scale, b / scale, seed) - 0.5) * _fade(2.0 * scale, footprint)
    return 0.0 * a, 0.94 + 0.12 * noise(4.0 * a, 4.0 * b, seed) + 0.2 * fine


@jitable
def _plaid(a: Num, b: Num, scale: Num, seed: Num, footprint: Num) -> tuple[Num, Num]:
    across = 0.5 + 0.5 * bands(a, scale, footprint)
    down = 0.5 + 0.5 * bands(b, scale, footprint)
    return 0.5 * across + 0.5 * down, 1.0 + 0.0 * a


@jitable
def _leaves(a: Num, b: Num, scale: Num, seed: Num, footprint: Num) -> tuple[Num, Num]:
    spots = noise(a / scale, b / scale, seed)
    sharp = clip(4.0 * spots - 1.5)
    weight = _fade(2.0 * scale, footprint)
    return 0.5 + (sharp - 0.5) * weight, 1.0 + 0.0 * a


@jitable
def _marble(a: Num, b: Num, scale: Num, seed: Num, footprint: Num) -> tuple[Num, Num]:
    warp = noise(a / scale, b / scale, seed)
    veins = np.abs(noise(2.0 * a / scale + 3.0 * warp, 2.0 * b / scale, seed + 1) - 0.5)
    return 0.5 * clip(1.0 - 7.0 * veins) * _fade(0.3 * scale, footprint) + 0.3 * warp, 1.0 + 0.0 * a


PATTERNS: Final[dict[int, Callable[..., tuple[Num, Num]]]] = {
    Texture.PLAIN: _plain,
    Texture.WOOD: _wood,
    Texture.CHECKER: _checker,
    Texture.STRIPES: _stripes,
    Texture.PLANKS: _planks,
    Texture.TILES: _tiles,
    Texture.DOTS: _dots,
    Texture.FABRIC: _fabric,
    Texture.PLAID: _plaid,
    Texture.LEAVES: _leaves,
    Texture.MARBLE: _marble,
    Texture.BRICKS: _bricks,
}
"""Patterns of two colours by texture number: (second colour's share, brightness)."""
