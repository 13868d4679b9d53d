"""Textures with colours of their own: paintings, book spines, screens, windows, cabinet doors, faces, rugs.

Written like `textures`: one expression each, for single points and for arrays alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from mtdense.data.procedural.jit import jitable, where
from mtdense.data.procedural.textures import Texture, bands, clip, hash_unit, line, noise

__all__ = ["PICTURES", "rug_pattern", "trim_pattern"]

Num = Any
Colour = tuple[Num, Num, Num]


@jitable
def _hue(h: Num, saturation: Num, value: Num) -> Colour:
    """Linear colour of a hue in [0, 1)."""
    r = clip(np.abs(6.0 * h - 3.0) - 1.0)
    g = clip(2.0 - np.abs(6.0 * h - 2.0))
    b = clip(2.0 - np.abs(6.0 * h - 4.0))
    base = 1.0 - saturation
    r, g, b = value * (base + saturation * r), value * (base + saturation * g), value * (base + saturation * b)
    return r * r, g * g, b * b


@jitable
def _over(m: Num, top: Colour, under: Colour) -> Colour:
    return (
        under[0] + m * (top[0] - under[0]),
        under[1] + m * (top[1] - under[1]),
        under[2] + m * (top[2] - under[2]),
    )


@jitable
def _painting(a: Num, u: Num, v: Num, first: Colour, second: Colour, scale: Num, seed: Num, footprint: Num) -> Colour:
    """A landscape or an abstract in a frame (first colour) and a mount (second colour)."""
    zero = 0 * seed
    # landscape: sky over two ranges of hills, a sun
    sky = _hue(0.55 + 0.1 * hash_unit(seed, zero, zero + 1) + 0.0 * u, 0.5 - 0.4 * v, 0.9)
    far = _hue(hash_unit(seed, zero, zero + 2) + 0.0 * u, 0.4, 0.6)
    near = _hue(hash_unit(seed, zero, zero + 3) + 0.0 * u, 0.6, 0.35)
    soft = footprint / np.maximum(scale, 0.05)
    ridge = 0.8 * noise(1.7 * u + 7.0, 0.0 * u, seed) - 0.3
    crest = 0.9 * noise(1.2 * u + 3.0, 0.0 * u, seed + 1) - 0.9
    du, dv = u - 1.2 * hash_unit(seed, zero, zero + 4) + 0.6, v - 0.4
    sun = clip((0.2 - np.sqrt(du * du + dv * dv)) / soft + 0.5)
    scene = _over(sun, _hue(0.1 + 0.0 * u, 0.3, 1.0), sky)
    scene = _over(clip((ridge - v) / soft + 0.5), far, scene)
    scene = _over(clip((crest - v) / soft + 0.5), near, scene)
    # abstract: blocks of colour and a disc
    i = np.int64(np.floor(1.3 * u + 0.2 + hash_unit(seed, zero, zero + 5)))
    j = np.int64(np.floor(1.6 * v + 0.4 + hash_unit(seed, zero, zero + 6)))
    block = _hue(hash_unit(i, j, seed), 0.25 + 0.5 * hash_unit(i, j, seed + 1), 0.45 + 0.5 * hash_unit(i, j, seed + 2))
    ring = clip((0.42 - np.sqrt(u * u + v * v)) / soft + 0.5)
    block = _over(ring, _hue(hash_unit(seed, zero, zero + 7) + 0.0 * u, 0.7, 0.9), block)
    scene = _over(where(seed % 5 < 3, 1.0, 0.0), scene, block)
    edge = np.maximum(np.abs(u), np.abs(v))
    scene = _over(clip((edge - 0.78) / soft + 0.5), second, scene)
    return _over(clip((edge - 0.9) / soft + 0.5), first, scene)


@jitable
def _books(a: Num, u: Num, v: Num, first: Colour, second: Colour, scale: Num, seed: Num, footprint: Num) -> Colour:
    """Book spines side by side: colours, titles, uneven tops."""
    cell = np.floor(a / scale)
    i = np.int64(cell)
    pair = np.int64(np.floor(0.5 * cell + 0.5 * hash_unit(seed, seed, seed)))
    x = a / scale - cell
    zero = 0 * i
    hue = hash_unit(pair, zero, seed)
    spine = _hue(hue, 0.2 + 0.55 * hash_unit(i, zero + 1, seed), 0.3 + 0.6 * hash_unit(i, zero + 2, seed))
    title = (
        (np.abs(v - 0.25 + 0.5 * hash_unit(i, zero + 3, seed)) < 0.12)
        & (np.abs(x - 0.5) < 0.3)
        & (footprint < 0.4 * scale)
    )
    spine = _over(where(title, 0.8, 0.0), _hue(0.12 + 0.0 * a, 0.2, 0.95), spine)
    gap = line(np.minimum(x, 1.0 - x) * scale, 0.003, footprint)
    top = where(v > 0.95 - 0.5 * hash_unit(i, zero + 4, seed), 1.0, 0.0)
    dark = 1.0 - 0.75 * np.maximum(gap, top)
    return dark * spine[0], dark * spine[1], dark * spine[2]


@jitable
def _screen(a: Num, u: Num, v: Num, first: Colour, second: Colour, scale: Num, seed: Num, footprint: Num) -> Colour:
    """A television in its bezel (first colour): off with a slanting reflection, or showing something."""
    sheen = clip(0.5 + 2.0 * (0.6 * u + v - 0.3))
    off = (0.01 + 0.06 * sheen, 0.012 + 0.065 * sheen, 0.015 + 0.075 * sheen)
    k = noise(1.5 * u + 9.0, 1.5 * v + 5.0, seed)
    shown = _hue(
        hash_unit(seed, seed, seed) * 0.6 + 0.4 * k, 0.6 + 0.0 * u, 0.25 + 0.7 * noise(2.0 * u, 2.0 * v, seed + 1)
    )
    picture = _over(where(seed % 2 == 0, 1.0, 0.0), shown, off)
    edge = where((np.abs(u) > 0.95) | (np.abs(v) > 0.92), 1.0, 0.0)
    return _over(edge, first, picture)


@jitable
def _window(a: Num, u: Num, v: Num, first: Colour, second: Colour, scale: Num, seed: Num, footprint: Num) -> Colour:
    """Panes between bars (first colour) with the world outside (second colour: the sky)."""
    height = 0.5 * (v + 1.0)
    trees = clip(4.0 * (0.15 + 0.3 * noise(2.5 * u + 8.0, 0.0 * u, seed) - height) + 0.5)
    speckle = 0.5 + noise(6.0 * u, 6.0 * v, seed + 1)
    sky = (second[0] * (1.3 - 0.5 * height), second[1] * (1.25 - 0.35 * height), second[2] * (1.1 - 0.1 * height))
    ground = (0.12 * speckle * second[0], 0.2 * speckle * second[1], 0.08 * speckle * second[2])
    view = _over(trees, ground, sky)
    columns = 1.0 + np.floor(hash_unit(seed, seed, seed) * 2.99)
    rows = 1.0 + np.floor(hash_unit(seed, seed + 1, seed) * 2.49)
    x, y = 0.5 * (u + 1.0) * columns, 0.5 * (v + 1.0) * rows
    dx = np.minimum(x - np.floor(x), 1.0 - x + np.floor(x)) / columns
    dy = np.minimum(y - np.floor(y), 1.0 - y + np.floor(y)) / rows
    bars = where((dx < 0.025) | (dy < 0.02) | (np.abs(u) > 0.9) | (np.abs(v) > 0.92), 1.0, 0.0)
    return _over(bars, first, view)


@jitable
def _doors(a: Num, u: Num, v: Num, first: Colour, second: Colour, scale: Num, seed: Num, footprint: Num) -> Colour:
    """Doors or drawers of a cabinet (columns and rows from the seed) with gaps and knobs (second colour)."""
    columns = 1.0 + seed % 3
    rows = 1.0 + (seed // 3) % 5
    x, y = 0.5 * (u + 1.0) * columns, 0.5 * (v + 1.0) * rows
    fx, fy = x - np.floor(x), y - np.floor(y)
    edge = np.minimum(np.minimum(fx, 1.0 - fx) / columns, np.minimum(fy, 1.0 - fy) / rows)
    gap = where(edge < 0.008, 0.7, where(edge < 0.05, 0.08, 0.0))
    streak = 0.92 + 0.16 * noise(4.0 * a, 12.0 * v, seed)
    knob = where(np.maximum(np.abs(fx - 0.5) / columns, 0.6 * np.abs(fy - 0.55) / rows) < 0.03, 1.0, 0.0)
    shade = streak * (1.0 - gap)
    return _over(knob, second, (shade * first[0], shade * first[1], shade * first[2]))


@jitable
def _face(a: Num, u: Num, v: Num, first: Colour, second: Colour, scale: Num, seed: Num, footprint: Num) -> Colour:
    """Eyes and a mouth on skin (first colour)."""
    ex, ey = np.abs(u) - 0.36, v - 0.06
    eyes = where(ex * ex + 2.0 * ey * ey < 0.012, 0.85, 0.0)
    mouth = where((np.abs(u) < 0.25) & (np.abs(v + 0.48) < 0.05), 0.55, 0.0)
    dark = (0.03 + 0.0 * u, 0.02 + 0.0 * u, 0.02 + 0.0 * u)
    red = (0.4 + 0.0 * u, 0.08 + 0.0 * u, 0.07 + 0.0 * u)
    skin = _over(mouth, red, (first[0] + 0.0 * u, first[1] + 0.0 * u, first[2] + 0.0 * u))
    return _over(eyes, dark, skin)


PICTURES: Final[dict[int, Callable[..., Colour]]] = {
    Texture.PICTURE: _painting,
    Texture.BOOKS: _books,
    Texture.SCREEN: _screen,
    Texture.WINDOW: _window,
    Texture.DOORS: _doors,
    Texture.FACE: _face,
}
"""Textures with colours of their own, by texture number."""


@jitable
def rug_pattern(x: Num, y: Num, rug: Any, colour: Colour, footprint: Num) -> Colour:
    """Lays the rug of a scene over the floor's colour.

    Args:
        x: Metres on the floor, the room's x axis.
        y: Metres on the floor, the room's y axis.
        rug: (16,) centre x and y, cosine and sine of its turn, half length, half width, three colours, style.
        colour: Colour of the floor.
        footprint: Metres per pixel.
    """
    dx, dy = x - rug[0], y - rug[1]
    p, q = rug[2] * dx + rug[3] * dy, rug[2] * dy - rug[3] * dx
    style = rug[15]
    oval = (np.sqrt((p / rug[4]) * (p / rug[4]) + (q / rug[5]) * (q / rug[5])) - 1.0) * rug[5]
    outside = where(style >= 3.0, oval, np.maximum(np.abs(p) - rug[4], np.abs(q) - rug[5]))
    lines = 0.5 + 0.5 * bands(p, 0.36, footprint)
    checks = 0.5 + 0.5 * bands(p, 0.5, footprint) * bands(q, 0.5, footprint)
    rings = 0.5 + 0.5 * bands(np.abs(p) + np.abs(q), 0.4, footprint)
    kind = style - 3.0 * np.floor(style / 3.0)
    m = where(kind < 1.0, lines, where(kind < 2.0, checks, rings))
    inner = _over(m, (rug[6], rug[7], rug[8]), (rug[9], rug[10], rug[11]))
    inner = _over(clip((outside + 0.12) / footprint + 0.5), (rug[12], rug[13], rug[14]), inner)
    return _over(clip(0.5 - outside / footprint), inner, colour)


@jitable
def trim_pattern(height: Num, trim: Any, colour: Colour, footprint: Num) -> Colour:
    """Paints skirting board and dado on a wall.

    Args:
        height: Metres above the floor.
        trim: (8,) height of the skirting, its colour, height of the dado (0: none), its colour.
        colour: Colour of the wall.
        footprint: Metres per pixel.
    """
    lower = clip((trim[4] - height) / footprint + 0.5) * where(trim[4] > 0.0, 1.0, 0.0)
    colour = _over(lower, (trim[5], trim[6], trim[7]), colour)
    return _over(clip((trim[0] - height) / footprint + 0.5), (trim[1], trim[2], trim[3]), colour)
