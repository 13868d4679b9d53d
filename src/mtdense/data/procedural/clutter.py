"""Small and loose things: books, vases, lamps, plants, boxes, what stands out."""

from __future__ import annotations

from mtdense.data.procedural.classes import SceneClass
from mtdense.data.procedural.materials import Material, albedo, plain
from mtdense.data.procedural.stage import LampSpot, Pose, Stage, Surface
from mtdense.data.procedural.textures import Texture

__all__ = [
    "accent_thing",
    "book_row",
    "book_stack",
    "ceiling_lamp",
    "fill_surface",
    "floor_lamp",
    "floor_thing",
    "plant",
    "small_thing",
]


def book_row(s: Stage, half_width: float, half_depth: float, height: float) -> None:
    """Upright books, spines to the front, on the current frame."""
    d, p = s.draws, s.palette
    cover = albedo(d.unit(), 0.4, 0.5)
    material = Material(cover, cover, Texture.BOOKS, d.uniform(0.03, 0.055), p.seed())
    s.builder.begin(SceneClass.BOOKS)
    s.builder.box((0, 0, 0.5 * height), (half_width, half_depth, 0.5 * height), material)


def book_stack(s: Stage, size: float) -> None:
    """Books lying on each other."""
    b, d = s.builder, s.draws
    b.begin(SceneClass.BOOKS)
    z = 0.0
    for _ in range(d.integer(2, 5)):
        thick = d.uniform(0.012, 0.028)
        cover = plain(albedo(d.unit(), d.uniform(0.2, 0.75), d.uniform(0.3, 0.9)), 0.05)
        half = (size * d.uniform(0.75, 1.0), size * d.uniform(0.6, 0.75), thick)
        b.box((0, 0, z + thick), half, cover, spin=d.degrees(-20, 20))
        z += 2 * thick


def open_book(s: Stage, size: float) -> None:
    """A book lying open."""
    b, d = s.builder, s.draws
    page = Material(albedo(0.12, 0.06, 0.93), albedo(0, 0, 0.45), Texture.STRIPES, 0.025, 1)
    b.begin(SceneClass.BOOKS)
    spin = d.degrees(-40, 40)
    b.box((0, 0, 0.006), (1.05 * size, 0.75 * size, 0.006), plain(albedo(d.unit(), 0.6, 0.6)), spin=spin)
    b.box((0, 0, 0.018), (size, 0.7 * size, 0.008), page, spin=spin)


def small_thing(s: Stage, radius: float, height: float) -> None:
    """A vase, bowl, mug, bottle, box or pot plant no wider than `radius` and no taller than `height`."""
    b, d, p = s.builder, s.draws, s.palette
    r = radius * d.uniform(0.6, 1.0)
    h = min(height, d.uniform(1.5, 4.0) * r)
    b.begin(SceneClass.OBJECTS, 0.35)
    kind = d.integer(0, 5)
    material = p.ceramic()
    if kind == 0:
        b.cylinder((0, 0, 0.35 * h), (0.7 * r, 0.7 * r, 0.35 * h), material, taper=d.uniform(-0.35, 0.2))
        b.cylinder((0, 0, 0.85 * h), (0.3 * r, 0.3 * r, 0.15 * h), material)
    elif kind == 1:
        low = min(0.6 * r, 0.5 * height)
        b.cylinder((0, 0, 0.5 * low), (0.75 * r, 0.75 * r, 0.5 * low), material, taper=-0.3)
        fruit = plain(albedo(d.choice((0.02, 0.1, 0.25)), 0.7, 0.7), 0.1)
        for x, y in ((-0.35, 0.0), (0.35, 0.1), (0.0, -0.3)):
            b.ellipsoid((x * r, y * r, low), (0.32 * r, 0.32 * r, 0.3 * r), fruit)
    elif kind == 2:
        b.box((0, 0, 0.4 * h), (0.7 * r, 0.6 * r, 0.4 * h), material, spin=d.degrees(-40, 40))
    elif kind == 3:
        b.cylinder((0, 0, 0.3 * h), (0.45 * r, 0.45 * r, 0.3 * h), material)
        b.cylinder((0, 0, 0.75 * h), (0.16 * r, 0.16 * r, 0.25 * h), material)
    elif kind == 4:
        b.ellipsoid((0, 0, 0.5 * min(h, 2 * r)), (r * 0.9, r * 0.9, 0.5 * min(h, 2 * r)), material)
    else:
        plant_pot(s, 0.55 * r, 0.35 * h)
        b.ellipsoid((0, 0, 0.68 * h), (0.85 * r, 0.85 * r, 0.34 * h), p.leaves())


