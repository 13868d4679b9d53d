"""Furnishes rooms: which pieces, where, and who is there."""

from __future__ import annotations

import math

from mtdense.data.procedural import clutter, furniture, storage
from mtdense.data.procedural.materials import Material
from mtdense.data.procedural.people import add_person
from mtdense.data.procedural.stage import Pose, Stage

__all__ = ["furnish"]


def furnish(s: Stage) -> None:
    """Fills the room of a stage: openings, furniture, people, the accent, clutter, pictures, a lamp."""
    d = s.draws
    _openings(s)
    accent = s.palette.accent()
    wearer = d.chance(0.22)
    # The accent and people who stand go first, in full view; furniture then grows around them.
    standing = [n for n in range(2) if d.chance((0.3, 0.1)[n])]
    places = [place for place in (_in_view(s, 0.26, 1.7, 1.8, 4.4) for _ in standing) if place is not None]
    if not (wearer and places):
        spot = _in_view(s, 0.3, 0.7, 1.7, 3.6)
        if spot is not None:
            _accent(s, spot, accent)
    room = d.unit()
    for kind, share in ((_bedroom, 0.3), (_living_room, 0.32), (_study, 0.2), (_dining_room, 0.18)):
        if room < share:
            kind(s)
            break
        room -= share
    _fill(s)
    _people(s, places, accent if wearer else None)
    _extras(s)
    for surface in s.surfaces:
        count = max(1, round(2.0 * surface.half_width / 0.36))
        if d.chance(0.85):
            clutter.fill_surface(s, surface, d.integer(1, min(count, 4)))
    _pictures(s)
    clutter.ceiling_lamp(s, d.uniform(-0.4, 0.4) * s.half_x, d.uniform(-0.1, 0.6) * s.half_y)


def _in_view(s: Stage, half: float, height: float, near: float, far: float) -> Pose | None:
    """A free place on the floor in the middle of the picture, facing more or less to the camera."""
    d, view = s.draws, s.view
    for _ in range(10):
        distance = d.uniform(near, far)
        side = d.uniform(-0.65, 0.65) * view.tan_half_width * distance
        x = s.view.eye[0] + distance * math.sin(-view.yaw) + side * math.cos(view.yaw)
        y = s.view.eye[1] + distance * math.cos(view.yaw) + side * math.sin(view.yaw)
        if s.floor_is_free(x, y, half, half, height):
            s.take_floor(x, y, half, half)
            return Pose(x, y, 0.0, view.yaw + d.degrees(-180, 180) * d.unit())
    return None


def _accent(s: Stage, pose: Pose, material: Material) -> None:
    if s.draws.chance(0.2):
        furniture.chair(s, pose, material, None, 1.0)
    else:
        clutter.accent_thing(s, pose, material)


def _people(s: Stage, places: list[Pose], shirt: Material | None) -> None:
    """Puts people on their places and on seats."""
    d = s.draws
    for i, pose in enumerate(places):
        s.at(pose)
        add_person(
            s.builder, d, s.palette, None, 1.0 if shirt is not None and i == 0 else 0.75, shirt if i == 0 else None
        )
    if s.seats and d.chance(0.3):
        seat = s.seats[d.integer(0, len(s.seats) - 1)]
        s.at(seat.pose)
        add_person(s.builder, d, s.palette, seat.height, 0.75)


