"""The camera of a scene."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mtdense.data.procedural.builder import Vector
from mtdense.data.procedural.draws import Draws

__all__ = ["View", "draw_view"]


class View(NamedTuple):
    """Where the camera stands and how it looks.

    Args:
        eye: Its position in the room.
        yaw: Turn about the vertical, 0 looks along +y, positive to the left.
        pitch: Positive looks up.
        roll: Turn about the optical axis.
        tan_half_width: Tangent of half the horizontal angle of view.
    """

    eye: Vector
    yaw: float
    pitch: float
    roll: float
    tan_half_width: float

    def shows(self, x: float, y: float) -> bool:
        """Whether a point on the floor is ahead, between the left and the right border of the picture."""
        dx, dy = x - self.eye[0], y - self.eye[1]
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        forward, right = c * dy - s * dx, c * dx + s * dy
        return forward > 0.3 and abs(right) < 0.95 * self.tan_half_width * forward

    def rotation(self) -> npt.NDArray[np.float64]:
        """(3, 3) world to camera: rows are the camera's right, down and forward."""
        cy, sy, cp, sp = math.cos(self.yaw), math.sin(self.yaw), math.cos(self.pitch), math.sin(self.pitch)
        forward = np.array([-sy * cp, cy * cp, sp])
        right = np.array([cy, sy, 0.0])
        down = np.cross(forward, right)
        cr, sr = math.cos(self.roll), math.sin(self.roll)
        return np.stack([cr * right + sr * down, cr * down - sr * right, forward])

    def intrinsics(self, height: int, width: int) -> npt.NDArray[np.float64]:
        """(3, 3) camera matrix in pixels, pixel centres at integers."""
        focal = 0.5 * width / self.tan_half_width
        return np.array([[focal, 0.0, 0.5 * (width - 1)], [0.0, focal, 0.5 * (height - 1)], [0.0, 0.0, 1.0]])


def draw_view(draws: Draws, half_x: float, half_y: float, height: float) -> View:
    """Draws a camera at the near side of a room that looks into it."""
    x = draws.uniform(-0.7, 0.7) * half_x
    y = -half_y + 0.25 + draws.uniform(0.0, 0.35) * half_y
    target_x = draws.uniform(-0.5, 0.5) * half_x
    target_y = draws.uniform(0.15, 0.9) * half_y
    yaw = -math.atan2(target_x - x, target_y - y) + draws.degrees(-6, 6)
    pitch = -draws.degrees(3, 21) if draws.chance(0.85) else draws.degrees(-3, 5)
    eye = (x, y, min(draws.uniform(1.05, 1.75), height - 0.4))
    return View(eye, yaw, pitch, draws.degrees(-3, 3), math.tan(0.5 * draws.degrees(52, 70)))
