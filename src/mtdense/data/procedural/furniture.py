"""Beds, chairs, sofas and tables."""

from __future__ import annotations

from mtdense.data.procedural.classes import SceneClass
from mtdense.data.procedural.materials import Material
from mtdense.data.procedural.stage import Pose, Stage

__all__ = ["bed", "chair", "legs", "office_chair", "sofa", "table"]


def legs(s: Stage, half_w: float, half_d: float, height: float, thick: float, material: Material) -> None:
    """Four legs under the current frame."""
    is_round = s.draws.chance(0.4)
    for sx in (-1.0, 1.0):
        for sy in (-1.0, 1.0):
            centre = (sx * (half_w - thick), sy * (half_d - thick), 0.5 * height)
            if is_round:
                s.builder.cylinder(centre, (thick, thick, 0.5 * height), material, taper=-0.25)
            else:
                s.builder.box(centre, (thick, thick, 0.5 * height), material)


def bed(s: Stage, pose: Pose, width: float, length: float) -> None:
    """A bed with its head at the wall (+y), a mattress, a blanket and pillows."""
    b, d, p = s.builder, s.draws, s.palette
    s.at(pose)
    hw, hl = 0.5 * width, 0.5 * length
    frame, sheet, cover = p.wood(), p.textile(0.15), p.textile(0.6)
    base, mattress = d.uniform(0.22, 0.32), d.uniform(0.16, 0.24)
    top = base + mattress
    b.begin(SceneClass.BED, 0.3)
    b.box((0, 0, 0.5 * base + 0.04), (hw, hl, 0.5 * base - 0.04), frame)
    b.box((0, 0, base + 0.5 * mattress), (hw - 0.02, hl - 0.03, 0.5 * mattress), sheet)
    head = d.uniform(0.25, 0.6)
    padded = p.upholstery() if d.chance(0.4) else frame
    b.box((0, hl - 0.04, 0.5 * (top + head)), (hw + 0.02, 0.04, 0.5 * (top + head)), padded)
    if d.chance(0.35):
        b.box((0, -hl + 0.015, 0.5 * top + 0.03), (hw + 0.02, 0.03, 0.5 * top + 0.03), frame)
    share = d.uniform(0.55, 0.75)
    b.box((0, -hl + share * hl + 0.01, top - 0.07), (hw + 0.025, share * hl, 0.1), cover)
    if d.chance(0.5):  # folded edge
        y = -hl + 2 * share * hl - 0.1
        b.box((0, y, top + 0.035), (hw + 0.03, 0.13, 0.015), sheet)
    count = 1 if width < 1.2 else 2
    pillow = p.textile(0.35)
    for i in range(count):
        x = (i - 0.5 * (count - 1)) * 0.5 * width
        b.begin(SceneClass.OBJECTS, 0.25)
        b.ellipsoid((x, hl - 0.33, top + 0.09), (min(0.34, 0.21 * width), 0.23, 0.1), pillow, tilt=d.degrees(10, 35))
    if d.chance(0.35):
        b.begin(SceneClass.OBJECTS, 0.3)
        centre = (d.uniform(-0.3, 0.3) * width, hl - 0.62, top + 0.13)
        b.ellipsoid(centre, (0.2, 0.11, 0.17), p.textile(0.55), tilt=d.degrees(25, 50))
    s.offer_seat(pose, d.uniform(-0.25, 0.25) * width, -hl + 0.2, top + 0.03)
    s.offer_surface(pose, 0.0, -0.35 * hl, top + 0.03, 0.6 * hw, 0.3 * hl)


def chair(s: Stage, pose: Pose, material: Material, cushion: Material | None, weight: float) -> None:
    """A chair with four legs."""
    b, d = s.builder, s.draws
    s.at(pose)
    w, seat = d.uniform(0.2, 0.24), d.uniform(0.42, 0.47)
    b.begin(SceneClass.CHAIR, weight)
    b.box((0, 0, seat - 0.025), (w, w, 0.025), material)
    if cushion is not None:
        b.box((0, 0, seat + 0.02), (w - 0.02, w - 0.02, 0.025), cushion)
    legs(s, w, w, seat - 0.04, d.uniform(0.016, 0.024), material)
    back, lean = d.uniform(0.38, 0.55), d.degrees(4, 12)
    if d.chance(0.55):
        b.box((0, w + 0.02, seat + 0.5 * back), (w, 0.018, 0.5 * back), cushion or material, tilt=lean)
    else:
        for z in (0.42, 0.7, 0.95):
            b.box((0, w + 0.06 * z, seat + z * back), (w, 0.014, 0.045), material, tilt=lean)
        for sx in (-1.0, 1.0):
            b.box((sx * (w - 0.015), w + 0.02, seat + 0.5 * back), (0.016, 0.016, 0.5 * back), material, tilt=lean)
    s.offer_seat(pose, 0.0, 0.02, seat + 0.03)


