"""Pictures of what a prototype network has learnt (figures 6 and 7 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mtdense.tasks.colours import beside, draw_scale

__all__ = ["draw_affinity", "draw_affinity_maps", "draw_slots"]

Values = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]

_CELL = 32
_STRIP = 24
_LOW, _MIDDLE, _HIGH = np.array([33, 102, 172.0]), np.array([247, 247, 247.0]), np.array([178, 24, 43.0])


def draw_affinity(affinity: Values) -> Picture:
    """Figure 6 as a table: affinity (T, T) in 0..1, a row per target task, a column per slot, dark to bright."""
    grown = affinity.repeat(_CELL, axis=0).repeat(_CELL, axis=1)
    return draw_scale(grown, np.ones(grown.shape, dtype=bool))


def draw_affinity_maps(maps: Sequence[Values], grow: int = 1) -> Picture:
    """Figure 6 over the image: a row per target task, a column per slot.

    Args:
        maps: Affinity (h, w, T) in 0..1 of each target task.
        grow: Picture pixels per position.
    """
    rows = []
    for values in maps:
        cells = values.transpose(2, 0, 1).repeat(grow, axis=1).repeat(grow, axis=2)
        rows.append(beside([draw_scale(cell, np.ones(cell.shape, dtype=bool)) for cell in cells]))
    return beside([row.transpose(1, 0, 2) for row in rows]).transpose(1, 0, 2)


def draw_slots(slots: Values, min_width: int = 512) -> Picture:
    """Figure 7: the elements of each slot (T, D), a strip per task, blue (negative) over white (zero) to red.

    Args:
        slots: Prototype. The scale is that of its largest absolute value.
        min_width: Elements are drawn that many times as wide as this asks for.
    """
    grow = max(1, -(-min_width // slots.shape[1]))
    shares = (slots / max(float(np.abs(slots).max()), 1e-12))[..., None]
    colours = np.where(shares < 0, _MIDDLE + shares * (_MIDDLE - _LOW), _MIDDLE + shares * (_HIGH - _MIDDLE))
    strips = np.round(colours).astype(np.uint8).repeat(grow, axis=1)[:, None].repeat(_STRIP, axis=1)
    return beside([strip.transpose(1, 0, 2) for strip in strips]).transpose(1, 0, 2)
