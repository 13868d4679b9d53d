"""Vehicles of streets: each fills a box of its length, width and height, and nothing of it reaches out of that box."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from mtdense.data.procedural.builder import Builder
from mtdense.data.procedural.classes import StreetClass
from mtdense.data.procedural.draws import Draws
from mtdense.data.procedural.materials import Material, Palette, albedo, plain
from mtdense.data.procedural.textures import Texture

__all__ = ["KINDS", "VehicleKind", "add_vehicle", "draw_size"]


class VehicleKind(NamedTuple):
    """A sort of vehicle.

    Args:
        label: Its class.
        length: Smallest and largest, metres.
        width: As length.
        height: As length.
        share: How often it is met.
        parks: Whether it may stand at the kerb.
    """

    label: StreetClass
    length: tuple[float, float]
    width: tuple[float, float]
    height: tuple[float, float]
    share: float
    parks: bool


KINDS = (
    VehicleKind(StreetClass.CAR, (3.6, 4.9), (1.65, 1.9), (1.4, 1.75), 0.6, True),
    VehicleKind(StreetClass.TRUCK, (5.5, 8.5), (2.2, 2.5), (2.6, 3.6), 0.1, True),
    VehicleKind(StreetClass.BUS, (9.0, 12.0), (2.4, 2.55), (2.9, 3.3), 0.07, False),
    VehicleKind(StreetClass.TRAIN, (14.0, 22.0), (2.4, 2.65), (3.4, 3.7), 0.05, False),
    VehicleKind(StreetClass.MOTORCYCLE, (1.9, 2.3), (0.7, 0.9), (1.1, 1.4), 0.06, True),
    VehicleKind(StreetClass.BICYCLE, (1.6, 1.9), (0.45, 0.65), (1.0, 1.2), 0.07, True),
    VehicleKind(StreetClass.CARAVAN, (4.5, 6.0), (2.0, 2.3), (2.4, 2.7), 0.02, True),
    VehicleKind(StreetClass.TRAILER, (2.5, 4.5), (1.5, 2.0), (1.2, 2.0), 0.03, True),
)
"""All sorts; shares add up to 1."""

Size = tuple[float, float, float]

_RUBBER = plain((0.015, 0.015, 0.017))
_GLASS = plain((0.02, 0.025, 0.03), 0.5)
_LAMP = plain((0.9, 0.88, 0.8), 0.3, 0.6)
_TAIL = plain((0.5, 0.02, 0.02), 0.3, 0.25)


def draw_size(draws: Draws, kind: VehicleKind) -> Size:
    """Length, width and height of a vehicle."""
    return draws.uniform(*kind.length), draws.uniform(*kind.width), draws.uniform(*kind.height)


def add_vehicle(builder: Builder, draws: Draws, palette: Palette, kind: VehicleKind, size: Size) -> int:
    """Adds a vehicle at the current frame, on its ground and looking along -y, and returns its instance id."""
    instance = builder.begin(kind.label, 0.5)
    paint = draws.chance(0.55)
    hue, saturation = draws.unit(), draws.uniform(0.4, 0.9) if paint else draws.uniform(0.0, 0.08)
    body = plain(albedo(hue, saturation, draws.uniform(0.3, 0.95)), draws.uniform(0.15, 0.45))
    _BUILDERS.get(kind.label, _wagon)(builder, draws, palette, body, size)
    return instance


def _wheels(b: Builder, size: Size, radius: float, places: tuple[float, ...]) -> None:
    """Pairs of wheels, their tread on the ground and their outer side flush with the vehicle's."""
    for y in places:
        for side in (-1.0, 1.0):
            b.ellipsoid((side * (0.5 * size[1] - 0.12), y, radius), (0.12, radius, radius), _RUBBER)


def _lamps(b: Builder, size: Size, z: float) -> None:
    """Two lamps in front and two behind, flush with both ends."""
    for side in (-0.36, 0.36):
        b.box((side * size[1], -0.5 * size[0] + 0.02, z), (0.1 * size[1], 0.02, 0.07), _LAMP)
        b.box((side * size[1], 0.5 * size[0] - 0.02, z), (0.08 * size[1], 0.02, 0.07), _TAIL)


def _car(b: Builder, d: Draws, p: Palette, body: Material, size: Size) -> None:
    length, width, height = size
    radius = min(0.34, 0.22 * height)
    belt = d.uniform(0.55, 0.62) * height
    back = 0.46 * length if d.chance(0.4) else d.uniform(0.3, 0.4) * length  # an estate, or a boot
    front = -d.uniform(0.2, 0.28) * length
    middle, half = 0.5 * (front + back), 0.5 * (back - front)
    b.box((0, 0, 0.5 * (belt + 0.16)), (0.5 * width, 0.5 * length - 0.03, 0.5 * (belt - 0.16)), body)
    b.box((0, middle, 0.5 * (belt + height - 0.05)), (0.44 * width, half, 0.5 * (height - 0.05 - belt)), _GLASS)
    b.box((0, middle, height - 0.04), (0.43 * width, 0.93 * half, 0.04), body)
    for y in (front + 0.06, middle, back - 0.06):
        b.box((0, y, 0.5 * (belt + height - 0.05)), (0.445 * width, 0.05, 0.5 * (height - 0.05 - belt)), body)
    b.box((0, 0, 0.26), (0.47 * width, 0.5 * length, 0.07), _RUBBER)
    _lamps(b, size, 0.75 * belt)
    _wheels(b, size, radius, (-0.3 * length, 0.3 * length))


