"""Procedural scenes: the door of this package."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError
from mtdense.data.procedural import render_numpy
from mtdense.data.procedural.description import NEAR, Description, describe
from mtdense.data.procedural.develop_numba import develop
from mtdense.data.procedural.labels import instance_edges, salient_instance
from mtdense.data.procedural.light_numba import light
from mtdense.data.procedural.lights import SAMPLES
from mtdense.data.procedural.raster_numba import visibility
from mtdense.data.procedural.render_numpy import Rendering
from mtdense.data.procedural.surface_numba import surfaces

__all__ = ["PROCEDURAL_VERSION", "ProceduralScenes", "Scene", "check_scenes", "draw_description", "is_integer"]

PROCEDURAL_VERSION = "1"
"""Changes whenever a scene or a label does."""

_LARGEST_SEED = 2**64 - 1


@dataclass(frozen=True)
class Scene:
    """A rendered scene with all its labels.

    Args:
        image: (H, W, 3) uint8 RGB.
        semseg: (H, W) int64, ids of `NYUD13_CLASSES`.
        depth: (H, W) float32, metres along the camera's axis.
        normals: (H, W, 3) float32 unit vectors of the geometry, camera x right, y down, z forward, facing the camera.
        edges: (H, W) float32, 1 where the right or the lower neighbour is another instance, else 0.
        saliency: (H, W) int64, 1 on the salient object (see `labels.salient_instance`), else 0.
        human_parts: (H, W) int64, 0 background, then the members of `Part`.
        instances: (H, W) int32, from 1; floor, ceiling and walls are instances, too.
        people: Ids of the instances that are people, visible or not.
        camera: (3, 3) float64 intrinsics in pixels, pixel centres at integers.
    """

    image: npt.NDArray[np.uint8]
    semseg: npt.NDArray[np.int64]
    depth: npt.NDArray[np.float32]
    normals: npt.NDArray[np.float32]
    edges: npt.NDArray[np.float32]
    saliency: npt.NDArray[np.int64]
    human_parts: npt.NDArray[np.int64]
    instances: npt.NDArray[np.int32]
    people: tuple[int, ...]
    camera: npt.NDArray[np.float64]


class ProceduralScenes:
    """Furnished rooms, rendered on demand; a scene is a function of (seed, index) and the image size alone.

    Args:
        size: Height and width of the images in pixels, 8 to 4096 each.
        seed: Seed of the data set, 0 to 2^64 - 1.
        backend: "numba" (fast) or "numpy" (slow and plain; the oracle of the other).

    Raises:
        ConfigError: An argument out of range.
    """

    def __init__(
        self, size: tuple[int, int] = (64, 80), seed: int = 0, backend: Literal["numba", "numpy"] = "numba"
    ) -> None:
        check_scenes(size, seed, backend)
        self.size = (int(size[0]), int(size[1]))
        self.seed = int(seed)
        self.backend = backend

    def render(self, index: int) -> Scene:
        """Renders scene `index`.

        Raises:
            ConfigError: The index is negative or not a whole number.
        """
        if not is_integer(index) or index < 0:
            raise ConfigError(f"Scene index {index!r} is not allowed.", "Give a whole number from 0.")
        description = describe(self.seed, int(index), *self.size)
        return _label(description, draw_description(description, *self.size, self.backend))


def check_scenes(size: tuple[int, int], seed: int, backend: str) -> None:
    """Checks what scenes are made of.

    Raises:
        ConfigError: An argument out of range, see `ProceduralScenes`.
    """
    if len(size) != 2 or not all(is_integer(side) and 8 <= side <= 4096 for side in size):
        raise ConfigError(f"Image size {size!r} is not allowed.", "Give height and width, 8 to 4096 pixels each.")
    if not is_integer(seed) or not 0 <= seed <= _LARGEST_SEED:
        raise ConfigError(f"Seed {seed!r} is not allowed.", "Give a whole number from 0 to 2^64 - 1.")
    if backend not in ("numba", "numpy"):
        raise ConfigError(f'Unknown renderer "{backend}".', 'Choose "numba" or "numpy".')


def draw_description(description: Description, height: int, width: int, backend: str) -> Rendering:
    """Renders by one of the two renderers."""
    draw = _render_numba if backend == "numba" else render_numpy.render
    return draw(description, height, width)


def is_integer(value: object) -> bool:
    """Whether it is a whole number; True and False are not."""
    if isinstance(value, bool):
        return False
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def _render_numba(d: Description, height: int, width: int) -> Rendering:
    shape = (d.camera, d.kind, d.matrix, d.origin)
    depth, seen, face = visibility(*shape, d.taper, d.rect, NEAR, height, width)
    look = (d.colours, d.texture, d.scale, d.texture_seed, d.rug, d.trim)
    normals, albedo = surfaces(*shape, d.half, d.taper, *look, depth, seen, face)
    bounds = (d.reach, d.centre, d.radius, d.casts, d.gloss, d.glow)
    lit = (d.lights, d.ambient, d.up, SAMPLES)
    radiance = light(*shape, d.half, d.taper, *bounds, *lit, depth, seen, normals, albedo)
    return Rendering(depth, seen, normals, develop(radiance, seen, d.look))


def _label(d: Description, rendering: Rendering) -> Scene:
    seen = rendering.seen
    instances = d.instance.astype(np.int32)[seen]
    chosen = salient_instance(instances, d.instance_weight)
    return Scene(
        image=rendering.image,
        semseg=d.semantic[seen],
        depth=rendering.depth.astype(np.float32),
        normals=rendering.normals.astype(np.float32),
        edges=instance_edges(instances),
        saliency=(instances == chosen).astype(np.int64),
        human_parts=d.part[seen],
        instances=instances,
        people=d.people,
        camera=d.camera,
    )