def plant_pot(s: Stage, radius: float, height: float) -> None:
    """A pot on the current frame."""
    d = s.draws
    clay = plain(albedo(d.choice((0.04, 0.1, 0.6)), d.uniform(0.05, 0.5), d.uniform(0.3, 0.9)), 0.1)
    s.builder.cylinder((0, 0, 0.5 * height), (radius, radius, 0.5 * height), clay, taper=-0.25)


def plant(s: Stage, pose: Pose) -> None:
    """A tall plant in a pot."""
    b, d = s.builder, s.draws
    s.at(pose)
    b.begin(SceneClass.OBJECTS, 0.4)
    pot, height = d.uniform(0.22, 0.34), d.uniform(0.8, 1.5)
    plant_pot(s, d.uniform(0.13, 0.18), pot)
    stem, leaves = plain(albedo(0.08, 0.5, 0.35)), s.palette.leaves()
    b.capsule((0, 0, pot), (0, 0, 0.7 * height), 0.018, stem)
    for _ in range(d.integer(4, 6)):
        angle, tilt = d.degrees(-180, 180), d.degrees(20, 65)
        centre = (d.uniform(-0.14, 0.14), d.uniform(-0.14, 0.14), height * d.uniform(0.6, 0.95))
        b.ellipsoid(centre, (d.uniform(0.08, 0.13), 0.05, d.uniform(0.2, 0.3)), leaves, tilt=tilt, spin=angle)


def floor_lamp(s: Stage, pose: Pose, height: float) -> None:
    """A lamp with a shade; on a surface with a small `height`."""
    b, d, p = s.builder, s.draws, s.palette
    s.at(pose)
    metal = p.metal()
    on = d.chance(0.75 if s.night else 0.3)
    tint = albedo(d.choice((0.1, 0.12, 0.05)), d.uniform(0.05, 0.45), 0.95)
    shade = plain(tint, 0.0, 1.6 if on else 0.0)
    radius = 0.11 + 0.05 * height
    half = 0.75 * radius
    b.begin(SceneClass.OBJECTS, 0.4)
    b.cylinder((0, 0, 0.015), (0.75 * radius, 0.75 * radius, 0.015), metal)
    b.cylinder((0, 0, 0.5 * height), (0.012 + 0.004 * height, 0.012 + 0.004 * height, 0.5 * height), metal)
    b.cylinder((0, 0, height), (radius, radius, half), shade, taper=d.uniform(0.0, 0.35), casts=False)
    if on:
        s.lamps.append(LampSpot(b.world(0, 0, height), 0.5 + 0.4 * height, True))


def ceiling_lamp(s: Stage, x: float, y: float) -> None:
    """A lamp under the ceiling, hanging or flat."""
    b, d = s.builder, s.draws
    on = d.chance(0.95 if s.night else 0.4)
    s.at(Pose(x, y, s.height, 0.0))
    shade = plain(albedo(0.12, d.uniform(0.0, 0.25), 0.97), 0.1, 2.2 if on else 0.0)
    b.begin(SceneClass.OBJECTS)
    if d.chance(0.4):
        drop = d.uniform(0.35, 0.6)
        b.capsule((0, 0, 0), (0, 0, -drop), 0.01, plain(albedo(0, 0, 0.2)))
        b.cylinder((0, 0, -drop - 0.08), (0.2, 0.2, 0.1), shade, taper=0.5, casts=False)
        z = -drop - 0.22
    else:
        radius = d.uniform(0.14, 0.24)
        b.ellipsoid((0, 0, 0), (radius, radius, 0.4 * radius), shade)
        z = -0.16
    if on:
        s.lamps.append(LampSpot(b.world(0, 0, z), 1.6, False))


def fill_surface(s: Stage, surface: Surface, count: int) -> None:
    """Puts up to `count` things side by side on a surface."""
    d = s.draws
    cell = 2.0 * surface.half_width / count
    for i in range(count):
        size = min(0.5 * cell, surface.half_depth, 0.17)
        if size < 0.05:
            return
        x = -surface.half_width + (i + 0.5) * cell + d.uniform(-1, 1) * max(0.5 * cell - size, 0.0)
        y = d.uniform(-1, 1) * max(surface.half_depth - size, 0.0)
        s.at(s.local_pose(surface.pose, x, y, 0.0, d.degrees(-30, 30)))
        kind = d.unit()
        if kind < 0.3:
            book_stack(s, 0.8 * size)
        elif kind < 0.4:
            open_book(s, size)
        elif kind < 0.5:
            laptop(s, min(size, 0.16))
        else:
            small_thing(s, 0.75 * size, 0.35)


