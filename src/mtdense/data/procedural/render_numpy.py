"""The plain renderer, the oracle of the fast one: every primitive meets every pixel and every shadow ray.

Intersections, normals, light and the camera's response are written here a second time, with whole arrays; only the
textures' formulas are shared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mtdense.data.procedural.builder import Kind
from mtdense.data.procedural.description import NEAR, Description
from mtdense.data.procedural.lights import SAMPLES, SUN_REACH, LightKind
from mtdense.data.procedural.pictures import PICTURES, rug_pattern, trim_pattern
from mtdense.data.procedural.textures import PATTERNS, hash_unit

__all__ = ["Rendering", "render"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Rendering(NamedTuple):
    """What a renderer gives: depth, number of the visible primitive, normals, picture."""

    depth: Floats
    seen: Ints
    normals: Floats
    image: npt.NDArray[np.uint8]


def render(d: Description, height: int, width: int) -> Rendering:
    """Renders a scene."""
    v, u = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    focal = d.camera[0, 0]
    rays = np.stack([(u - d.camera[0, 2]) / focal, (v - d.camera[1, 2]) / focal, np.ones((height, width))], axis=-1)
    depth, seen, gradient, axis = _see(d, rays)
    points = rays * depth[..., None]
    unit = np.einsum("hwij,hwj->hwi", d.matrix[seen], points) + d.origin[seen]
    normals = np.einsum("hwji,hwj->hwi", d.matrix[seen], gradient)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    albedo = _albedo(d, seen, unit, gradient, axis, depth / focal)
    radiance = _radiance(d, points, seen, normals, albedo)
    return Rendering(depth, seen, normals, _develop(d.look, radiance, seen))


# ---- what is where -----------------------------------------------------------------------------------------------
def _nonzero(x: Floats) -> Floats:
    return np.where(np.abs(x) > 1e-12, x, 1e-12)


def _room(d: Description, rays: Floats) -> tuple[Floats, Ints]:
    """Depth of the room's faces and which face it is."""
    direction = _nonzero(rays @ d.matrix[0].T)
    leave = np.maximum((-1.0 - d.origin[0]) / direction, (1.0 - d.origin[0]) / direction)
    axis = leave.argmin(axis=-1)
    positive = np.take_along_axis(direction, axis[..., None], axis=-1)[..., 0] > 0.0
    return leave.min(axis=-1), np.array([2, 4, 0])[axis] + positive


def _see(d: Description, rays: Floats) -> tuple[Floats, Ints, Floats, Ints]:
    """Depth, primitive, outward gradient in its unit frame, axis of its face (-1: none) of each pixel."""
    depth, seen = _room(d, rays)
    face_axis = np.array([2, 2, 0, 0, 1, 1])
    axis = face_axis[seen]
    gradient = np.eye(3)[axis] * np.where(seen % 2 == 0, 1.0, -1.0)[..., None]
    for p in range(6, len(d.kind)):
        t, normal, flat = _hit(int(d.kind[p]), float(d.taper[p]), d.origin[p], rays @ d.matrix[p].T)
        nearer = (t > NEAR) & (t < depth)
        depth, seen = np.where(nearer, t, depth), np.where(nearer, p, seen)
        gradient, axis = np.where(nearer[..., None], normal, gradient), np.where(nearer, flat, axis)
    return depth, seen, gradient, axis


