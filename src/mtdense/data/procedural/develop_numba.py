"""Compiled development of the picture: lens blur, exposure, tone curve, vignette and noise.

`render_numpy` is the plain version of the same maths.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mtdense.data.procedural.jit import njit
from mtdense.data.procedural.textures import hash_unit

__all__ = ["develop"]

Array = Any


@njit
def develop(radiance: Array, seen: Array, look: Array) -> Array:
    """8-bit picture (H, W, 3) of a radiance map: lens blur, exposure, tone curve, vignette and noise."""
    height, width = seen.shape
    image = np.empty((height, width, 3), np.uint8)
    mean = 0.0
    for r in range(height):
        for q in range(width):
            mean += min((radiance[r, q, 0] + radiance[r, q, 1] + radiance[r, q, 2]) / 3.0, 2.0)
    gain = 0.42 * look[0] / max(mean / (height * width), 1e-6)
    seed = np.int64(look[7])
    for r in range(height):
        above, below = max(r - 1, 0), min(r + 1, height - 1)
        v = (r + 0.5) / height * 2.0 - 1.0
        for q in range(width):
            left, right = max(q - 1, 0), min(q + 1, width - 1)
            p = seen[r, q]
            edge = seen[above, q] != p or seen[below, q] != p or seen[r, left] != p or seen[r, right] != p
            soft = 1.0 if edge else look[5]
            u = (q + 0.5) / width * 2.0 - 1.0
            fall = 1.0 - 0.5 * look[4] * (u * u + v * v)
            for c in range(3):
                middle = radiance[r, q, c]
                cross = radiance[above, q, c] + radiance[below, q, c] + radiance[r, left, c] + radiance[r, right, c]
                corner = (
                    radiance[above, left, c]
                    + radiance[above, right, c]
                    + radiance[below, left, c]
                    + radiance[below, right, c]
                )
                blurred = 0.25 * middle + 0.125 * cross + 0.0625 * corner
                x = gain * fall * look[1 + c] * (middle + soft * (blurred - middle))
                x = math.sqrt(x * (1.0 + x / 9.0) / (1.0 + x))
                at = (r * width + q) * 6 + 2 * c
                grain = hash_unit(seed, at, 11) + hash_unit(seed, at + 1, 11) - 1.0
                image[r, q, c] = np.uint8(min(max(255.0 * (x + 2.45 * look[6] * grain), 0.0), 255.0) + 0.499)
    return image
