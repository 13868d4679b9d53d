"""A scene as arrays, in the camera's frame: all that a renderer needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mtdense.data.procedural.builder import Builder, Kind, Vector
from mtdense.data.procedural.classes import SceneClass
from mtdense.data.procedural.draws import Draws
from mtdense.data.procedural.layout import furnish
from mtdense.data.procedural.lights import LightKind, draw_lights
from mtdense.data.procedural.materials import Material, Palette, albedo, plain
from mtdense.data.procedural.stage import Stage
from mtdense.data.procedural.textures import Texture
from mtdense.data.procedural.view import View, draw_view

__all__ = ["NEAR", "Description", "describe", "pack_scene"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NEAR = 0.05
"""Nothing nearer than this (metres along the axis) is seen."""


@dataclass(frozen=True)
class Description:
    """Primitives, lights and camera of one scene at one image size; P primitives, L lights.

    A primitive's *unit frame* is scaled so that the box is [-1, 1]^3, the ellipsoid the unit sphere, the cone piece
    of radius 1 at half height with |z| <= 1, and the capsule of radius 1. The first six primitives are the faces of
    the room (-z, +z, -x, +x, -y, +y), which share one unit frame.

    Args:
        camera: (3, 3) intrinsics in pixels.
        kind: (P,) see `Kind`.
        matrix: (P, 3, 3) camera frame to unit frame.
        origin: (P, 3) the camera's position in the unit frame.
        half: (P, 3) metres per unit along each axis.
        taper: (P,) taper of a cone piece, or half length of a capsule in radii.
        rect: (P, 4) rows and columns (from, to) outside of which the primitive cannot be seen.
        reach: (P, 3) half extents of the bounding box in the unit frame.
        centre: (P, 3) middle of a bounding sphere, camera frame.
        radius: (P,) its radius.
        instance: (P,) instance ids, from 1.
        semantic: (P,) class ids.
        part: (P,) human parts.
        colours: (P, 6) both colours of the material.
        texture: (P,) see `Texture`.
        scale: (P,) size of the texture in metres.
        texture_seed: (P,) varies the texture.
        gloss: (P,) strength of the highlight.
        glow: (P,) radiance as a multiple of the colour.
        casts: (P,) whether it throws shadows.
        lights: (L, LIGHT_COLUMNS) in the camera frame.
        ambient: (6,) light from above and from below.
        up: (3,) the vertical in the camera frame.
        rug: (16,) see `pictures.rug_pattern`; half length 0 means none.
        trim: (8,) see `pictures.trim_pattern`.
        look: (8,) exposure, three white-balance gains, vignette, softness, noise, seed of the noise.
        instance_weight: (number of instances + 1,) conspicuousness by instance id.
        people: Instance ids of people.
    """

    camera: Floats
    kind: Ints
    matrix: Floats
    origin: Floats
    half: Floats
    taper: Floats
    rect: Ints
    reach: Floats
    centre: Floats
    radius: Floats
    instance: Ints
    semantic: Ints
    part: Ints
    colours: Floats
    texture: Ints
    scale: Floats
    texture_seed: Ints
    gloss: Floats
    glow: Floats
    casts: Ints
    lights: Floats
    ambient: Floats
    up: Floats
    rug: Floats
    trim: Floats
    look: Floats
    instance_weight: Floats
    people: tuple[int, ...]


def describe(seed: int, index: int, height: int, width: int) -> Description:
    """Makes up scene `index` of data set `seed` and packs it for an image of height x width pixels."""
    d = Draws(seed, index)
    palette = Palette(d)
    half_x, half_y, room_height = d.uniform(1.5, 2.6), d.uniform(1.8, 2.9), d.uniform(2.3, 3.0)
    view = draw_view(d, half_x, half_y, room_height)
    stage = Stage(Builder(), d, palette, half_x, half_y, room_height, view, night=d.chance(0.3))
    floor = _room(stage)
    rug = _rug(stage)
    trim = _trim(d)
    furnish(stage)
    lights, ambient = draw_lights(stage, floor)
    gains = (1.0 + d.uniform(-0.07, 0.07), 1.0, 1.0 + d.uniform(-0.08, 0.08))
    look = (d.uniform(0.75, 1.4), *gains, d.uniform(0.0, 0.3), d.uniform(0.15, 0.5), d.uniform(0.004, 0.018))
    camera = view.intrinsics(height, width)
    noise = float(d.integer(0, 999999))
    return pack_scene(stage.builder, view, camera, height, width, lights, ambient, rug, trim, (*look, noise))


def _room(s: Stage) -> Vector:
    """Adds floor, ceiling and walls and returns the floor's colour."""
    d, p = s.draws, s.palette
    hue = d.unit()
    wall = _wall_material(d, p, hue)
    other = _wall_material(d, p, hue + d.uniform(-0.1, 0.4)) if d.chance(0.3) else wall
    featured = d.choice((2, 3, 5))
    kind = d.unit()
    if kind < 0.5:
        wood = p.wood()
        dark = albedo(0.07, 0.5, d.uniform(0.25, 0.5))
        floor = Material(wood.first, dark, Texture.PLANKS, d.uniform(0.09, 0.18), p.seed(), d.uniform(0.0, 0.25))
    elif kind < 0.68:
        tone = albedo(d.uniform(0.05, 0.15), d.uniform(0.0, 0.25), d.uniform(0.4, 0.85))
        grout = albedo(0.1, 0.05, d.uniform(0.3, 0.8))
        floor = Material(tone, grout, Texture.TILES, d.uniform(0.3, 0.6), p.seed(), d.uniform(0.0, 0.3))
    elif kind < 0.76:
        light, dark = albedo(d.unit(), 0.1, 0.85), albedo(d.unit(), 0.2, d.uniform(0.25, 0.55))
        floor = Material(light, dark, Texture.CHECKER, d.uniform(0.25, 0.45), p.seed(), 0.15)
    else:
        carpet = albedo(d.unit(), d.uniform(0.03, 0.35), d.uniform(0.35, 0.8))
        floor = Material(carpet, carpet, Texture.FABRIC, 0.03, p.seed())
    white = plain(albedo(d.uniform(0.05, 0.2), d.uniform(0.0, 0.06), d.uniform(0.88, 0.98)))
    half = (s.half_x, s.half_y, 0.5 * s.height)
    classes = (SceneClass.FLOOR, SceneClass.CEILING, SceneClass.WALL, SceneClass.WALL, SceneClass.WALL, SceneClass.WALL)
    for face, scene_class in enumerate(classes):
        s.builder.begin(scene_class)
        material = (floor, white)[face] if face < 2 else other if face == featured else wall
        s.builder.room_face(half, 0.5 * s.height, material)
    return floor.first


