"""Light of a scene: lamps, the sky in windows, the sun through windows, a fill light and the ambient light."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from mtdense.data.procedural.builder import Vector
from mtdense.data.procedural.stage import Opening, Stage

__all__ = ["LIGHT_COLUMNS", "SAMPLES", "SUN_REACH", "LightKind", "draw_lights", "light_row"]


class LightKind:
    """Numbers of the kinds of light."""

    POINT: Final = 0
    SKY: Final = 1
    SUN: Final = 2


LIGHT_COLUMNS: Final = 23
"""kind 0 | position, or direction to the sun 1:4 | colour 4:7 | spread 7 | first 8:11 and second 11:14 spread axis |
window: inward normal 14:17, along 17:20, half width 20, half height 21 | 22: core, in
square metres, that tames the light close by. For the sun the spread axes' slot 8:11 holds
the window's middle, and 11:14 the window's up axis."""
SUN_REACH: Final = 15.0
"""Metres that a shadow ray to the sun is followed."""


def _samples() -> npt.NDArray[np.float64]:
    """(4, 4, 2) points of the unit disc: four per pixel, turned from pixel to pixel of a 2 x 2 block."""
    points = np.empty((4, 4, 2))
    for block in range(4):
        for n in range(4):
            angle = 2.0 * math.pi * (n / 4.0 + (0, 2, 3, 1)[block] / 16.0 + 0.13 * n)
            radius = math.sqrt((n + 0.25 + 0.125 * block) / 4.0)
            points[block, n] = radius * math.cos(angle), radius * math.sin(angle)
    return points


SAMPLES: Final = _samples()
"""Where on a light's disc the shadow rays of a pixel end: [2 * (row % 2) + column % 2, sample]."""


def light_row(
    kind: int,
    position: Vector,
    colour: Vector,
    spread: float,
    first: Vector = (1.0, 0.0, 0.0),
    second: Vector = (0.0, 1.0, 0.0),
    opening: Opening | None = None,
    core: float = 0.4,
) -> tuple[float, ...]:
    """A row of lights, see `LIGHT_COLUMNS`."""
    if opening is None:
        window: tuple[float, ...] = (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, 0.0)
    else:
        window = (*opening.normal, *opening.along, opening.half_width, opening.half_height)
    return (float(kind), *position, *colour, spread, *first, *second, *window, core)


def _scaled(colour: Vector, factor: float) -> Vector:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def draw_lights(s: Stage, floor: Vector) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Draws the lights of a furnished room.

    Args:
        s: The room.
        floor: Albedo of the floor, which tints the light from below.

    Returns:
        (L, LIGHT_COLUMNS) lights in world coordinates; (6,) ambient light from above and from below.
    """
    d = s.draws
    rows = []
    for lamp in sorted(s.lamps, key=lambda lamp: -lamp.strength)[:2]:
        colour = (1.0, d.uniform(0.72, 0.86), d.uniform(0.45, 0.68)) if lamp.warm else (1.0, 0.93, d.uniform(0.75, 1.0))
        rows.append(light_row(LightKind.POINT, lamp.position, _scaled(colour, 1.9 * lamp.strength), 0.14, core=0.6))
    sky = (d.uniform(0.78, 0.95), d.uniform(0.88, 0.97), 1.0)
    if not s.night:
        for opening in s.openings[:2]:
            area = 4.0 * opening.half_width * opening.half_height
            strength = d.uniform(2.2, 4.2) * area
            along, up = _scaled(opening.along, opening.half_width), (0.0, 0.0, opening.half_height)
            rows.append(light_row(LightKind.SKY, opening.centre, _scaled(sky, strength), 0.6, along, up, opening))
        if s.openings and d.chance(0.5):
            rows.append(_sun(s, s.openings[0]))
    # light bounced from the ceiling: wide, soft, never off, so that nothing floats without a shadow
    corner = (d.uniform(-0.5, 0.5) * s.half_x, d.uniform(-0.3, 0.4) * s.half_y, s.height - 0.3)
    rows.append(light_row(LightKind.POINT, corner, _scaled(sky, d.uniform(1.0, 2.1)), 0.32, core=1.6))
    above = _scaled(sky, d.uniform(0.17, 0.34))
    below = tuple(0.85 * a * (0.45 + 0.55 * f) for a, f in zip(above, floor, strict=True))
    return np.array(rows, dtype=np.float64), np.array([*above, *below], dtype=np.float64)


def _sun(s: Stage, opening: Opening) -> tuple[float, ...]:
    """Sun through a window: it comes from outside and from above."""
    d = s.draws
    turn, rise = d.degrees(-45, 45), d.degrees(22, 50)
    n, u = opening.normal, opening.along
    out = (-n[0] * math.cos(turn) + u[0] * math.sin(turn), -n[1] * math.cos(turn) + u[1] * math.sin(turn))
    direction = (out[0] * math.cos(rise), out[1] * math.cos(rise), math.sin(rise))
    colour = _scaled((1.0, d.uniform(0.82, 0.95), d.uniform(0.6, 0.82)), d.uniform(1.2, 2.6))
    return light_row(LightKind.SUN, direction, colour, 0.02, opening.centre, (0.0, 0.0, 1.0), opening)