# ---- walls ---------------------------------------------------------------------------------------------------------
def _openings(s: Stage) -> None:
    """Windows with or without curtains, and a door."""
    d = s.draws
    for n in range(2):
        if not d.chance((0.72, 0.3)[n]):
            continue
        wall = d.choice((0, 0, 1, 2))
        half_w = d.uniform(0.4, 0.95)
        half_h = d.uniform(0.45, 0.72)
        sill = d.uniform(0.75, 1.0) if d.chance(0.85) else 0.35
        top = min(sill + 2 * half_h, s.height - 0.25)
        half_h = 0.5 * (top - sill)
        along = d.uniform(-0.8, 0.8) * max(s.wall_span(wall) - half_w - 0.45, 0.0)
        extra = 0.25
        if not s.wall_is_free(wall, along - half_w - extra, along + half_w + extra, sill, top):
            continue
        pose = s.wall_pose(wall, along, 0.0, sill + half_h)
        storage.window(s, pose, half_w, half_h)
        bottom = sill - 0.05
        if d.chance(0.55):
            long = d.chance(0.5)
            storage.curtains(s, pose, half_w, half_h, long)
            bottom = 0.0 if long else sill - 0.15
        s.hung[wall].append((along - half_w - extra, along + half_w + extra, bottom, top + 0.2))
    if d.chance(0.4):
        wall = d.choice((0, 1, 2))
        half_w = d.uniform(0.38, 0.45)
        along = d.uniform(-0.85, 0.85) * max(s.wall_span(wall) - half_w - 0.1, 0.0)
        if s.wall_is_free(wall, along - half_w - 0.1, along + half_w + 0.1, 0.0, 2.1):
            storage.door(s, s.wall_pose(wall, along, 0.0), half_w, d.uniform(1.95, 2.05))
            s.hung[wall].append((along - half_w - 0.1, along + half_w + 0.1, 0.0, 2.12))


def _pictures(s: Stage) -> None:
    """Pictures where the walls are free, singly or as a pair."""
    d = s.draws
    for wall in (0, 0, 1, 2):
        if not d.chance(0.75):
            continue
        half_w, half_h = d.uniform(0.18, 0.55), d.uniform(0.18, 0.42)
        middle = d.uniform(1.45, 1.75)
        count = d.choice((1, 1, 2)) if half_w < 0.3 else 1
        for _ in range(4):
            along = d.uniform(-1, 1) * (s.wall_span(wall) - half_w - 0.05)
            reach = half_w * count + 0.06 * (count - 1)
            if s.wall_is_free(
                wall, along - reach - 0.08, along + reach + 0.08, middle - half_h - 0.05, middle + half_h
            ):
                for k in range(count):
                    x = along + (k - 0.5 * (count - 1)) * (2 * half_w + 0.12)
                    storage.picture(s, s.wall_pose(wall, x, 0.0, middle), half_w, half_h)
                s.hung[wall].append((along - reach, along + reach, middle - half_h, middle + half_h))
                break


# ---- rooms ---------------------------------------------------------------------------------------------------------
def _cabinet(s: Stage, kind: str) -> None:
    d = s.draws
    width, depth, height = {
        "wardrobe": (d.uniform(0.9, 1.8), d.uniform(0.5, 0.62), d.uniform(1.8, 2.2)),
        "dresser": (d.uniform(0.8, 1.4), d.uniform(0.4, 0.52), d.uniform(0.7, 1.1)),
        "sideboard": (d.uniform(1.0, 1.7), d.uniform(0.38, 0.48), d.uniform(0.65, 0.9)),
    }[kind]
    found = s.find_wall(width, depth, height)
    if found is not None:
        storage.cabinet(s, found[2], width, depth, height)


def _shelf(s: Stage) -> None:
    d = s.draws
    width, depth, height = d.uniform(0.7, 1.4), d.uniform(0.27, 0.36), d.choice((0.85, 1.25, 1.7, 1.95, 2.1))
    found = s.find_wall(width, depth, height)
    if found is not None:
        storage.bookshelf(s, found[2], width, depth, height)


def _television(s: Stage) -> None:
    """A low stand with a television on it or on the wall above."""
    d = s.draws
    width, height = d.uniform(1.1, 1.8), d.uniform(0.4, 0.6)
    found = s.find_wall(width, 0.45, height + 0.8, tries=9)
    if found is None:
        return
    wall, along, pose = found
    surfaces = len(s.surfaces)
    storage.cabinet(s, pose, width, 0.42, height)
    del s.surfaces[surfaces:]
    half = min(d.uniform(0.42, 0.68), 0.5 * width)
    if d.chance(0.65):
        storage.screen(s, s.local_pose(pose, 0, 0.02, height + 0.002), half, stand=True)
    else:
        storage.screen(s, s.wall_pose(wall, along, 0.03, height + d.uniform(0.2, 0.35)), half, stand=False)


def _sofa(s: Stage) -> Pose | None:
    d = s.draws
    width, depth = d.uniform(1.35, 2.3), d.uniform(0.82, 0.95)
    found = s.find_wall(width, depth, 0.9, tries=16)
    if found is None:
        return None
    furniture.sofa(s, found[2], width, depth, 0.3)
    return found[2]


