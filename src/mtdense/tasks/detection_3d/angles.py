"""How an orientation becomes three angles and bins of direction that a network predicts, and back.

Both codes name every orientation; at the poles of their angles, where only a sum or a difference of two is known, one
of these is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["CODINGS", "AngleCoding", "AngleCodingName"]

AngleCodingName = Literal["fixed", "taskprompter"]

_POLE = 1e-9


@dataclass(frozen=True)
class AngleCoding:
    """A code of three angles in radians for rotations in frame S.

    "fixed": turn about y (which points down), then x, then z of the turned body: yaw, pitch and roll. Yaw is compared
    by the sine of the difference and has two bins of direction; the others are small and predicted as they are.

    "taskprompter": what TaskPrompter's public code does. It hands a quaternion with its scalar first to a function that
    wants it last, and takes turns about z, x and y of the turned body. The angles are no pitch, roll and yaw, but they
    lead back to the same rotation; the third is the yaw plus pi while the vehicle stands level. All three are compared
    by the sine of the difference and have bins.

    Args:
        name: Which of the two.
        binned: Places of the angles that have bins of direction.
        above: Place of the angle that a box is turned by, seen from above, half turns aside.
        offset: Where the first bin begins by default; FCOS3D has pi/4, TaskPrompter 0, which lies where most angles do.
    """

    name: AngleCodingName
    binned: tuple[int, ...]
    above: int
    offset: float

    def encode(self, rotations: Tensor) -> Tensor:
        """Unit quaternions (N, 4), scalar first, to angles (N, 3); computed in float64 where the device has it."""
        q = rotations if rotations.device.type == "mps" else rotations.double()
        m = _matrix(q if self.name == "fixed" else q[:, [3, 0, 1, 2]])
        if self.name == "fixed":
            # Ry(a) Rx(b) Rz(c)
            sine, first, third = -m[1][2], (m[0][2], m[2][2]), (m[1][0], m[1][1])
            pole = (-m[2][0], m[0][0])
        else:
            # Rz(a) Rx(b) Ry(c)
            sine, first, third = m[2][1], (-m[0][1], m[1][1]), (-m[2][0], m[2][2])
            pole = (m[1][0], m[0][0])
        cosine = torch.hypot(*third)
        lost = cosine < _POLE
        a = torch.where(lost, torch.atan2(*pole), torch.atan2(*first))
        b = torch.atan2(sine, cosine)
        c = torch.where(lost, 0.0, torch.atan2(*third))
        return torch.stack([a, b, c], dim=-1).to(rotations.dtype)

    def decode(self, angles: Tensor) -> Tensor:
        """Angles (N, 3) to unit quaternions (N, 4), scalar first."""
        order = (2, 1, 3) if self.name == "fixed" else (3, 1, 2)
        turned = _about(angles[:, 0], order[0])
        for place in (1, 2):
            turned = _product(turned, _about(angles[:, place], order[place]))
        return turned if self.name == "fixed" else turned[:, [1, 2, 3, 0]]

    def bins(self, angles: Tensor, offset: float) -> Tensor:
        """(N, len(binned)) int64: 0 or 1, the half turn from `offset` on in which each angle with bins lies."""
        turned = torch.remainder(angles[..., list(self.binned)] - offset, 2 * math.pi)
        return (turned / math.pi).floor().clamp(0, 1).long()

    def resolve(self, angles: Tensor, bins: Tensor, offset: float) -> Tensor:
        """Angles (N, 3), of which those with bins are known but for half turns, with the half turns of the bins."""
        resolved = angles.clone()
        for column, place in enumerate(self.binned):
            base = torch.remainder(angles[:, place] - offset, math.pi) + offset
            resolved[:, place] = base + math.pi * bins[:, column]
        return resolved


CODINGS: dict[str, AngleCoding] = {
    "fixed": AngleCoding("fixed", (0,), 0, math.pi / 4),
    "taskprompter": AngleCoding("taskprompter", (0, 1, 2), 2, 0.0),
}


def _matrix(q: Tensor) -> list[list[Tensor]]:
    w, x, y, z = (q / q.norm(dim=-1, keepdim=True)).unbind(-1)
    return [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]


def _about(angle: Tensor, axis: int) -> Tensor:
    """Quaternions (N, 4) of turns about an axis: 1 is x, 2 is y, 3 is z."""
    parts = [torch.cos(angle / 2), *(torch.zeros_like(angle) for _ in range(3))]
    parts[axis] = torch.sin(angle / 2)
    return torch.stack(parts, dim=-1)


def _product(a: Tensor, b: Tensor) -> Tensor:
    w = a[:, 0] * b[:, 0] - (a[:, 1:] * b[:, 1:]).sum(-1)
    xyz = a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:] + torch.cross(a[:, 1:], b[:, 1:], dim=-1)
    return torch.cat([w[:, None], xyz], dim=-1)
