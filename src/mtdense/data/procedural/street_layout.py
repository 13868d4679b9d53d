"""Streets: the ground, what lines it, and who stands or drives there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from mtdense.data.procedural.builder import Builder, Vector
from mtdense.data.procedural.classes import StreetClass
from mtdense.data.procedural.draws import Draws
from mtdense.data.procedural.materials import Material, Palette, albedo, plain
from mtdense.data.procedural.people import add_person
from mtdense.data.procedural.textures import Texture
from mtdense.data.procedural.vehicles import KINDS, VehicleKind, add_vehicle, draw_size

__all__ = ["FAR", "SKY_HEIGHT", "Parked", "Street", "fill_street"]

FAR = 150.0
"""Metres to the end of the world, in all four directions."""
SKY_HEIGHT = 60.0
"""Metres up to the sky."""

_MOST = 12
"""Vehicles in one street."""


class Parked(NamedTuple):
    """A vehicle where it stands.

    Args:
        instance: Its instance id.
        label: Its class.
        x: Place of its middle on the ground, to the right.
        y: Place of its middle on the ground, ahead.
        yaw: Turn of the frame that it was built in; it looks along that frame's -y.
        size: Length, width and height in metres.
    """

    instance: int
    label: StreetClass
    x: float
    y: float
    yaw: float
    size: tuple[float, float, float]


@dataclass
class Street:
    """A street under construction; it runs along y, and the camera stands at y = 0.

    Args:
        builder: Collects primitives.
        draws: Random numbers.
        palette: Materials.
        half: Half the width of the road.
        walk: Width of each pavement.
        eye: Where the camera is.
    """

    builder: Builder
    draws: Draws
    palette: Palette
    half: float
    walk: float
    eye: Vector
    vehicles: list[Parked] = field(default_factory=list)
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def is_free(self, x: float, y: float, half_x: float, half_y: float) -> bool:
        """Whether a rectangle of the ground holds nothing yet and is not about the camera."""
        x0, x1, y0, y1 = x - half_x, x + half_x, y - half_y, y + half_y
        if x0 < self.eye[0] + 1.4 and x1 > self.eye[0] - 1.4 and y0 < 4.0:
            return False
        return all(x1 + 0.2 <= a or x0 - 0.2 >= b or y1 + 0.3 <= c or y0 - 0.3 >= d for a, b, c, d in self.taken)

    def take(self, x: float, y: float, half_x: float, half_y: float) -> None:
        """Marks a rectangle as taken."""
        self.taken.append((x - half_x, x + half_x, y - half_y, y + half_y))


def fill_street(s: Street, asphalt: Material, sky: Material) -> None:
    """Builds the six faces of the world, and all that is in it."""
    half = (FAR, FAR, 0.5 * SKY_HEIGHT)
    for face in range(6):
        s.builder.begin(StreetClass.ROAD if face == 0 else StreetClass.SKY)
        s.builder.room_face(half, 0.5 * SKY_HEIGHT, asphalt if face == 0 else sky)
    _ground(s)
    for side in (-1.0, 1.0):
        _houses(s, side)
    if s.draws.chance(0.6):
        _house(s, 0.0, s.draws.uniform(95.0, 140.0), 0.0, s.half + s.walk + 4.0)
    _traffic(s)
    for side in (-1.0, 1.0):
        _kerb(s, side)
    _walkers(s)


# ---- the ground and what lines it ------------------------------------------------------------------------------------
def _ground(s: Street) -> None:
    d, b = s.draws, s.builder
    b.place(0.0, 0.0)
    slabs = Material(
        albedo(d.uniform(0.05, 0.12), d.uniform(0.0, 0.1), d.uniform(0.55, 0.75)), (0.1, 0.1, 0.1),
        Texture.TILES, d.uniform(0.4, 0.8), s.palette.seed(),
    )  # fmt: skip
    grass = albedo(d.uniform(0.2, 0.32), d.uniform(0.3, 0.6), d.uniform(0.35, 0.55))
    meadow = Material(grass, grass, Texture.FABRIC, 0.2, s.palette.seed())
    for side in (-1.0, 1.0):
        b.begin(StreetClass.SIDEWALK)
        b.box((side * (s.half + 0.5 * s.walk), 0.0, 0.06), (0.5 * s.walk, FAR, 0.06), slabs)
        b.begin(StreetClass.TERRAIN)
        edge = s.half + s.walk
        b.box((side * 0.5 * (edge + FAR), 0.0, 0.05), (0.5 * (FAR - edge), FAR, 0.05), meadow)
    b.begin(StreetClass.ROAD)
    white = plain(albedo(0.1, 0.02, d.uniform(0.75, 0.95)))
    start = d.uniform(0.0, 6.0)
    for n in range(12):
        b.box((0.0, start + 9.0 * n, 0.004), (0.06, 1.5, 0.004), white)


def _houses(s: Street, side: float) -> None:
    """A row of houses along one side, with gaps."""
    d = s.draws
    y = -12.0 - d.uniform(0.0, 8.0)
    while y < 0.75 * FAR:
        front = d.uniform(8.0, 18.0)
        if d.chance(0.8):
            _house(s, side, y + 0.5 * front, front, 0.0)
        else:
            _gap(s, side, y + 0.5 * front, front)
        y += front + (d.uniform(1.0, 4.0) if d.chance(0.3) else 0.0)


def _house(s: Street, side: float, y: float, front: float, across: float) -> None:
    """A house that looks at the street from one side or, with side 0, closes it."""
    d, b = s.draws, s.builder
    height, depth = d.uniform(6.5, 17.0), 5.0
    hue, saturation, value = d.uniform(0.02, 0.14), d.uniform(0.05, 0.5), d.uniform(0.5, 0.9)
    tone = albedo(hue, saturation, value)
    wall = Material(tone, albedo(0.1, 0.1, 0.6), d.choice((Texture.BRICKS, Texture.PLAIN)), 0.12, s.palette.seed())
    if side:
        b.place(side * (s.half + s.walk + depth), y, 0.0, -side * 0.5 * math.pi)
        half = 0.5 * front
    else:
        b.place(0.0, y, 0.0, 0.0)
        half = across
    b.begin(StreetClass.BUILDING)
    b.box((0, 0, 0.5 * height), (half, depth, 0.5 * height), wall)
    glass = (0.03, 0.04, 0.05) if d.chance(0.7) else albedo(0.58, 0.3, 0.5)
    panes = Material(glass, tone, Texture.STRIPES, d.uniform(1.2, 2.2), 2 * d.integer(0, 99), 0.2)
    storey = d.uniform(2.7, 3.4)
    for n in range(max(1, int((height - 0.6) / storey))):
        b.box((0, -depth, n * storey + 0.55 * storey), (0.94 * half, 0.04, 0.27 * storey), panes)


def _gap(s: Street, side: float, y: float, front: float) -> None:
    """Where no house stands: a fence, a wall or a hedge."""
    d, b = s.draws, s.builder
    b.place(side * (s.half + s.walk + 0.3), y, 0.0, -side * 0.5 * math.pi)
    kind, half = d.unit(), 0.5 * front - 0.1
    if kind < 0.4:
        wood = s.palette.wood()
        b.begin(StreetClass.FENCE)
        b.box((0, 0, 0.75), (half, 0.04, 0.6), wood._replace(texture=Texture.STRIPES, scale=0.3, seed=0))
    elif kind < 0.7:
        b.begin(StreetClass.WALL)
        stone = albedo(d.uniform(0.05, 0.12), d.uniform(0.0, 0.2), d.uniform(0.4, 0.7))
        b.box((0, 0, 0.9), (half, 0.15, 0.9), Material(stone, (0.2, 0.2, 0.2), Texture.BRICKS, 0.2, s.palette.seed()))
    else:
        b.begin(StreetClass.VEGETATION)
        leaves = s.palette.leaves()
        for n in range(3):
            b.ellipsoid(((n - 1) * 0.66 * half, 0, 1.1), (0.4 * half, 0.25, 1.1), leaves._replace(scale=0.15))


def _kerb(s: Street, side: float) -> None:
    """Trees, lamps, signs and lights along a pavement."""
    d, b = s.draws, s.builder
    y = d.uniform(5.0, 14.0)
    while y < 90.0:
        x = side * (s.half + 0.5)
        kind = d.unit()
        b.place(x, y, 0.1, 0.0)
        if kind < 0.4:
            _tree(s)
        elif kind < 0.85:
            metal = s.palette.metal()
            tall = d.uniform(5.0, 7.5) if kind < 0.6 else d.uniform(2.4, 3.2)
            b.begin(StreetClass.POLE)
            b.capsule((0, 0, 0.0), (0, 0, tall), 0.06, metal)
            if 0.6 <= kind < 0.75:
                b.begin(StreetClass.TRAFFIC_SIGN)
                bright = plain(albedo(d.choice((0.0, 0.14, 0.6)), 0.85, 0.9), 0.2)
                b.box((0, -0.09, tall - 0.35), (0.32, 0.02, 0.32), bright)
            elif kind >= 0.75:
                b.begin(StreetClass.TRAFFIC_LIGHT)
                b.box((0, -0.2, tall - 0.5), (0.15, 0.12, 0.42), plain((0.02, 0.02, 0.02)))
                lit = d.integer(0, 2)
                tone = ((0.9, 0.05, 0.03), (0.9, 0.5, 0.05), (0.05, 0.8, 0.2))[lit]
                b.ellipsoid((0, -0.32, tall - 0.24 - 0.26 * lit), (0.09, 0.05, 0.09), plain(tone, 0.0, 1.2))
        y += d.uniform(6.0, 17.0)


def _tree(s: Street) -> None:
    d, b = s.draws, s.builder
    stem, crown = d.uniform(2.0, 3.2), d.uniform(1.1, 2.0)
    b.begin(StreetClass.VEGETATION)
    b.cylinder((0, 0, 0.5 * stem), (0.14, 0.14, 0.5 * stem), plain(albedo(0.07, 0.4, 0.35)), taper=0.2)
    leaves = s.palette.leaves()._replace(scale=0.22)
    b.ellipsoid((0, 0, stem + 0.45 * crown), (0.75 * crown, 0.75 * crown, 0.65 * crown), leaves)  # on the stem
    for _ in range(3):
        place = (d.uniform(-0.5, 0.5) * crown, d.uniform(-0.5, 0.5) * crown, stem + d.uniform(0.6, 1.3) * crown)
        radius = crown * d.uniform(0.6, 0.9)
        b.ellipsoid(place, (radius, radius, 0.9 * radius), leaves)


# ---- who is there ----------------------------------------------------------------------------------------------------
def _kind(s: Street, parks: bool) -> VehicleKind:
    kinds = [kind for kind in KINDS if kind.parks or not parks]
    share = s.draws.unit() * sum(kind.share for kind in kinds)
    for kind in kinds:
        share -= kind.share
        if share < 0:
            return kind
    return kinds[-1]


def _stand(s: Street, kind: VehicleKind, size: tuple[float, float, float], x: float, y: float, yaw: float) -> None:
    """Puts a vehicle somewhere if there is room."""
    length, width, _ = size
    c, sn = abs(math.cos(yaw)), abs(math.sin(yaw))
    half_x, half_y = 0.5 * (width * c + length * sn), 0.5 * (width * sn + length * c)
    if len(s.vehicles) < _MOST and s.is_free(x, y, half_x, half_y):
        s.take(x, y, half_x, half_y)
        s.builder.place(x, y, 0.0, yaw)
        instance = add_vehicle(s.builder, s.draws, s.palette, kind, size)
        s.vehicles.append(Parked(instance, kind.label, x, y, yaw, size))


def _traffic(s: Street) -> None:
    """Vehicles on the road first, then those at the kerbs; one street in twelve has none."""
    d = s.draws
    if d.chance(0.08):
        return
    for _ in range(d.integer(1, 4)):
        kind = _kind(s, parks=False)
        size = draw_size(d, kind)
        ahead = d.chance(0.5)
        x = d.uniform(0.15, 0.5) * s.half * (1.0 if ahead else -1.0)
        yaw = (math.pi if ahead else 0.0) + d.degrees(-5, 5)
        if d.chance(0.15):
            yaw += d.degrees(40, 140) * d.sign()
        near = 6.0 + 0.5 * size[0]
        _stand(s, kind, size, x, near + 55.0 * d.unit() ** 1.5, yaw)
    for side in (1.0, -1.0):
        y, ends = d.uniform(4.0, 16.0), d.uniform(20.0, 80.0)
        while y < ends:
            kind = _kind(s, parks=True)
            size = draw_size(d, kind)
            if d.chance(0.55):
                turned = math.pi if (side > 0) != d.chance(0.15) else 0.0
                x = side * (s.half - 0.5 * size[1] - 0.25)
                _stand(s, kind, size, x, y + 0.5 * size[0], turned + d.degrees(-3, 3))
            y += size[0] + d.uniform(0.8, 4.0)


def _walkers(s: Street) -> None:
    d = s.draws
    for _ in range(d.integer(0, 4)):
        x = d.sign() * (s.half + d.uniform(0.25, 0.85) * s.walk) if d.chance(0.8) else d.uniform(-0.8, 0.8) * s.half
        y = d.uniform(7.0, 40.0)
        if s.is_free(x, y, 0.35, 0.35):
            s.take(x, y, 0.35, 0.35)
            s.builder.place(x, y, 0.12 if abs(x) > s.half else 0.0, d.degrees(-180, 180))
            add_person(s.builder, d, s.palette, None, 0.5)