def office_chair(s: Stage, pose: Pose, material: Material, weight: float) -> None:
    """A chair on a column."""
    b, d, p = s.builder, s.draws, s.palette
    s.at(pose)
    metal = p.metal()
    seat = d.uniform(0.44, 0.52)
    b.begin(SceneClass.CHAIR, weight)
    b.cylinder((0, 0, 0.045), (0.28, 0.28, 0.025), metal, taper=0.3)
    b.cylinder((0, 0, 0.5 * seat), (0.03, 0.03, 0.5 * seat - 0.05), metal)
    b.box((0, 0, seat - 0.02), (0.25, 0.24, 0.045), material)
    back = d.uniform(0.25, 0.36)
    b.box((0, 0.27, seat + 0.12 + back), (0.22, 0.035, back), material, tilt=d.degrees(4, 14))
    if d.chance(0.6):
        for sx in (-1.0, 1.0):
            b.box((sx * 0.29, 0.02, seat + 0.2), (0.03, 0.16, 0.02), metal)
            b.box((sx * 0.29, 0.1, seat + 0.09), (0.018, 0.018, 0.1), metal)
    s.offer_seat(pose, 0.0, 0.02, seat + 0.03)


def sofa(s: Stage, pose: Pose, width: float, depth: float, weight: float, cover: Material | None = None) -> None:
    """A sofa with arms, seat and back cushions, sometimes with throw pillows."""
    b, d, p = s.builder, s.draws, s.palette
    s.at(pose)
    cover = cover if cover is not None else p.upholstery()
    hw, hd = 0.5 * width, 0.5 * depth
    seat, back, arm = d.uniform(0.38, 0.45), d.uniform(0.75, 0.92), d.uniform(0.09, 0.14)
    arm_top = seat + d.uniform(0.1, 0.24)
    b.begin(SceneClass.SOFA, weight)
    b.box((0, 0, 0.5 * (seat - 0.12) + 0.05), (hw - 0.006, hd - 0.012, 0.5 * (seat - 0.12)), cover)
    b.box((0, hd - 0.105, 0.5 * back), (hw - 0.003, 0.1, 0.5 * back - 0.02), cover)
    soft = d.chance(0.6)
    pillows = (d.chance(0.5), d.chance(0.4))
    for sx in (-1.0, 1.0):
        x = sx * (hw - arm)
        b.box((x, 0, 0.5 * arm_top), (arm, hd, 0.5 * arm_top - 0.03), cover)
        if soft:
            b.capsule((x, -hd + 0.05, arm_top), (x, hd - 0.08, arm_top), arm, cover)
    count = max(1, round((width - 4 * arm) / 0.65))
    cushion = (width - 4 * arm) / count
    for i in range(count):
        x = (i - 0.5 * (count - 1)) * cushion
        b.box((x, -0.1, seat - 0.05), (0.5 * cushion - 0.008, hd - 0.12, 0.075), cover)
        tall = 0.5 * (back - seat) - 0.01
        b.box((x, hd - 0.26, seat + tall + 0.03), (0.5 * cushion - 0.012, 0.075, tall), cover, tilt=d.degrees(8, 13))
        if not (pillows[0] and i == 0) and not (pillows[1] and i == count - 1):
            s.offer_seat(pose, x, 0.06, seat + 0.03)
    for sx in (-1.0, 1.0):
        if pillows[sx > 0]:
            b.begin(SceneClass.OBJECTS, 0.3)
            centre = (sx * (hw - 2 * arm - 0.2), hd - 0.42, seat + 0.2)
            b.ellipsoid(centre, (0.2, 0.09, 0.19), p.textile(0.6), tilt=0.3, spin=sx * d.degrees(-25, 5))


def table(s: Stage, pose: Pose, width: float, depth: float, height: float, style: str) -> None:
    """A dining table or a coffee table ("legs", "pedestal", "panels"); "panels" makes a desk."""
    b, d, p = s.builder, s.draws, s.palette
    s.at(pose)
    hw, hd, thick = 0.5 * width, 0.5 * depth, d.uniform(0.015, 0.03)
    top, under = p.wood(), p.wood()
    if d.chance(0.3):
        under = p.metal()
    b.begin(SceneClass.TABLE, 0.3)
    if style == "pedestal":
        b.cylinder((0, 0, height - thick), (hw, hd, thick), top)
        b.cylinder((0, 0, 0.5 * height), (0.05, 0.05, 0.5 * height - thick), under)
        b.cylinder((0, 0, 0.025), (0.5 * hw, 0.5 * hd, 0.025), under, taper=0.3)
    else:
        b.box((0, 0, height - thick), (hw, hd, thick), top)
        if style == "panels":
            for sx in (-1.0, 1.0):
                b.box((sx * (hw - 0.03), 0, 0.5 * height - thick), (0.02, hd - 0.02, 0.5 * height - thick), under)
            if d.chance(0.6):
                x = d.sign() * (hw - 0.25)
                b.box((x, 0.02, 0.5 * height), (0.2, hd - 0.06, 0.5 * height - 2 * thick), under)
            b.box((0, hd - 0.04, 0.65 * height), (hw - 0.05, 0.012, 0.2 * height), under)
        else:
            legs(s, hw - 0.02, hd - 0.02, height - 2 * thick, d.uniform(0.022, 0.04), under)
            if height < 0.6 and d.chance(0.5):
                b.box((0, 0, 0.35 * height), (hw - 0.06, hd - 0.06, 0.012), top)
    shrink = 0.68 if style == "pedestal" else 0.92
    s.offer_surface(pose, 0, 0, height, shrink * hw, shrink * hd)
