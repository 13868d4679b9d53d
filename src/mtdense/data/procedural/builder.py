"""Collects the primitives of a scene in world coordinates and packs them into arrays for a renderer."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mtdense.data.procedural.classes import Part, SceneClass
from mtdense.data.procedural.materials import Material

__all__ = ["Builder", "Kind", "Vector"]

Vector = tuple[float, float, float]


class Kind:
    """Numbers of the primitives' shapes."""

    ROOM: Final = 0
    BOX: Final = 1
    ELLIPSOID: Final = 2
    CONE: Final = 3
    CAPSULE: Final = 4


class _Frame(NamedTuple):
    """Where the object that is being built stands: origin and turn about the vertical."""

    x: float
    y: float
    z: float
    c: float
    s: float


class Builder:
    """Scene under construction: world x right, y away from the first wall, z up, metres.

    An *instance* is one thing with one class; it consists of any number of primitives. Coordinates passed to the
    shape methods are those of the current frame (see `place`), in which objects look along -y.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[float, ...]] = []
        self.instance_class: list[int] = [-1]  # instance ids start at 1
        self.instance_weight: list[float] = [0.0]
        self.people: list[int] = []
        self._frame = _Frame(0.0, 0.0, 0.0, 1.0, 0.0)
        self._part = int(Part.NONE)

    def place(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> None:
        """Sets the frame of the shapes that follow."""
        self._frame = _Frame(x, y, z, math.cos(yaw), math.sin(yaw))

    def world(self, x: float, y: float, z: float) -> Vector:
        """World coordinates of a point of the current frame."""
        f = self._frame
        return f.x + f.c * x - f.s * y, f.y + f.s * x + f.c * y, f.z + z

    def begin(self, scene_class: IntEnum, weight: float = 0.0) -> int:
        """Starts a new instance and returns its id.

        Args:
            scene_class: Its class.
            weight: How conspicuous it is; the salient object's rule uses it, 0 means never salient.
        """
        self.instance_class.append(int(scene_class))
        self.instance_weight.append(weight)
        self._part = int(Part.NONE)
        return len(self.instance_class) - 1

    def begin_person(self, weight: float) -> int:
        """Starts a person, which is an instance of class "objects" with parts."""
        instance = self.begin(SceneClass.OBJECTS, weight)
        self.people.append(instance)
        return instance

    def part(self, part: Part) -> None:
        """Sets the human part of the shapes that follow."""
        self._part = int(part)

    def box(self, centre: Vector, half: Vector, material: Material, tilt: float = 0.0, spin: float = 0.0) -> None:
        """A box; `tilt` turns it about its x axis (top backwards for > 0), `spin` about the vertical."""
        self._add(Kind.BOX, centre, half, material, tilt=-tilt, spin=spin)

    def ellipsoid(
        self, centre: Vector, radii: Vector, material: Material, tilt: float = 0.0, spin: float = 0.0
    ) -> None:
        """An ellipsoid."""
        self._add(Kind.ELLIPSOID, centre, radii, material, tilt=-tilt, spin=spin)

    def cylinder(
        self, centre: Vector, half: Vector, material: Material, taper: float = 0.0, casts: bool = True
    ) -> None:
        """An upright elliptic cylinder or, with a taper, a piece of a cone.

        Args:
            centre: Its middle.
            half: Radii along x and y at half height, half height.
            material: Its surface.
            taper: The radii shrink by this share from the middle to the top (and grow towards the bottom).
            casts: Whether it throws shadows; shades around a lamp do not.
        """
        self._add(Kind.CONE, centre, half, material, taper=taper, casts=casts)

    def capsule(self, start: Vector, end: Vector, radius: float, material: Material) -> None:
        """A rod with round ends."""
        dx, dy, dz = end[0] - start[0], end[1] - start[1], end[2] - start[2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        ez = (dx / length, dy / length, dz / length) if length > 1e-9 else (0.0, 0.0, 1.0)
        helper = (1.0, 0.0, 0.0) if abs(ez[0]) < 0.8 else (0.0, 1.0, 0.0)
        ey = _unit(_cross(ez, helper))
        ex = _cross(ey, ez)
        centre = (0.5 * (start[0] + end[0]), 0.5 * (start[1] + end[1]), 0.5 * (start[2] + end[2]))
        half_length = max(0.5 * length, 1e-4)
        self._append(Kind.CAPSULE, centre, (ex, ey, ez), (radius, radius, radius), half_length / radius, material, True)

    def room_face(self, half: Vector, height_centre: float, material: Material) -> None:
        """One of the six faces of the room; they must come first, in the order -z, +z, -x, +x, -y, +y."""
        axes = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        self._append(Kind.ROOM, (0.0, 0.0, height_centre), axes, half, 0.0, material, False)

    def _add(
        self,
        kind: int,
        centre: Vector,
        half: Vector,
        material: Material,
        tilt: float = 0.0,
        spin: float = 0.0,
        taper: float = 0.0,
        casts: bool = True,
    ) -> None:
        ex: Vector = (1.0, 0.0, 0.0)
        ey: Vector = (0.0, 1.0, 0.0)
        ez: Vector = (0.0, 0.0, 1.0)
        if tilt != 0.0:
            c, s = math.cos(tilt), math.sin(tilt)
            ey, ez = (0.0, c, s), (0.0, -s, c)
        if spin != 0.0:
            c, s = math.cos(spin), math.sin(spin)
            ex, ey, ez = _turn(ex, c, s), _turn(ey, c, s), _turn(ez, c, s)
        self._append(kind, centre, (ex, ey, ez), half, taper, material, casts)

    def _append(
        self,
        kind: int,
        centre: Vector,
        axes: tuple[Vector, Vector, Vector],
        half: Vector,
        taper: float,
        material: Material,
        casts: bool,
    ) -> None:
        f = self._frame
        instance = len(self.instance_class) - 1
        self.rows.append(
            (
                kind,
                *self.world(*centre),
                *_turn(axes[0], f.c, f.s),
                *_turn(axes[1], f.c, f.s),
                *_turn(axes[2], f.c, f.s),
                *half,
                taper,
                instance,
                self.instance_class[instance],
                self._part,
                *material.first,
                *material.second,
                material.texture,
                material.scale,
                material.seed,
                material.gloss,
                material.glow,
                float(casts and material.glow < 0.5),
            )
        )

    def table(self) -> npt.NDArray[np.float64]:
        """All primitives, one row each; columns as in `_append`."""
        return np.array(self.rows, dtype=np.float64)


def _turn(v: Vector, c: float, s: float) -> Vector:
    return c * v[0] - s * v[1], s * v[0] + c * v[1], v[2]


def _cross(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _unit(v: Vector) -> Vector:
    length = math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
    return v[0] / length, v[1] / length, v[2] / length