def _beside(s: Stage, wall: int, along: float, half: float, sides: tuple[float, ...]) -> None:
    """Bedside cabinets, some with a lamp."""
    d = s.draws
    size, height = d.uniform(0.4, 0.5), d.uniform(0.42, 0.58)
    for side in sides:
        pose = s.stand(wall, along + side * (half + 0.5 * size + 0.04), size, 0.4, height)
        if pose is None:
            continue
        surfaces = len(s.surfaces)
        storage.cabinet(s, pose, size, 0.4, height)
        if d.chance(0.5):
            del s.surfaces[surfaces:]
            clutter.floor_lamp(s, s.local_pose(pose, 0, 0, height), d.uniform(0.3, 0.4))


def _bedroom(s: Stage) -> None:
    d = s.draws
    width, length = d.uniform(0.95, 1.8), d.uniform(1.95, 2.15)
    found = s.find_wall(width, length, 0.9, tries=24)
    if found is not None:
        furniture.bed(s, found[2], width, length)
        _beside(s, found[0], found[1], 0.5 * width, (-1.0, 1.0))
    for piece, probability in (("wardrobe", 0.7), ("dresser", 0.55)):
        if d.chance(probability):
            _cabinet(s, piece)
    if d.chance(0.45):
        _television(s)
    if d.chance(0.4):
        _desk(s)
    if d.chance(0.4):
        _shelf(s)


def _living_room(s: Stage) -> None:
    d = s.draws
    first = _sofa(s)
    if first is not None and d.chance(0.8):
        low = d.uniform(0.36, 0.48)
        turn = d.uniform(-0.05, 0.05)
        pose = s.local_pose(first, d.uniform(-0.2, 0.2), -d.uniform(1.0, 1.2), 0.0, turn)
        hw, hd = d.uniform(0.4, 0.6), d.uniform(0.25, 0.34)
        x, y = (hw, hd) if abs(math.sin(first.yaw)) < 0.5 else (hd, hw)
        if s.floor_is_free(pose.x, pose.y, x, y, low):
            s.take_floor(pose.x, pose.y, x, y)
            style = "legs" if d.chance(0.75) else "pedestal"
            furniture.table(s, pose, 2 * hw, 2 * hd, low, style)
    if d.chance(0.85):
        _television(s)
    if d.chance(0.4):
        _sofa(s)
    if d.chance(0.7):
        _shelf(s)
    if d.chance(0.35):
        _cabinet(s, "sideboard")
    if d.chance(0.3):
        _loose_chair(s)


def _desk(s: Stage) -> None:
    """A desk with a chair and mostly a monitor."""
    d = s.draws
    width, depth, height = d.uniform(1.0, 1.6), d.uniform(0.55, 0.75), d.uniform(0.7, 0.76)
    found = s.find_wall(width, depth, height + (0.35 if d.chance(0.5) else 0.0), tries=9)
    if found is None:
        return
    pose = found[2]
    ignore = len(s.rectangles) - 1
    surfaces = len(s.surfaces)
    furniture.table(s, pose, width, depth, height, "panels" if d.chance(0.65) else "legs")
    if d.chance(0.8):
        del s.surfaces[surfaces:]
        side = d.sign()
        half = d.uniform(0.24, 0.34)
        x = side * d.uniform(0.0, 0.5 * width - half - 0.05)
        storage.screen(s, s.local_pose(pose, x, 0.1, height, d.degrees(-15, 15)), half, stand=True)
        rest = 0.25 * (width - 2 * half) - 0.02
        s.offer_surface(pose, -side * (0.5 * width - rest), 0.0, height, rest, 0.4 * depth)
    if d.chance(0.85):
        back = s.local_pose(pose, d.uniform(-0.2, 0.2) * width, -0.5 * depth - d.uniform(0.12, 0.4), 0.0, math.pi)
        back = Pose(back.x, back.y, 0.0, back.yaw + d.degrees(-40, 40))
        if s.chair_fits(back, ignore):
            s.take_floor(back.x, back.y, 0.26, 0.26)
            if d.chance(0.6):
                furniture.office_chair(s, back, s.palette.upholstery(), 0.35)
            else:
                furniture.chair(s, back, s.palette.wood(), s.palette.textile() if d.chance(0.5) else None, 0.35)


