"""Cabinets, bookshelves and televisions, and what hangs on walls: windows, curtains, doors, pictures."""

from __future__ import annotations

from mtdense.data.procedural.classes import SceneClass
from mtdense.data.procedural.clutter import book_row, small_thing
from mtdense.data.procedural.materials import Material, albedo, plain
from mtdense.data.procedural.stage import Opening, Pose, Stage
from mtdense.data.procedural.textures import Texture

__all__ = ["bookshelf", "cabinet", "curtains", "door", "picture", "screen", "window"]


def cabinet(s: Stage, pose: Pose, width: float, depth: float, height: float) -> None:
    """A cabinet, dresser or wardrobe with doors or drawers."""
    b, d, p = s.builder, s.draws, s.palette
    s.at(pose)
    wood = p.wood()
    tall = height > 1.4
    columns = max(1, min(3, round(width / (0.5 if tall else 0.55))))
    rows = 1 if tall else d.choice((1, 2, 3, 4)) if height > 0.6 else d.choice((1, 2))
    seed = (columns - 1) + 3 * (rows - 1) + 15 * d.integer(0, 500)
    knob = albedo(0.1, 0.2, d.choice((0.15, 0.4, 0.85)))
    front = Material(wood.first, knob, Texture.DOORS, 0.1, seed, wood.gloss)
    foot = 0.0 if d.chance(0.5) else 0.06
    b.begin(SceneClass.FURNITURE, 0.25)
    b.box((0, 0, 0.5 * (height + foot)), (0.5 * width, 0.5 * depth, 0.5 * (height - foot)), front)
    if foot > 0.0:
        b.box((0, 0.03, 0.03), (0.5 * width - 0.03, 0.5 * depth - 0.05, 0.03), wood)
    b.box((0, -0.01, height - 0.012), (0.5 * width + 0.012, 0.5 * depth, 0.014), wood)
    if height < 1.3:
        s.offer_surface(pose, 0, 0, height + 0.002, 0.46 * width, 0.4 * depth)


def bookshelf(s: Stage, pose: Pose, width: float, depth: float, height: float) -> None:
    """Shelves with books and things."""
    b, d, p = s.builder, s.draws, s.palette
    s.at(pose)
    wood = p.wood()
    hw, hd, t = 0.5 * width, 0.5 * depth, 0.014
    b.begin(SceneClass.FURNITURE, 0.25)
    for sx in (-1.0, 1.0):
        b.box((sx * (hw - t), 0, 0.5 * height), (t, hd, 0.5 * height), wood)
    b.box((0, hd - 0.01, 0.5 * height), (hw - t, 0.01, 0.5 * height), wood)
    count = max(2, round(height / d.uniform(0.32, 0.42)))
    pitch = (height - 2 * t) / count
    for i in range(count + 1):
        b.box((0, -0.005, t + i * pitch), (hw - 2 * t, hd - 0.01, t), wood)
    for i in range(count):
        bottom, room = 2 * t + i * pitch, pitch - 2 * t
        span = 2 * (hw - 2 * t)
        fill = d.unit()
        if fill < 0.8:
            share = d.uniform(0.55, 1.0)
            side = d.sign()
            x = side * 0.5 * span * (1.0 - share)
            s.at(s.local_pose(pose, x, -0.02, bottom))
            book_row(s, 0.5 * span * share, d.uniform(0.65, 0.9) * hd, d.uniform(0.62, 0.9) * room)
            if share < 0.75:
                s.at(s.local_pose(pose, -side * 0.5 * span * share, -0.03, bottom))
                small_thing(s, 0.06, 0.75 * room)
        elif fill < 0.93:
            s.at(s.local_pose(pose, d.uniform(-0.25, 0.25) * span, -0.03, bottom))
            small_thing(s, 0.1, 0.8 * room)
    if height < 1.4:
        s.offer_surface(pose, 0, 0, height + t, 0.9 * hw, 0.7 * hd)


def screen(s: Stage, pose: Pose, half_width: float, stand: bool) -> None:
    """A television or a monitor; `pose` is the middle of its lower edge (with a stand: of its foot)."""
    b, d = s.builder, s.draws
    s.at(pose)
    dark = albedo(0.6, 0.05, d.choice((0.1, 0.14, 0.2, 0.45)))
    seed = d.integer(0, 9999)
    front = Material(dark, dark, Texture.SCREEN, 0.1, seed, 0.25, 0.35 if seed % 2 == 0 else 0.0)
    half_height = half_width * d.uniform(0.54, 0.62)
    lift = 0.0
    b.begin(SceneClass.TV, 0.3)
    if stand:
        lift = d.uniform(0.04, 0.09)
        case = plain(dark, 0.2)
        b.cylinder((0, 0, 0.012), (0.4 * half_width, 0.09, 0.012), case)
        b.box((0, 0.02, 0.5 * lift + 0.03), (0.06, 0.015, 0.5 * lift + 0.03), case)
    b.box((0, 0, lift + half_height), (half_width, 0.025, half_height), front)