def laptop(s: Stage, size: float) -> None:
    """An open laptop."""
    b, d = s.builder, s.draws
    case = plain(albedo(0.6, 0.03, d.choice((0.2, 0.5, 0.75))), 0.2)
    screen = Material(case.first, case.first, Texture.SCREEN, 0.1, 2 * d.integer(0, 999), 0.1, 0.4)
    b.begin(SceneClass.OBJECTS, 0.3)
    b.box((0, 0, 0.01), (size, 0.7 * size, 0.01), case)
    b.box((0, 0.8 * size, 0.02 + 0.62 * size), (size, 0.007, 0.64 * size), screen, tilt=d.degrees(8, 25))


def floor_thing(s: Stage, pose: Pose) -> None:
    """A box, basket, bag or heap of books on the floor."""
    b, d, p = s.builder, s.draws, s.palette
    s.at(pose)
    kind = d.unit()
    if kind < 0.22:
        book_stack(s, d.uniform(0.14, 0.18))
    elif kind < 0.55:
        b.begin(SceneClass.OBJECTS, 0.35)
        cardboard = Material(
            albedo(0.085, 0.4, 0.72), albedo(0.085, 0.35, 0.6), Texture.STRIPES, d.uniform(0.1, 0.3), p.seed()
        )
        h = d.uniform(0.1, 0.22)
        b.box((0, 0, h), (d.uniform(0.14, 0.25), d.uniform(0.14, 0.2), h), cardboard)
    elif kind < 0.8:
        b.begin(SceneClass.OBJECTS, 0.35)
        basket = Material(albedo(0.09, 0.45, 0.7), albedo(0.08, 0.5, 0.45), Texture.CHECKER, 0.04, p.seed())
        h, r = d.uniform(0.12, 0.25), d.uniform(0.14, 0.2)
        b.cylinder((0, 0, h), (r, r, h), basket if d.chance(0.6) else p.ceramic(), taper=-0.12)
    else:
        b.begin(SceneClass.OBJECTS, 0.35)
        b.ellipsoid((0, 0, 0.17), (0.22, 0.18, 0.17), p.textile(0.5))


def accent_thing(s: Stage, pose: Pose, material: Material) -> None:
    """The one thing of the scene in a pure, bright colour."""
    b, d, p = s.builder, s.draws, s.palette
    s.at(pose)
    b.begin(SceneClass.OBJECTS, 1.0)
    kind = d.integer(0, 4)
    if kind == 0:  # exercise ball
        r = d.uniform(0.22, 0.34)
        b.ellipsoid((0, 0, r), (r, r, r), material)
    elif kind == 1:  # tall vase
        h, r = d.uniform(0.25, 0.4), d.uniform(0.11, 0.16)
        b.cylinder((0, 0, h), (r, r, h), material, taper=d.uniform(-0.3, 0.3))
        b.cylinder((0, 0, 2 * h + 0.05), (0.5 * r, 0.5 * r, 0.05), material, taper=-0.3)
    elif kind == 2:  # suitcase
        w, h = d.uniform(0.2, 0.27), d.uniform(0.28, 0.38)
        b.box((0, 0, h + 0.03), (w, 0.12, h), material)
        b.box((0, 0, 2 * h + 0.1), (0.3 * w, 0.015, 0.06), p.metal())
    elif kind == 3:  # pouf
        r = d.uniform(0.24, 0.32)
        b.cylinder((0, 0, 0.18), (r, r, 0.18), material)
        b.ellipsoid((0, 0, 0.36), (r, r, 0.07), material)
    else:  # present
        w, h = d.uniform(0.17, 0.26), d.uniform(0.15, 0.25)
        ribbon = plain(albedo(0.12, 0.1, 0.95))
        b.box((0, 0, h), (w, w, h), material)
        b.box((0, 0, h), (0.05, w + 0.004, h + 0.004), ribbon)
        b.box((0, 0, h), (w + 0.005, 0.05, h + 0.005), ribbon)
