"""Colours of labels and predictions."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mtdense.tasks.base import ArrayAny

__all__ = ["GREY", "beside", "class_palette", "draw_classes", "draw_grey", "draw_scale"]

Picture = npt.NDArray[np.uint8]

GREY: tuple[int, int, int] = (128, 128, 128)
"""Colour of pixels without a label."""

BACKGROUND = (28, 28, 34)

# Chosen by eye for the 13 classes of NYUD-v2 (bed, books, ceiling, ...) and the first of PASCAL.
FIRST = (
    (214, 69, 80),
    (244, 162, 97),
    (233, 228, 214),
    (42, 157, 143),
    (141, 85, 36),
    (94, 96, 206),
    (247, 216, 60),
    (240, 128, 190),
    (38, 102, 54),
    (72, 191, 227),
    (40, 40, 78),
    (178, 190, 140),
    (160, 60, 170),
    (130, 220, 90),
    (10, 90, 160),
    (255, 110, 30),
    (120, 20, 40),
    (170, 200, 255),
    (0, 70, 80),
    (255, 190, 170),
)

# Dark to bright through blue, magenta and orange; lightness rises evenly, so that it also reads in grey.
SCALE = (
    (8, 8, 32),
    (34, 18, 92),
    (84, 22, 124),
    (136, 34, 124),
    (188, 52, 104),
    (228, 84, 72),
    (248, 134, 44),
    (252, 190, 60),
    (250, 244, 170),
)


@functools.cache
def class_palette(num_colours: int, background_first: bool = False) -> tuple[tuple[int, int, int], ...]:
    """Distinct colours for class ids, always the same; the first n of a longer palette are the palette of n.

    Args:
        num_colours: At most 256.
        background_first: Class 0 is a background and gets a near-black.
    """
    chosen = [np.array(colour, dtype=np.int64) for colour in ((BACKGROUND, *FIRST) if background_first else FIRST)]
    if num_colours > len(chosen):
        levels = np.linspace(16, 248, 11).astype(np.int64)
        lattice = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
        # Distance to the nearest colour in use (grey is in use); each new colour is the farthest one.
        nearest = np.min([_distance(lattice, colour) for colour in [*chosen, np.array(GREY)]], axis=0)
        while len(chosen) < num_colours:
            chosen.append(lattice[int(nearest.argmax())])
            nearest = np.minimum(nearest, _distance(lattice, chosen[-1]))
    return tuple((int(red), int(green), int(blue)) for red, green, blue in chosen[:num_colours])


def draw_classes(ids: ArrayAny, palette: npt.ArrayLike) -> Picture:
    """(H, W, 3) picture of class ids (H, W); ids without a colour are grey."""
    colours = np.vstack([np.asarray(palette, dtype=np.uint8), np.array([GREY], dtype=np.uint8)])
    known = (ids >= 0) & (ids < len(colours) - 1)
    picture: Picture = colours[np.where(known, ids, len(colours) - 1).astype(np.int64)]
    return picture


def draw_grey(shares: ArrayAny, valid: ArrayAny) -> Picture:
    """(H, W, 3) picture of values (H, W) in 0..1, black to white; not valid ones are grey."""
    levels = np.round(np.clip(np.where(valid, shares, 0), 0, 1) * 255).astype(np.uint8)
    picture: Picture = np.repeat(levels[..., None], 3, axis=-1)
    picture[~valid] = GREY
    return picture


def draw_scale(shares: ArrayAny, valid: ArrayAny) -> Picture:
    """(H, W, 3) picture of values (H, W) in 0..1, dark to bright; not valid ones are grey."""
    positions = np.clip(np.where(valid, shares, 0), 0, 1) * (len(SCALE) - 1)
    table = np.array(SCALE, dtype=np.float64)
    channels = [np.interp(positions, np.arange(len(SCALE)), table[:, channel]) for channel in range(3)]
    picture: Picture = np.round(np.stack(channels, axis=-1)).astype(np.uint8)
    picture[~valid] = GREY
    return picture


def _distance(colours: npt.NDArray[np.int64], colour: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    # Weighted by the eye's sensitivity to red, green and blue.
    squares: npt.NDArray[np.float64] = ((colours - colour) ** 2 * np.array([2.0, 4.0, 3.0])).sum(axis=1)
    return squares


def beside(pictures: Sequence[Picture], gap: int = 2) -> Picture:
    """Pictures (H, w, 3) of one height, left to right, with white columns between them."""
    white = np.full((pictures[0].shape[0], gap, 3), 255, dtype=np.uint8)
    parts = [part for picture in pictures for part in (white, picture)]
    return np.concatenate(parts[1:], axis=1)