def picture(s: Stage, pose: Pose, half_width: float, half_height: float) -> None:
    """A framed picture on a wall; `pose` is its middle on the wall."""
    d, p = s.draws, s.palette
    s.at(pose)
    frame = p.wood().first if d.chance(0.6) else albedo(d.unit(), 0.1, d.choice((0.1, 0.9)))
    mount = albedo(d.unit(), d.uniform(0.0, 0.12), 0.95) if d.chance(0.6) else frame
    s.builder.begin(SceneClass.PICTURE)
    material = Material(frame, mount, Texture.PICTURE, half_width, p.seed(), 0.03)
    s.builder.box((0, -0.015, 0), (half_width, 0.015, half_height), material)


def window(s: Stage, pose: Pose, half_width: float, half_height: float) -> None:
    """A window in a wall; `pose` is its middle on the wall."""
    b, d, p = s.builder, s.draws, s.palette
    s.at(pose)
    frame = albedo(0.1, d.uniform(0, 0.1), d.uniform(0.8, 0.97)) if d.chance(0.75) else p.wood().first
    if s.night:
        sky, glow = albedo(0.62, 0.6, d.uniform(0.12, 0.3)), 0.0
    else:
        sky, glow = albedo(d.uniform(0.54, 0.6), d.uniform(0.05, 0.4), 1.0), d.uniform(0.7, 1.6)
    b.begin(SceneClass.WINDOW)
    b.box(
        (0, -0.02, 0), (half_width, 0.02, half_height), Material(frame, sky, Texture.WINDOW, 0.1, p.seed(), 0.0, glow)
    )
    b.box((0, -0.06, -half_height - 0.015), (half_width + 0.05, 0.06, 0.015), plain(frame, 0.1))
    n, u = b.world(0, -1, 0), b.world(1, 0, 0)
    c = b.world(0, 0, 0)
    normal, along = (n[0] - c[0], n[1] - c[1], 0.0), (u[0] - c[0], u[1] - c[1], 0.0)
    s.openings.append(Opening(b.world(0, -0.05, 0), normal, along, half_width, half_height))


def curtains(s: Stage, pose: Pose, half_width: float, half_height: float, long: bool) -> None:
    """Curtains in folds on both sides of a window, and their rod."""
    b, d, p = s.builder, s.draws, s.palette
    s.at(pose)
    cloth = p.textile(0.5)
    top = half_height + 0.12
    bottom = -pose.z + 0.03 if long else -half_height - 0.12
    width = d.uniform(0.18, 0.42) * half_width + 0.08
    folds = 3 if width < 0.3 else 4
    for sx in (-1.0, 1.0):
        b.begin(SceneClass.WINDOW)
        for i in range(folds):
            x = sx * (half_width + 0.1 - width * (2 * i + 1) / (2 * folds) * 1.0)
            radius = 0.56 * width / folds
            b.cylinder((x, -0.1, 0.5 * (top + bottom)), (radius, 0.05, 0.5 * (top - bottom)), cloth)
    b.begin(SceneClass.OBJECTS)
    b.capsule((-half_width - 0.18, -0.1, top + 0.02), (half_width + 0.18, -0.1, top + 0.02), 0.015, p.metal())


def door(s: Stage, pose: Pose, half_width: float, height: float) -> None:
    """A closed door with its frame; class "wall"."""
    b, d, p = s.builder, s.draws, s.palette
    s.at(pose)
    wood = p.wood()
    leaf = Material(wood.first, albedo(0.12, 0.3, 0.8), Texture.DOORS, 0.1, 3 * d.choice((0, 1, 2)), wood.gloss)
    b.begin(SceneClass.WALL)
    b.box((0, -0.012, 0.5 * height), (half_width, 0.012, 0.5 * height), leaf)
    for sx in (-1.0, 1.0):
        b.box((sx * (half_width + 0.04), -0.02, 0.5 * height), (0.04, 0.02, 0.5 * height + 0.08), wood)
    b.box((0, -0.02, height + 0.04), (half_width + 0.08, 0.02, 0.04), wood)
    b.ellipsoid((0.8 * half_width, -0.05, 1.0), (0.03, 0.03, 0.03), p.metal())