def _wall_material(d: Draws, p: Palette, hue: float) -> Material:
    saturation, value = d.uniform(0.02, 0.34), d.uniform(0.6, 0.94)
    first = albedo(hue, saturation, value)
    kind = d.unit()
    if kind < 0.55:
        return Material(first, first, Texture.PLAIN, 0.1, p.seed())
    second = albedo(hue + d.uniform(-0.06, 0.06), saturation + d.uniform(-0.1, 0.15), value - d.uniform(0.08, 0.2))
    if kind < 0.75:
        return Material(first, second, Texture.STRIPES, d.uniform(0.12, 0.4), 2 * d.integer(0, 99))
    if kind < 0.9:
        return Material(first, second, Texture.DOTS, d.uniform(0.12, 0.3), p.seed())
    if kind < 0.96:
        brick = albedo(d.uniform(0.02, 0.06), d.uniform(0.3, 0.55), d.uniform(0.5, 0.75))
        return Material(brick, albedo(0.1, 0.1, 0.7), Texture.BRICKS, d.uniform(0.07, 0.1), p.seed())
    return Material(first, second, Texture.MARBLE, d.uniform(0.5, 1.2), p.seed())


def _rug(s: Stage) -> Floats:
    """(16,) parameters of the rug."""
    d = s.draws
    rug = np.zeros(16)
    if d.chance(0.6):
        angle = d.degrees(-12, 12) + (0.5 * np.pi if d.chance(0.3) else 0.0)
        hue = d.unit()
        colours = [albedo(hue + d.uniform(-0.15, 0.15), d.uniform(0.08, 0.5), d.uniform(0.3, 0.9)) for _ in range(3)]
        x, y = d.uniform(-0.4, 0.4) * s.half_x, d.uniform(-0.1, 0.6) * s.half_y
        size = d.uniform(0.7, 1.4)
        rug[:6] = x, y, np.cos(angle), np.sin(angle), size, size * d.uniform(0.55, 0.9)
        rug[6:15] = [value for colour in colours for value in colour]
        rug[15] = d.integer(0, 5)
    return rug


def _trim(d: Draws) -> Floats:
    """(8,) parameters of skirting board and dado."""
    skirting = d.uniform(0.06, 0.12) if d.chance(0.75) else 0.0
    tone = albedo(0.1, d.uniform(0, 0.1), d.uniform(0.8, 0.97)) if d.chance(0.7) else albedo(0.07, 0.45, 0.5)
    dado = d.uniform(0.8, 1.1) if d.chance(0.16) else 0.0
    return np.array([skirting, *tone, dado, *albedo(d.unit(), d.uniform(0.05, 0.35), d.uniform(0.45, 0.85))])


