"""People: a head, a torso and jointed limbs, standing, walking or sitting."""

from __future__ import annotations

import math

from mtdense.data.procedural.builder import Builder, Vector
from mtdense.data.procedural.classes import Part
from mtdense.data.procedural.draws import Draws
from mtdense.data.procedural.materials import Material, Palette, albedo, plain
from mtdense.data.procedural.textures import Texture

__all__ = ["add_person"]

_SKIN = ((0.065, 0.28, 0.97), (0.06, 0.38, 0.9), (0.06, 0.48, 0.76), (0.055, 0.52, 0.56), (0.05, 0.55, 0.4))


class _Clothes:
    """Materials of one person."""

    def __init__(self, draws: Draws, palette: Palette, shirt: Material | None) -> None:
        hue, saturation, value = draws.choice(_SKIN)
        skin = albedo(hue + draws.uniform(-0.01, 0.01), saturation, value + draws.uniform(-0.05, 0.03))
        self.skin = plain(skin, 0.05)
        self.face = Material(skin, skin, Texture.FACE, 0.1, 0, 0.05)
        self.hair = Material(
            albedo(draws.uniform(0.04, 0.11), draws.uniform(0.2, 0.6), draws.choice((0.12, 0.2, 0.35, 0.6, 0.75))),
            albedo(0.07, 0.4, 0.1),
            Texture.FABRIC,
            0.02,
            palette.seed(),
        )
        self.shirt = shirt if shirt is not None else palette.textile(0.6)
        denim = albedo(0.6, draws.uniform(0.2, 0.5), draws.uniform(0.2, 0.6))
        trousers = denim if draws.chance(0.5) else albedo(draws.unit(), draws.uniform(0, 0.3), draws.uniform(0.15, 0.7))
        self.trousers = Material(trousers, trousers, Texture.FABRIC, 0.015, palette.seed())
        self.shoes = plain(albedo(draws.unit(), draws.uniform(0, 0.5), draws.choice((0.15, 0.3, 0.9))), 0.2)
        self.forearm = self.shirt if draws.chance(0.45) else self.skin
        self.shin = self.trousers if draws.chance(0.8) else self.skin


def _step(start: Vector, length: float, swing: float, side: float) -> Vector:
    """End of a bone that hangs from `start`, swung forwards (-y) and to one side."""
    return (
        start[0] + length * math.sin(side),
        start[1] - length * math.sin(swing) * math.cos(side),
        start[2] - length * math.cos(swing) * math.cos(side),
    )


def add_person(
    builder: Builder,
    draws: Draws,
    palette: Palette,
    seat: float | None,
    weight: float,
    shirt: Material | None = None,
) -> int:
    """Adds a person at the current frame, looking along -y, and returns its instance id.

    Args:
        builder: Where the primitives go.
        draws: Random numbers of the scene.
        palette: Materials of the scene.
        seat: Height of the seat in metres, or None for somebody who stands.
        weight: See `Builder.begin`.
        shirt: Material of the shirt, drawn from the palette if None.
    """
    instance = builder.begin_person(weight)
    k = draws.uniform(1.5, 1.92) / 1.75 if seat is None else draws.uniform(1.55, 1.85) / 1.75
    clothes = _Clothes(draws, palette, shirt)
    hip = _legs(builder, draws, clothes, k, seat)
    lean = draws.degrees(-4, 6) if seat is None else draws.degrees(-14, 6)
    shoulder = (0.0, hip[1] - 0.5 * k * math.sin(lean), hip[2] + 0.5 * k * math.cos(lean))
    _trunk(builder, draws, clothes, k, hip, shoulder, lean)
    _arms(builder, draws, clothes, k, shoulder, seat is not None)
    return instance


def _legs(builder: Builder, draws: Draws, clothes: _Clothes, k: float, seat: float | None) -> Vector:
    """Adds both legs and returns the middle of the hips."""
    thigh, shin = 0.43 * k, 0.41 * k
    bones = []
    stride = draws.degrees(-2, 28) * draws.sign()
    for side in (-1.0, 1.0):
        spread = side * draws.degrees(1, 5)
        if seat is None:
            swing = side * stride * 0.5 + draws.degrees(-3, 3)
            bend = max(0.0, -swing) + draws.degrees(0, 12)
        else:
            swing, bend = draws.degrees(78, 88), draws.degrees(70, 98)
        origin = (side * 0.09 * k, 0.0, 0.0)
        knee = _step(origin, thigh, swing, spread)
        bones.append((origin, knee, _step(knee, shin, swing - bend, 0.3 * spread)))
    sole = min(bone[2][2] for bone in bones) - 0.07 * k
    lift = -sole if seat is None else seat + 0.085 * k
    for origin, knee, ankle in bones:
        a, b, c = ((p[0], p[1], p[2] + lift) for p in (origin, knee, ankle))
        builder.part(Part.UPPER_LEG)
        builder.capsule(a, b, 0.078 * k, clothes.trousers)
        builder.part(Part.LOWER_LEG)
        builder.capsule(b, c, 0.055 * k, clothes.shin)
        builder.ellipsoid((c[0], c[1] - 0.06 * k, c[2] - 0.03 * k), (0.048 * k, 0.13 * k, 0.045 * k), clothes.shoes)
    return 0.0, 0.0, lift


