"""A camera that the user names for pictures that come without one: numbers, or a file of Cityscapes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.cityscapes.boxes3d import read_boxes3d
from mtdense.data.cityscapes.official_files import read_camera, read_mount
from mtdense.data.io import read_bytes
from mtdense.geometry import camera_matrix, resize_camera

__all__ = ["GivenCamera", "given_camera"]

_FORMS = "give fx,fy,cx,cy in pixels, a camera.json or a gtBbox3d.json of Cityscapes."
_LARGEST_JSON = 1 << 24
# Shares of the sides by which a picture may miss the aspect of the camera's image.
_ASPECT = 0.01

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GivenCamera:
    """A camera of pictures.

    Args:
        matrix: (3, 3) intrinsics in pixels.
        mount: (3, 4) takes points of the vehicle to the camera, `sensor_T_ISO_8855` of Cityscapes 3D. From numbers
            alone: the camera is the vehicle's origin and looks ahead.
        size: Height and width of the image that they are for; None: of the pictures.
        source: What it was made of, for messages.
    """

    matrix: Floats
    mount: Floats
    size: tuple[int, int] | None
    source: str

    def matrix_of(self, size: tuple[int, int], picture: str) -> Floats:
        """Intrinsics of a picture of some height and width.

        Raises:
            DataError: The picture has another aspect, or the camera's axis does not meet it.
        """
        height, width = size
        if self.size is None:
            x, y = self.matrix[0, 2], self.matrix[1, 2]
            if not (0 <= x < width and 0 <= y < height):
                raise DataError(
                    f"the camera {self.source} looks at ({x:g}, {y:g}), which is out of {picture} ({height} x {width})",
                    "give the intrinsics of these very pictures: they are in pixels, and scale with them.",
                )
            return self.matrix
        zoom_y, zoom_x = height / self.size[0], width / self.size[1]
        if abs(zoom_y / zoom_x - 1) > _ASPECT:
            raise DataError(
                f"the camera {self.source} is of images of {self.size[0]} x {self.size[1]}, and {picture} is "
                f"{height} x {width}",
                "give a camera of these pictures: of a part of an image it is another.",
            )
        return resize_camera(self.matrix, zoom_x, zoom_y)


def given_camera(value: str | Sequence[float]) -> GivenCamera:
    """Reads what the user gave.

    Args:
        value: fx, fy, cx, cy as numbers or as text with commas; or the path of a .json: a camera file of Cityscapes
            (intrinsics, and yaw, pitch, roll and place in the vehicle), or a file of its 3-D boxes, for its `sensor`.

    Raises:
        ConfigError: It is none of these.
        DataError: The file cannot be read, or lacks a number.
    """
    if isinstance(value, str) and value.lower().endswith(".json"):
        return _from_file(Path(value).expanduser())
    try:
        numbers = [float(part) for part in (value.split(",") if isinstance(value, str) else value)]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)) or min(numbers[:2]) <= 0:
        raise ConfigError(f"camera is {value!r}", _FORMS)
    return GivenCamera(camera_matrix(*numbers), np.eye(3, 4), None, ",".join(f"{number:g}" for number in numbers))


def _from_file(path: Path) -> GivenCamera:
    try:
        facts: Any = json.loads(read_bytes(path, _LARGEST_JSON))
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}", _FORMS) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error})", _FORMS) from error
    if isinstance(facts, dict) and "sensor" in facts:
        camera = read_boxes3d(path).camera
        return GivenCamera(camera.matrix, camera.camera_from_vehicle, camera.size, str(path))
    return GivenCamera(read_camera(path).matrix, read_mount(path), None, str(path))
