"""The room under construction: its size, what stands where, and where more can be put."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from mtdense.data.procedural.builder import Builder, Vector
from mtdense.data.procedural.draws import Draws
from mtdense.data.procedural.materials import Palette
from mtdense.data.procedural.view import View

__all__ = ["LampSpot", "Opening", "Pose", "Seat", "Stage", "Surface"]


class Pose(NamedTuple):
    """A place on the floor or on a wall, and the direction an object there turns its front (-y) to."""

    x: float
    y: float
    z: float
    yaw: float


class Surface(NamedTuple):
    """A free horizontal rectangle on which things can stand."""

    pose: Pose
    half_width: float
    half_depth: float


class Seat(NamedTuple):
    """A place to sit."""

    pose: Pose
    height: float


class LampSpot(NamedTuple):
    """A lamp of the scene that may shine."""

    position: Vector
    strength: float
    warm: bool


class Opening(NamedTuple):
    """A window: its middle on the wall, the wall's inward normal, along the wall, half width, half height."""

    centre: Vector
    normal: Vector
    along: Vector
    half_width: float
    half_height: float


@dataclass
class Stage:
    """What the furniture builders share.

    Args:
        builder: Collects primitives.
        draws: Random numbers.
        palette: Materials.
        half_x: Half the room's width.
        half_y: Half the room's depth.
        height: The room's height.
        view: The camera.
        night: Whether it is dark outside.
    """

    builder: Builder
    draws: Draws
    palette: Palette
    half_x: float
    half_y: float
    height: float
    view: View
    night: bool
    surfaces: list[Surface] = field(default_factory=list)
    seats: list[Seat] = field(default_factory=list)
    lamps: list[LampSpot] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    rectangles: list[tuple[float, float, float, float]] = field(default_factory=list)
    hung: tuple[list[tuple[float, float, float, float]], ...] = field(default_factory=lambda: ([], [], []))

    # ---- the floor ----------------------------------------------------------------------------------------------
    def floor_is_free(
        self, x: float, y: float, half_w: float, half_d: float, height: float, margin: float = 0.04
    ) -> bool:
        """Whether a rectangle is inside the room, off other furniture and not in the camera's face."""
        x0, x1, y0, y1 = x - half_w, x + half_w, y - half_d, y + half_d
        if x0 < -self.half_x or x1 > self.half_x or y0 < -self.half_y or y1 > self.half_y:
            return False
        gap = math.hypot(
            max(x0 - self.view.eye[0], 0.0, self.view.eye[0] - x1),
            max(y0 - self.view.eye[1], 0.0, self.view.eye[1] - y1),
        )
        if gap < (1.2 if height > self.view.eye[2] - 0.35 else 0.7):
            return False
        return all(x1 + margin <= a or x0 - margin >= b or y1 + margin <= c or y0 - margin >= d
                   for a, b, c, d in self.rectangles)  # fmt: skip

    def take_floor(self, x: float, y: float, half_w: float, half_d: float) -> None:
        """Marks a rectangle of the floor as occupied."""
        self.rectangles.append((x - half_w, x + half_w, y - half_d, y + half_d))

    def find_floor(self, half_w: float, half_d: float, height: float, tries: int = 6) -> Pose | None:
        """A free place in the open for something that may face any way."""
        d = self.draws
        for _ in range(tries):
            x = d.uniform(-self.half_x + half_w, self.half_x - half_w)
            y = d.uniform(-0.6 * self.half_y, self.half_y - half_d)
            if self.floor_is_free(x, y, half_w, half_d, height):
                self.take_floor(x, y, half_w, half_d)
                return Pose(x, y, 0.0, d.degrees(-180, 180))
        return None

    def chair_fits(self, pose: Pose, table: int) -> bool:
        """Whether a chair can stand at a pose; it may reach under the table whose rectangle has this number."""
        if math.hypot(pose.x - self.view.eye[0], pose.y - self.view.eye[1]) < 0.95:
            return False
        if abs(pose.x) > self.half_x - 0.3 or abs(pose.y) > self.half_y - 0.3:
            return False
        return all(
            n == table or pose.x + 0.24 <= a or pose.x - 0.24 >= b or pose.y + 0.24 <= c or pose.y - 0.24 >= d
            for n, (a, b, c, d) in enumerate(self.rectangles)
        )

    # ---- the walls ----------------------------------------------------------------------------------------------
    def wall_span(self, wall: int) -> float:
        """Half length of a visible wall: 0 opposite the camera, 1 left, 2 right."""
        return self.half_x if wall == 0 else self.half_y

    def wall_pose(self, wall: int, along: float, off: float, z: float = 0.0) -> Pose:
        """Pose of something whose back is towards a wall and whose middle is `off` away from it."""
        if wall == 0:
            return Pose(along, self.half_y - off, z, 0.0)
        if wall == 1:
            return Pose(-self.half_x + off, along, z, 0.5 * math.pi)
        return Pose(self.half_x - off, along, z, -0.5 * math.pi)

    def wall_is_free(self, wall: int, low: float, high: float, bottom: float, top: float) -> bool:
        """Whether nothing hangs on, or stands before, this part of a wall."""
        return all(high <= a or low >= b or top <= c or bottom >= d for a, b, c, d in self.hung[wall])

    def find_wall(self, width: float, depth: float, height: float, tries: int = 14) -> tuple[int, float, Pose] | None:
        """A free place along one of the visible walls; marks floor and wall as occupied."""
        d = self.draws
        for _ in range(tries):
            wall = d.choice((0, 0, 1, 2))
            room = self.wall_span(wall) - 0.5 * width
            if room <= 0.0:
                continue
            along = d.uniform(-room, room)
            there = self.wall_pose(wall, along, 0.5 * depth)
            if not self.view.shows(there.x, there.y) and d.chance(0.75):
                continue
            if self.stand(wall, along, width, depth, height) is not None:
                off = 0.5 * depth + 0.02
                return wall, along, self.wall_pose(wall, along, off)
        return None

    def stand(self, wall: int, along: float, width: float, depth: float, height: float) -> Pose | None:
        """Takes a given place along a wall if it is free."""
        pose = self.wall_pose(wall, along, 0.5 * depth + 0.02)
        half_w, half_d = (0.5 * width, 0.5 * depth) if wall == 0 else (0.5 * depth, 0.5 * width)
        low, high = along - 0.5 * width, along + 0.5 * width
        if not self.floor_is_free(pose.x, pose.y, half_w, half_d, height, 0.02):
            return None
        if not self.wall_is_free(wall, low, high, 0.0, height):
            return None
        self.take_floor(pose.x, pose.y, half_w, half_d)
        self.hung[wall].append((low, high, 0.0, height))
        return pose

    # ---- builders' shorthand --------------------------------------------------------------------------------------
    def at(self, pose: Pose) -> None:
        """Moves the builder to a pose."""
        self.builder.place(pose.x, pose.y, pose.z, pose.yaw)

    def local_pose(self, pose: Pose, x: float, y: float, z: float, turn: float = 0.0) -> Pose:
        """A pose given relative to another one."""
        c, s = math.cos(pose.yaw), math.sin(pose.yaw)
        return Pose(pose.x + c * x - s * y, pose.y + s * x + c * y, pose.z + z, pose.yaw + turn)

    def offer_surface(self, pose: Pose, x: float, y: float, z: float, half_width: float, half_depth: float) -> None:
        """Announces a surface of the piece at `pose`."""
        self.surfaces.append(Surface(self.local_pose(pose, x, y, z), half_width, half_depth))

    def offer_seat(self, pose: Pose, x: float, y: float, height: float) -> None:
        """Announces a seat of the piece at `pose`."""
        self.seats.append(Seat(self.local_pose(pose, x, y, 0.0), height))