def _hit(kind: int, taper: float, origin: Floats, direction: Floats) -> tuple[Floats, Floats, Ints]:
    """Where rays enter a primitive in its unit frame: distance (inf: nowhere), outward gradient, axis of the face."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if kind == Kind.BOX:
            return _hit_box(origin, direction)
        if kind == Kind.ELLIPSOID:
            t = _hit_sphere(origin, direction)
            return t, origin + _times(t, direction), np.full(t.shape, -1)
        if kind == Kind.CONE:
            return _hit_cone(taper, origin, direction)
        return _hit_capsule(taper, origin, direction)


def _times(t: Floats, direction: Floats) -> Floats:
    """T x direction, with zeros where nothing is hit."""
    return np.where(np.isfinite(t), t, 0.0)[..., None] * direction


def _hit_box(origin: Floats, direction: Floats) -> tuple[Floats, Floats, Ints]:
    direction = _nonzero(direction)
    low, high = (-1.0 - origin) / direction, (1.0 - origin) / direction
    enter, leave = np.minimum(low, high), np.maximum(low, high)
    axis = enter.argmax(axis=-1)
    t = enter.max(axis=-1)
    t = np.where(t < leave.min(axis=-1), t, np.inf)
    return t, -np.sign(direction) * np.eye(3)[axis], axis


def _hit_sphere(origin: Floats, direction: Floats) -> Floats:
    a, b = (direction * direction).sum(axis=-1), (origin * direction).sum(axis=-1)
    c = (origin * origin).sum(axis=-1) - 1.0
    root = b * b - a * c
    return np.where((b < 0.0) & (c > 0.0) & (root > 1e-8 * a), (-b - np.sqrt(np.maximum(root, 0.0))) / a, np.inf)


def _hit_cone(taper: float, origin: Floats, direction: Floats) -> tuple[Floats, Floats, Ints]:
    lateral = np.array([1.0, 1.0, 0.0])
    w, dw = 1.0 - taper * origin[..., 2], -taper * direction[..., 2]
    a = (lateral * direction * direction).sum(axis=-1) - dw * dw
    b = (lateral * origin * direction).sum(axis=-1) - w * dw
    c = (lateral * origin * origin).sum(axis=-1) - w * w
    root = b * b - a * c
    ok = root > 1e-8 * (direction * direction).sum(axis=-1)
    s = np.sqrt(np.maximum(root, 0.0))
    t = np.where(b < 0.0, c / (s - b), np.where(a < -1e-12, (-b - s) / a, np.inf))
    z = origin[..., 2] + t * direction[..., 2]
    t = np.where(ok & (np.abs(z) <= 1.0) & (w + t * dw > 0.0), t, np.inf)
    point = origin + _times(t, direction)
    gradient = point * lateral
    gradient[..., 2] = taper * (1.0 - taper * point[..., 2])
    axis = np.full(t.shape, -1)
    for side in (-1.0, 1.0):
        cap = (side - origin[..., 2]) / direction[..., 2]
        at = origin + _times(cap, direction)
        within = (at[..., :2] ** 2).sum(axis=-1) <= (1.0 - taper * side) ** 2
        use = (side * origin[..., 2] > 1.0) & (side * direction[..., 2] < 0.0) & within
        t, axis = np.where(use, cap, t), np.where(use, 2, axis)
        gradient = np.where(use[..., None], np.array([0.0, 0.0, side]), gradient)
    return t, gradient, axis


def _hit_capsule(taper: float, origin: Floats, direction: Floats) -> tuple[Floats, Floats, Ints]:
    lateral = np.array([1.0, 1.0, 0.0])
    a = (lateral * direction * direction).sum(axis=-1)
    b = (lateral * origin * direction).sum(axis=-1)
    c = (lateral * origin * origin).sum(axis=-1) - 1.0
    root = b * b - a * c
    ok = root > 1e-8 * (direction * direction).sum(axis=-1)
    t = np.where(ok & (b < 0.0) & (c > 0.0), c / (np.sqrt(np.maximum(root, 0.0)) - b), np.inf)
    point = origin + _times(t, direction)
    t = np.where(np.abs(point[..., 2]) <= taper, t, np.inf)
    gradient = point * lateral
    for side in (-1.0, 1.0):
        end = np.array([0.0, 0.0, side * taper])
        cap = np.where(ok, _hit_sphere(origin - end, direction), np.inf)
        at = origin + _times(cap, direction)
        use = np.isfinite(cap) & (side * at[..., 2] > taper) & ~np.isfinite(t)
        t = np.where(use, cap, t)
        gradient = np.where(use[..., None], at - end, gradient)
    return t, gradient, np.full(t.shape, -1)


# ---- colours -----------------------------------------------------------------------------------------------------
def _albedo(d: Description, seen: Ints, unit: Floats, gradient: Floats, axis: Ints, footprint: Floats) -> Floats:
    metres = unit * d.half[seen]
    x, y, z = metres[..., 0], metres[..., 1], metres[..., 2]
    a = np.select([axis == 0, axis == 1, axis == 2], [y, x, x], x + 0.7 * y)
    b = np.where(axis == 2, y, z)
    kind, texture = d.kind[seen], d.texture[seen]
    front = (kind == Kind.BOX) & (axis == 1) & (gradient[..., 1] < 0.0) | (kind == Kind.ELLIPSOID) & (
        unit[..., 1] < 0.0
    )
    first, second = d.colours[seen][..., :3], d.colours[seen][..., 3:]
    colour = first.copy()
    for number, pattern in PATTERNS.items():
        m = texture == number
        if m.any():
            share, bright = pattern(a[m], b[m], d.scale[seen][m], d.texture_seed[seen][m], footprint[m])
            colour[m] = bright[:, None] * (first[m] + share[:, None] * (second[m] - first[m]))
    for number, painter in PICTURES.items():
        m = (texture == number) & front
        if m.any():
            place = (a[m], unit[..., 0][m], unit[..., 2][m], tuple(first[m].T), tuple(second[m].T))
            channels = painter(*place, d.scale[seen][m], d.texture_seed[seen][m], footprint[m])
            colour[m] = np.stack(np.broadcast_arrays(*channels), axis=-1)
    floor, wall = seen == 0, (seen >= 2) & (seen < 6)
    if d.rug[4] > 0.0 and floor.any():
        colour[floor] = np.stack(
            rug_pattern(a[floor], b[floor], d.rug, tuple(colour[floor].T), footprint[floor]), axis=-1
        )
    if wall.any():
        above = b[wall] + d.half[0, 2]
        colour[wall] = np.stack(trim_pattern(above, d.trim, tuple(colour[wall].T), footprint[wall]), axis=-1)
    return colour


# ---- light -------------------------------------------------------------------------------------------------------
def _radiance(d: Description, points: Floats, seen: Ints, normals: Floats, albedo: Floats) -> Floats:
    share = 0.5 + 0.5 * normals @ d.up
    ambient = d.ambient[3:] + share[..., None] * (d.ambient[:3] - d.ambient[3:])
    total = albedo * (ambient * _corner_shade(d, points, normals)[..., None] + d.glow[seen][..., None])
    view = points / np.linalg.norm(points, axis=-1, keepdims=True)
    for row in d.lights:
        direction, strength = _towards(row, points)
        facing = (normals * direction).sum(axis=-1)
        strength = np.where(facing > 0.0, strength * _lit_share(d, row, points), 0.0)
        middle = direction - view
        shine = (normals * middle).sum(axis=-1) / np.linalg.norm(middle, axis=-1)
        shine = np.maximum(shine, 0.0) ** 32 * d.gloss[seen]
        total += (strength[..., None] * row[4:7]) * (facing[..., None] * albedo + shine[..., None])
    return total


def _corner_shade(d: Description, points: Floats, normals: Floats) -> Floats:
    unit, half = points @ d.matrix[0].T + d.origin[0], d.half[0]
    facing = (normals @ d.matrix[0].T) * half
    low, high = (1.0 + unit) * half / 0.16, (1.0 - unit) * half / 0.16
    below = 1.0 - 0.34 * (1.0 - np.maximum(facing, 0.0)) / (1.0 + low * low)
    above = 1.0 - 0.34 * (1.0 - np.maximum(-facing, 0.0)) / (1.0 + high * high)
    return np.asarray((below * above).prod(axis=-1))


def _towards(row: Floats, points: Floats) -> tuple[Floats, Floats]:
    """Unit vectors to a light and the strength that arrives head-on, shadows aside."""
    if row[0] == LightKind.SUN:
        sun, normal, to_window = row[1:4], row[14:17], row[8:11] - points
        way = (to_window @ normal) / (sun @ normal)
        offset = way[..., None] * sun - to_window
        soft = 0.03 + 0.01 * way
        side = np.clip((row[20] - np.abs(offset @ row[17:20])) / soft + 0.5, 0.0, 1.0)
        rise = np.clip((row[21] - np.abs(offset @ row[11:14])) / soft + 0.5, 0.0, 1.0)
        return np.broadcast_to(sun, points.shape), np.where(way > 0.0, side * rise, 0.0)
    to_light = row[1:4] - points
    square = (to_light * to_light).sum(axis=-1)
    direction = to_light / np.sqrt(square)[..., None]
    strength = 1.0 / (square + row[22])
    if row[0] == LightKind.SKY:
        strength = strength * np.maximum(-(direction @ row[14:17]), 0.0)
    return direction, strength


def _lit_share(d: Description, row: Floats, points: Floats) -> Floats:
    """Share of a light that each point sees: four shadow rays."""
    height, width = points.shape[:2]
    block = 2 * (np.arange(height) % 2)[:, None] + (np.arange(width) % 2)[None]
    lit = np.zeros((height, width))
    for n in range(4):
        offset = row[7] * SAMPLES[block, n]
        if row[0] == LightKind.SUN:
            rays = SUN_REACH * (row[1:4] + offset[..., :1] * row[17:20] + offset[..., 1:] * row[11:14])
        else:
            rays = row[1:4] + offset[..., :1] * row[8:11] + offset[..., 1:] * row[11:14] - points
        free = np.ones((height, width), dtype=bool)
        for p in range(6, len(d.kind)):
            if d.casts[p]:
                start = points @ d.matrix[p].T + d.origin[p]
                t = _hit(int(d.kind[p]), float(d.taper[p]), start, rays @ d.matrix[p].T)[0]
                free &= ~((t > 1e-3) & (t < 0.999))
        lit += 0.25 * free
    return lit


# ---- the camera --------------------------------------------------------------------------------------------------
def _develop(look: Floats, radiance: Floats, seen: Ints) -> npt.NDArray[np.uint8]:
    height, width = seen.shape
    gain = 0.42 * look[0] / max(float(np.minimum(radiance.mean(axis=-1), 2.0).mean()), 1e-6)
    wide = np.pad(radiance, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = 0.25 * wide[:-2] + 0.5 * wide[1:-1] + 0.25 * wide[2:]
    blurred = 0.25 * rows[:, :-2] + 0.5 * rows[:, 1:-1] + 0.25 * rows[:, 2:]
    known = np.pad(seen, 1, mode="edge")
    edge = np.zeros(seen.shape, dtype=bool)
    for moved in (known[:-2, 1:-1], known[2:, 1:-1], known[1:-1, :-2], known[1:-1, 2:]):
        edge |= moved != seen
    soft = np.where(edge, 1.0, look[5])[..., None]
    v = (np.arange(height) + 0.5) / height * 2.0 - 1.0
    u = (np.arange(width) + 0.5) / width * 2.0 - 1.0
    fall = 1.0 - 0.5 * look[4] * (v[:, None] ** 2 + u[None] ** 2)
    x = gain * fall[..., None] * look[1:4] * (radiance + soft * (blurred - radiance))
    x = np.sqrt(x * (1.0 + x / 9.0) / (1.0 + x))
    place = np.arange(height * width * 3, dtype=np.int64).reshape(height, width, 3) * 2
    seed, salt = np.full_like(place, int(look[7])), np.full_like(place, 11)
    grain = hash_unit(seed, place, salt) + hash_unit(seed, place + 1, salt) - 1.0
    levels = np.clip(255.0 * (x + 2.45 * look[6] * grain), 0.0, 255.0)
    return np.asarray(levels + 0.499, dtype=np.float64).astype(np.uint8)