def _trunk(
    builder: Builder, draws: Draws, clothes: _Clothes, k: float, hip: Vector, shoulder: Vector, lean: float
) -> None:
    """Adds torso, neck and head."""
    builder.part(Part.TORSO)
    middle = (0.0, 0.5 * (hip[1] + shoulder[1]), 0.5 * (hip[2] + shoulder[2]) + 0.02 * k)
    width = draws.uniform(0.95, 1.15)
    builder.ellipsoid((0.0, hip[1], hip[2] + 0.03 * k), (0.165 * k * width, 0.115 * k, 0.12 * k), clothes.trousers)
    builder.ellipsoid(middle, (0.165 * k * width, 0.115 * k * width, 0.31 * k), clothes.shirt, tilt=-lean)
    builder.capsule(
        (-0.135 * k, shoulder[1], shoulder[2] - 0.03 * k),
        (0.135 * k, shoulder[1], shoulder[2] - 0.03 * k),
        0.072 * k,
        clothes.shirt,
    )
    neck = (0.0, shoulder[1] - 0.01 * k, shoulder[2] + 0.11 * k)
    builder.capsule((0.0, shoulder[1], shoulder[2]), neck, 0.05 * k, clothes.skin)
    builder.part(Part.HEAD)
    turn, nod = draws.degrees(-40, 40), draws.degrees(-8, 14)
    head = (0.0, neck[1] - 0.02 * k, neck[2] + 0.095 * k)
    builder.ellipsoid(head, (0.079 * k, 0.097 * k, 0.122 * k), clothes.face, tilt=-nod, spin=turn)
    back, up = draws.uniform(0.018, 0.028) * k, draws.uniform(0.024, 0.036) * k
    hair = (head[0] - math.sin(turn) * back, head[1] + math.cos(turn) * back, head[2] + up)
    length = draws.choice((0.105, 0.108, 0.115, 0.14))
    hair = (hair[0], hair[1], hair[2] - (length - 0.105) * k)
    builder.ellipsoid(hair, (0.088 * k, 0.1 * k, length * k), clothes.hair, spin=turn)


def _arms(builder: Builder, draws: Draws, clothes: _Clothes, k: float, shoulder: Vector, sitting: bool) -> None:
    """Adds both arms with hands."""
    upper, fore = 0.29 * k, 0.25 * k
    for side in (-1.0, 1.0):
        pose = draws.unit()
        if sitting:
            swing, bend, spread = draws.degrees(10, 45), draws.degrees(35, 75), side * draws.degrees(4, 16)
        elif pose < 0.62:
            swing, bend, spread = draws.degrees(-22, 22), draws.degrees(4, 35), side * draws.degrees(6, 16)
        elif pose < 0.82:
            swing, bend, spread = draws.degrees(10, 60), draws.degrees(50, 100), side * draws.degrees(2, 20)
        elif pose < 0.92:
            swing, bend, spread = draws.degrees(100, 165), draws.degrees(0, 45), side * draws.degrees(10, 35)
        else:
            swing, bend, spread = draws.degrees(-40, -15), draws.degrees(40, 70), side * draws.degrees(25, 40)
        joint = (side * 0.19 * k, shoulder[1], shoulder[2] - 0.03 * k)
        elbow = _step(joint, upper, swing, spread)
        wrist = _step(elbow, fore, swing + bend, spread * draws.uniform(-0.6, 0.8))
        builder.part(Part.UPPER_ARM)
        builder.capsule(joint, elbow, 0.049 * k, clothes.shirt)
        builder.part(Part.LOWER_ARM)
        builder.capsule(elbow, wrist, 0.04 * k, clothes.forearm)
        hand = _step(elbow, fore + 0.07 * k, swing + bend, spread * 0.2)
        hand = tuple(0.35 * w + 0.65 * h for w, h in zip(wrist, hand, strict=True))  # type: ignore[assignment]
        builder.ellipsoid(hand, (0.042 * k, 0.042 * k, 0.07 * k), clothes.skin)