def _truck(b: Builder, d: Draws, p: Palette, body: Material, size: Size) -> None:
    length, width, height = size
    cab = min(2.1, 0.32 * length)
    roof = min(0.95 * height, 2.6)
    cargo = plain(albedo(d.unit(), d.uniform(0.0, 0.3), d.uniform(0.6, 0.95)), 0.1)
    front = -0.5 * length
    b.box((0, front + 0.5 * cab, 0.5 * (roof + 0.45)), (0.48 * width, 0.5 * cab - 0.015, 0.5 * (roof - 0.45)), body)
    b.box((0, front + 0.02, 0.75 * roof), (0.44 * width, 0.02, 0.14 * roof), _GLASS)
    rest = length - cab - 0.15
    b.box(
        (0, 0.5 * length - 0.5 * rest, 0.5 * (height + 0.85)), (0.5 * width, 0.5 * rest, 0.5 * (height - 0.85)), cargo
    )
    b.box((0, 0, 0.65), (0.4 * width, 0.48 * length, 0.12), _RUBBER)
    _lamps(b, size, 0.65)
    _wheels(b, size, 0.45, (front + 0.6 * cab, 0.5 * length - 1.0, 0.5 * length - 1.95))


def _bus(b: Builder, d: Draws, p: Palette, body: Material, size: Size) -> None:
    length, width, height = size
    b.box((0, 0, 0.5 * (height + 0.3)), (0.5 * width - 0.012, 0.5 * length - 0.012, 0.5 * (height - 0.3)), body)
    panes = Material(_GLASS.first, body.first, Texture.STRIPES, d.uniform(1.1, 1.7), 2 * d.integer(0, 99), 0.3)
    b.box((0, 0, 0.64 * height), (0.5 * width, 0.47 * length, 0.15 * height), panes)
    b.box((0, 0, 0.64 * height), (0.45 * width, 0.5 * length, 0.17 * height), _GLASS)
    _lamps(b, size, 0.26 * height)
    _wheels(b, size, 0.46, (-0.3 * length, 0.28 * length))


def _train(b: Builder, d: Draws, p: Palette, body: Material, size: Size) -> None:
    length, width, height = size
    _bus(b, d, p, body, (length, width, height - 0.25))
    b.box((0, 0, height - 0.15), (0.25 * width, 0.3 * length, 0.15), p.metal())
    b.box((0, 0, 0.24), (0.42 * width, 0.46 * length, 0.24), _RUBBER)


def _cycle(b: Builder, d: Draws, p: Palette, body: Material, size: Size, tyre: float, radius: float) -> None:
    """Two wheels, a fork, a frame, a handlebar as wide as the whole and a seat."""
    length, width, height = size
    front, back = -0.5 * length + radius, 0.5 * length - radius
    for y in (front, back):
        b.ellipsoid((0, y, radius), (tyre, radius, radius), _RUBBER)
    bar = height - 0.04
    b.capsule((0, front, radius), (0, front + 0.12, bar - 0.02), 0.025, body)
    b.capsule((-0.5 * width + 0.03, front + 0.12, bar), (0.5 * width - 0.03, front + 0.12, bar), 0.03, p.metal())
    b.capsule((0, front + 0.1, 0.72 * height), (0, 0.25 * length, 0.7 * height), 0.03, body)
    b.capsule((0, front + 0.15, 0.65 * height), (0, 0.05 * length, radius), 0.03, body)
    b.capsule((0, 0.05 * length, radius), (0, 0.25 * length, 0.78 * height), 0.03, body)
    b.capsule((0, 0.05 * length, radius), (0, back, radius), 0.03, body)
    b.ellipsoid((0, 0.25 * length, 0.8 * height), (0.07, 0.14, 0.05), _RUBBER)


def _motorcycle(b: Builder, d: Draws, p: Palette, body: Material, size: Size) -> None:
    length, width, height = size
    _cycle(b, d, p, body, size, 0.08, 0.3)
    b.ellipsoid((0, -0.06 * length, 0.6 * height), (0.3 * width, 0.2 * length, 0.17 * height), body)
    b.box((0, 0.0, 0.36 * height), (0.22 * width, 0.16 * length, 0.13 * height), p.metal())
    b.ellipsoid((0, 0.22 * length, 0.68 * height), (0.24 * width, 0.22 * length, 0.07 * height), _RUBBER)


def _bicycle(b: Builder, d: Draws, p: Palette, body: Material, size: Size) -> None:
    _cycle(b, d, p, body, size, 0.025, 0.34)


def _wagon(b: Builder, d: Draws, p: Palette, body: Material, size: Size) -> None:
    """A caravan or a trailer: a box on one axle, and a drawbar as far as its front."""
    length, width, height = size
    bar = 0.2 * length
    b.box((0, 0.5 * bar, 0.5 * (height + 0.4)), (0.5 * width - 0.04, 0.5 * (length - bar), 0.5 * (height - 0.4)), body)
    if height > 2.1:
        b.box((0, 0.5 * bar, 0.65 * height), (0.5 * width, 0.25 * (length - bar), 0.14 * height), _GLASS)
    b.capsule((0, -0.5 * length + 0.05, 0.45), (0, -0.5 * length + bar + 0.2, 0.45), 0.05, p.metal())
    _wheels(b, size, 0.33, (0.5 * bar,))


_BUILDERS: Mapping[StreetClass, Callable[[Builder, Draws, Palette, Material, Size], None]] = {
    StreetClass.CAR: _car,
    StreetClass.TRUCK: _truck,
    StreetClass.BUS: _bus,
    StreetClass.TRAIN: _train,
    StreetClass.MOTORCYCLE: _motorcycle,
    StreetClass.BICYCLE: _bicycle,
}
