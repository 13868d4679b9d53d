"""Procedural streets: what a camera in a vehicle sees, with exact boxes of the other vehicles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError
from mtdense.data.procedural.builder import Builder
from mtdense.data.procedural.classes import StreetClass
from mtdense.data.procedural.description import NEAR, Description, pack_scene
from mtdense.data.procedural.draws import Draws
from mtdense.data.procedural.lights import LightKind, light_row
from mtdense.data.procedural.materials import RGB, Material, Palette, albedo, plain
from mtdense.data.procedural.raster_numba import visibility
from mtdense.data.procedural.scenes import check_scenes, draw_description, is_integer
from mtdense.data.procedural.stage import Opening
from mtdense.data.procedural.street_layout import SKY_HEIGHT, Parked, Street, fill_street
from mtdense.data.procedural.textures import Texture
from mtdense.data.procedural.view import View
from mtdense.geometry.boxes import AXES_S_FROM_C

__all__ = ["STREETS_VERSION", "ProceduralStreets", "StreetScene", "StreetVehicle"]

STREETS_VERSION = "1"
"""Changes whenever a street or a label of it does."""

Floats = npt.NDArray[np.float64]

_TAN_HALF_WIDTH = 0.4526  # Cityscapes: half of 2048 columns at a focal length of 2262.5 pixels


@dataclass(frozen=True)
class StreetVehicle:
    """A vehicle of a street, visible or not, in the frame V of the vehicle with the camera; see `geometry.boxes`.

    Args:
        instance: Its id in the map of instances.
        label: Its class.
        center: Middle in metres.
        dimensions: Length, width and height in metres.
        rotation: Quaternion w, x, y, z.
        alone: Pixels that it would have if nothing stood before it.
    """

    instance: int
    label: StreetClass
    center: tuple[float, float, float]
    dimensions: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    alone: int


@dataclass(frozen=True)
class StreetScene:
    """A rendered street with its labels.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8, members of `StreetClass`.
        depth: (H, W) float32, metres along the camera's axis; meaningless in the sky.
        instances: (H, W) int32, from 1; ground and sky are instances, too.
        camera: (3, 3) intrinsics in pixels.
        camera_from_vehicle: (3, 4) takes points of V to C.
        vehicles: All vehicles of the street.
    """

    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    instances: npt.NDArray[np.int32]
    camera: Floats
    camera_from_vehicle: Floats
    vehicles: tuple[StreetVehicle, ...]


class ProceduralStreets:
    """Streets, rendered on demand; a street is a function of (seed, index) and the image size alone.

    Args:
        size: Height and width of the images in pixels, 8 to 4096 each.
        seed: Seed of the data set, 0 to 2^64 - 1.
        backend: "numba" (fast) or "numpy" (slow and plain), as of `ProceduralScenes`.

    Raises:
        ConfigError: An argument out of range.
    """

    def __init__(
        self, size: tuple[int, int] = (64, 128), seed: int = 0, backend: Literal["numba", "numpy"] = "numba"
    ) -> None:
        check_scenes(size, seed, backend)
        self.size = (int(size[0]), int(size[1]))
        self.seed = int(seed)
        self.backend = backend

    def render(self, index: int) -> StreetScene:
        """Renders street `index`.

        Raises:
            ConfigError: The index is negative or not a whole number.
        """
        if not is_integer(index) or index < 0:
            raise ConfigError(f"Street index {index!r} is not allowed.", "Give a whole number from 0.")
        made = _describe(self.seed, int(index), *self.size)
        d = made.description
        rendering = draw_description(d, *self.size, self.backend)
        instances = d.instance.astype(np.int32)[rendering.seen]
        labels = d.semantic[rendering.seen].astype(np.uint8)
        labels[np.isin(instances, d.people)] = StreetClass.PERSON
        return StreetScene(
            image=rendering.image,
            labels=labels,
            depth=rendering.depth.astype(np.float32),
            instances=instances,
            camera=d.camera,
            camera_from_vehicle=made.mount.camera_from_vehicle,
            vehicles=tuple(_vehicle(parked, made.mount, d, self.size) for parked in made.vehicles),
        )


class _Mount(NamedTuple):
    """Where V and the camera are in the world.

    Args:
        origin: (3,) of V.
        heading: Turn of V against the world's y, positive to the left.
        camera_from_vehicle: (3, 4).
    """

    origin: Floats
    heading: float
    camera_from_vehicle: Floats

    def axes(self) -> Floats:
        """(3, 3) columns are the axes of V in the world: ahead, left, up."""
        c, s = math.cos(self.heading), math.sin(self.heading)
        return np.array([[-s, -c, 0.0], [c, -s, 0.0], [0.0, 0.0, 1.0]])


class _Made(NamedTuple):
    description: Description
    mount: _Mount
    vehicles: list[Parked]


def _describe(seed: int, index: int, height: int, width: int) -> _Made:
    """Makes up street `index` of data set `seed`."""
    d = Draws(seed, index)
    palette = Palette(d)
    half, walk = d.uniform(4.2, 7.5), d.uniform(2.0, 4.0)
    eye = (d.uniform(0.15, 0.5) * half, 0.0, d.uniform(1.2, 1.35))
    heading = d.degrees(-4, 4)
    view = View(eye, heading + d.degrees(-1.5, 1.5), -d.degrees(0.5, 3.0), d.degrees(-0.6, 0.6), _TAN_HALF_WIDTH)
    camera = view.intrinsics(height, width)
    camera[0, 2] += d.uniform(0.01, 0.05) * width
    camera[1, 2] += d.uniform(-0.01, 0.01) * height
    mount = _mount(view, heading, d.uniform(1.6, 1.8), d.uniform(0.08, 0.16))
    street = Street(Builder(), d, palette, half, walk, eye)
    bright = d.uniform(0.0, 1.0)
    grey = albedo(d.uniform(0.55, 0.65), d.uniform(0.0, 0.08), d.uniform(0.3, 0.5))
    tone = albedo(0.58, 0.1 + 0.35 * bright, 0.95)
    fill_street(street, Material(grey, grey, Texture.FABRIC, 0.05, palette.seed(), 0.05), plain(tone, 0.0, 1.1))
    lights, ambient = _lights(d, bright, tone, grey)
    gains = (1.0 + d.uniform(-0.05, 0.05), 1.0, 1.0 + d.uniform(-0.05, 0.05))
    grain = (d.uniform(0.0, 0.25), d.uniform(0.15, 0.4), d.uniform(0.003, 0.012), float(d.integer(0, 999999)))
    look = (d.uniform(0.85, 1.25), *gains, *grain)
    # Nothing is painted on the sky, not even a skirting board.
    trim = np.array([0.0, *tone, 0.0, *tone])
    packed = pack_scene(street.builder, view, camera, height, width, lights, ambient, np.zeros(16), trim, look)
    return _Made(packed, mount, street.vehicles)


def _mount(view: View, heading: float, ahead: float, left: float) -> _Mount:
    """The camera so many metres before and left of the middle of the rear axle, on even ground."""
    c, s = math.cos(heading), math.sin(heading)
    origin = np.array([view.eye[0] + s * ahead + c * left, view.eye[1] - c * ahead + s * left, 0.0])
    bare = _Mount(origin, heading, np.zeros((3, 4)))
    turn = AXES_S_FROM_C.T @ view.rotation()  # world to C
    rotation, translation = turn @ bare.axes(), turn @ (origin - np.array(view.eye))
    return bare._replace(camera_from_vehicle=np.column_stack([rotation, translation]))


def _vehicle(parked: Parked, mount: _Mount, d: Description, size: tuple[int, int]) -> StreetVehicle:
    middle = np.array([parked.x, parked.y, 0.5 * parked.size[2]]) - mount.origin
    center = (mount.axes().T @ middle).tolist()
    turn = math.remainder(parked.yaw - mount.heading + math.pi, 2 * math.pi)  # it looks along -y of its own frame
    rotation = (math.cos(0.5 * turn), 0.0, 0.0, math.sin(0.5 * turn))
    alone = _pixels(d, parked.instance, size)
    return StreetVehicle(parked.instance, parked.label, tuple(center), parked.size, rotation, alone)


def _pixels(d: Description, instance: int, size: tuple[int, int]) -> int:
    """Pixels of an instance that stands alone in the world."""
    own = np.concatenate([np.arange(6), np.flatnonzero(d.instance == instance)])
    shape = (d.camera, d.kind[own], d.matrix[own], d.origin[own], d.taper[own], d.rect[own])
    _, seen, _ = visibility(*shape, NEAR, *size)
    return int((seen >= 6).sum())


def _lights(d: Draws, bright: float, sky: RGB, ground: RGB) -> tuple[Floats, Floats]:
    """The sun, through an opening as wide as the world, and light from everywhere: (L, columns) and (6,)."""
    turn, rise = d.degrees(-180, 180), d.degrees(28, 60)
    direction = (math.cos(rise) * math.sin(turn), math.cos(rise) * math.cos(turn), math.sin(rise))
    strength = 0.15 + 2.0 * bright
    warm = (strength, d.uniform(0.86, 0.95) * strength, d.uniform(0.7, 0.85) * strength)
    overhead = Opening((0.0, 0.0, SKY_HEIGHT), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0), 1e4, 1e4)
    sun = light_row(LightKind.SUN, direction, warm, 0.02, overhead.centre, (0.0, 1.0, 0.0), overhead)
    share = 0.75 - 0.35 * bright
    above = [share * part for part in sky]
    below = [0.55 * part * (0.5 + 0.5 * floor) for part, floor in zip(above, ground, strict=True)]
    return np.array([sun], dtype=np.float64), np.array([*above, *below], dtype=np.float64)