def _loose_chair(s: Stage) -> None:
    pose = s.find_floor(0.28, 0.28, 0.9)
    if pose is not None:
        furniture.chair(s, pose, s.palette.wood(), s.palette.textile() if s.draws.chance(0.5) else None, 0.35)


def _study(s: Stage) -> None:
    d = s.draws
    _desk(s)
    _shelf(s)
    for probability, add in ((0.6, _shelf), (0.3, _desk), (0.45, _loose_chair)):
        if d.chance(probability):
            add(s)
    if d.chance(0.35):
        _sofa(s)
    if d.chance(0.4):
        _cabinet(s, "dresser")


def _dining_room(s: Stage) -> None:
    d = s.draws
    round_top = d.chance(0.3)
    hw = d.uniform(0.45, 0.6) if round_top else d.uniform(0.55, 0.95)
    hd = hw if round_top else d.uniform(0.38, 0.48)
    for _ in range(8):
        x = d.uniform(-1, 1) * max(s.half_x - hw - 0.6, 0.0)
        y = d.uniform(-0.1, 1) * max(s.half_y - hd - 0.6, 0.0)
        if s.floor_is_free(x, y, hw + 0.2, hd + 0.2, 0.75):
            break
    else:
        return
    s.take_floor(x, y, hw, hd)
    ignore = len(s.rectangles) - 1
    table = Pose(x, y, 0.0, d.degrees(-6, 6))
    furniture.table(s, table, 2 * hw, 2 * hd, d.uniform(0.71, 0.77), "pedestal" if round_top else "legs")
    wood, cushion = s.palette.wood(), s.palette.textile() if d.chance(0.5) else None
    columns = 1 if hw < 0.7 else 2
    spots = [((i - 0.5 * (columns - 1)) * hw, side) for i in range(columns) for side in (-1.0, 1.0)]
    spots.extend((side * hw, 0.0) for side in (-1.0, 1.0))
    for dx, side in spots:
        if not d.chance(0.75):
            continue
        out = d.uniform(0.05, 0.4)
        if side != 0.0:
            pose = s.local_pose(table, dx, side * (hd + out), 0.0, math.pi if side < 0 else 0.0)
        else:
            sign = math.copysign(1.0, dx)
            pose = s.local_pose(table, dx + sign * out, 0.0, 0.0, -sign * 0.5 * math.pi)
        pose = Pose(pose.x, pose.y, 0.0, pose.yaw + d.degrees(-15, 15))
        if s.chair_fits(pose, ignore):
            furniture.chair(s, pose, wood, cushion, 0.35)
            s.take_floor(pose.x, pose.y, 0.24, 0.24)
    for probability, piece in ((0.7, "sideboard"), (0.3, "wardrobe")):
        if d.chance(probability):
            _cabinet(s, piece)
    if d.chance(0.4):
        _shelf(s)


def _fill(s: Stage) -> None:
    """Adds pieces where the camera would see a nearly empty room."""
    d = s.draws
    for _ in range(4):
        visible = sum(s.view.shows(0.5 * (x0 + x1), 0.5 * (y0 + y1)) for x0, x1, y0, y1 in s.rectangles)
        if visible >= 4:
            return
        kind = d.unit()
        if kind < 0.3:
            _shelf(s)
        elif kind < 0.5:
            _loose_chair(s)
        elif kind < 0.7:
            _television(s)
        else:
            _cabinet(s, d.choice(("dresser", "sideboard", "wardrobe")))


def _extras(s: Stage) -> None:
    """Lamps, plants and things on the floor."""
    d = s.draws
    if d.chance(0.45):
        pose = s.find_floor(0.2, 0.2, 1.6)
        if pose is not None:
            clutter.floor_lamp(s, pose, d.uniform(1.2, 1.6))
    for probability in (0.5, 0.2):
        if d.chance(probability):
            found = s.find_wall(0.5, 0.5, 1.2, tries=4)
            if found is not None:
                clutter.plant(s, found[2])
    for _ in range(d.integer(1, 4)):
        pose = s.find_floor(0.24, 0.24, 0.4, tries=4)
        if pose is not None:
            clutter.floor_thing(s, pose)