_CORNERS = np.array([(x, y, z) for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


def pack_scene(
    builder: Builder,
    view: View,
    camera: Floats,
    height: int,
    width: int,
    lights: Floats,
    ambient: Floats,
    rug: Floats,
    trim: Floats,
    look: tuple[float, ...],
) -> Description:
    """Moves everything into the camera's frame.

    Args:
        builder: The primitives; the first six are the faces of the room.
        view: Where the camera stands and how it looks.
        camera: (3, 3) its intrinsics.
        height: Height of the image.
        width: Its width.
        lights: (L, LIGHT_COLUMNS) in world coordinates.
        ambient: As of `Description`, and so are the others.
        rug: (16,).
        trim: (8,).
        look: (8,).
    """
    table = builder.table()
    turn, eye = view.rotation(), np.array(view.eye)
    kind = table[:, 0].astype(np.int64)
    axes = table[:, 4:13].reshape(-1, 3, 3) @ turn.T
    half, taper = np.ascontiguousarray(table[:, 13:16]), np.ascontiguousarray(table[:, 16])
    centre = (table[:, 1:4] - eye) @ turn.T
    matrix = np.ascontiguousarray(axes / half[:, :, None])
    origin = -np.einsum("pij,pj->pi", matrix, centre)
    reach = half.copy()
    capsule, cone = kind == Kind.CAPSULE, kind == Kind.CONE
    reach[capsule, 2] *= 1.0 + taper[capsule]
    reach[cone, :2] *= 1.0 + np.abs(taper[cone, None])
    corners = centre[:, None] + np.einsum("cj,pj,pjk->pck", _CORNERS, reach, axes, optimize=False)
    moved = lights.copy()
    is_sun = lights[:, 0] == LightKind.SUN
    moved[:, 1:4] = (lights[:, 1:4] - np.where(is_sun[:, None], 0.0, eye)) @ turn.T
    moved[:, 8:11] = (lights[:, 8:11] - np.where(is_sun[:, None], eye, 0.0)) @ turn.T
    for k in (11, 14, 17):
        moved[:, k : k + 3] = lights[:, k : k + 3] @ turn.T
    whole = table[:, [17, 18, 19, 26, 28, 31]].astype(np.int64).T.copy()
    return Description(
        camera=camera,
        kind=kind,
        matrix=matrix,
        origin=origin,
        half=half,
        taper=taper,
        rect=_rectangles(corners, camera, height, width),
        reach=reach / half,
        centre=centre,
        radius=np.sqrt((reach * reach).sum(axis=1)),
        instance=whole[0],
        semantic=whole[1],
        part=whole[2],
        colours=np.ascontiguousarray(table[:, 20:26]),
        texture=whole[3],
        scale=np.ascontiguousarray(table[:, 27]),
        texture_seed=whole[4],
        gloss=np.ascontiguousarray(table[:, 29]),
        glow=np.ascontiguousarray(table[:, 30]),
        casts=whole[5],
        lights=moved,
        ambient=ambient,
        up=np.ascontiguousarray(turn[:, 2]),
        rug=rug,
        trim=trim,
        look=np.array(look),
        instance_weight=np.array(builder.instance_weight),
        people=tuple(builder.people),
    )


def _rectangles(corners: Floats, camera: Floats, height: int, width: int) -> Ints:
    """(P, 4) rows and columns that hold the projections of the (P, 8, 3) corners of bounding boxes."""
    z = corners[:, :, 2]
    behind, crossing = (z < NEAR).all(axis=1), (z < NEAR).any(axis=1)
    safe = np.maximum(z, NEAR)
    column = corners[:, :, 0] / safe * camera[0, 0] + camera[0, 2]
    row = corners[:, :, 1] / safe * camera[1, 1] + camera[1, 2]
    bounds = np.stack([row.min(axis=1), row.max(axis=1), column.min(axis=1), column.max(axis=1)], axis=1)
    limits = np.array([height, height, width, width], dtype=np.float64)
    bounds[crossing] = (-1.0, height, -1.0, width)
    whole = np.ceil(np.clip(bounds, -1.0, limits)) + np.array([-1.0, 1.0, -1.0, 1.0])
    rect = np.clip(whole, 0.0, limits).astype(np.int64)
    rect[behind] = 0
    return np.ascontiguousarray(rect)
