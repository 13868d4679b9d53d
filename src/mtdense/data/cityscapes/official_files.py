"""Where the official files of Cityscapes lie, and its camera files.

```
<root>/<type>/<split>/<city>/<city>_<sequence>_<frame>_<suffix>     six digits each; split: train, val, test
```

| type | suffix | archive | content |
|---|---|---|---|
| leftImg8bit | leftImg8bit.png | leftImg8bit_trainvaltest.zip | RGB |
| gtFine | gtFine_labelIds.png | gtFine_trainvaltest.zip | label ids, see `facts` |
| disparity | disparity.png | disparity_trainvaltest.zip | 16 bits, see `protocols` |
| camera | camera.json | camera_trainvaltest.zip | `extrinsic.baseline` in metres, `intrinsic` `fx fy u0 v0` in pixels |
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import DataError
from mtdense.data.io import read_bytes
from mtdense.data.location import Location
from mtdense.geometry import camera_matrix

__all__ = [
    "CAMERA",
    "DISPARITY",
    "FOLDERS",
    "IMAGE",
    "LABEL_MAP",
    "WHERE",
    "FileKind",
    "StreetCamera",
    "index_files",
    "read_camera",
    "read_mount",
]

WHERE = (
    "leftImg8bit_trainvaltest.zip, gtFine_trainvaltest.zip, disparity_trainvaltest.zip and camera_trainvaltest.zip are "
    "published at www.cityscapes-dataset.com; unpack all into one folder."
)
"""Where people get the data."""

FOLDERS: Mapping[str, str] = {"train": "train", "test": "val"}
"""{split: its folder}; labels of the folder `test` are not public, so the literature tests on `val`."""

_AGAIN = "Unpack camera_trainvaltest.zip again."
_LARGEST_JSON = 1_000_000
_ID = re.compile(r"([A-Za-z][A-Za-z-]*)_[0-9]{6}_[0-9]{6}")


@dataclass(frozen=True)
class FileKind:
    """One type of files.

    Args:
        folder: Folder of the type in the root.
        suffix: What follows an image's id in a file's name.
    """

    folder: str
    suffix: str

    def place(self, split: str, image_id: str) -> str:
        """Path of a file below the root."""
        return f"{self.folder}/{FOLDERS[split]}/{image_id.partition('_')[0]}/{image_id}{self.suffix}"


IMAGE = FileKind("leftImg8bit", "_leftImg8bit.png")
"""Left images."""
LABEL_MAP = FileKind("gtFine", "_gtFine_labelIds.png")
"""Fine class labels."""
DISPARITY = FileKind("disparity", "_disparity.png")
"""Disparity of the stereo pair."""
CAMERA = FileKind("camera", "_camera.json")
"""Calibration."""


def index_files(root: Location, kind: FileKind, split: str) -> dict[str, Location]:
    """{id: file} of a type and split, sorted by id; empty where the folder is missing.

    Raises:
        DataError: A file's name is not that of an image of its city.
    """
    folder = root / kind.folder / FOLDERS[split]
    found: dict[str, Location] = {}
    if not folder.is_dir():
        return found
    for city in sorted(folder.iterdir()):
        if city.name.startswith(".") or not city.is_dir():
            continue
        for path in city.iterdir():
            if not path.name.endswith(kind.suffix) or path.name.startswith("."):
                continue
            image_id = path.name[: -len(kind.suffix)]
            match = _ID.fullmatch(image_id)
            if match is None or match[1] != city.name:
                raise DataError(
                    f"{path} is not called {city.name}_<sequence>_<frame>{kind.suffix} with six digits each",
                    "Take it out, or unpack the archive again; files match by name.",
                )
            found[image_id] = path
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class StreetCamera:
    """Calibration of an image.

    Args:
        baseline: Distance of the two cameras in metres.
        matrix: (3, 3) intrinsics of the left camera in pixels.
    """

    baseline: float
    matrix: npt.NDArray[np.float64]

    @property
    def baseline_focal(self) -> float:
        """Distance in metres of what has a disparity of one pixel."""
        return float(self.baseline * self.matrix[0, 0])


def read_camera(path: Location) -> StreetCamera:
    """Reads a camera file.

    Raises:
        DataError: Missing, damaged, too large, or without a number that it must have.
    """
    facts = _camera_facts(path)
    intrinsic = [
        *(_number(facts, path, "intrinsic", key, 0.0) for key in ("fx", "fy")),
        *(_number(facts, path, "intrinsic", key, -math.inf) for key in ("u0", "v0")),
    ]
    return StreetCamera(_number(facts, path, "extrinsic", "baseline", 0.0), camera_matrix(*intrinsic))


def read_mount(path: Location) -> npt.NDArray[np.float64]:
    """(3, 4) takes points of the vehicle to the camera of a camera file: the same camera's `sensor_T_ISO_8855`.

    The file has where the camera is in the vehicle, in metres, and how it is turned: by yaw about z, then by pitch
    about the new y, then by roll about the new x, in radians.

    Raises:
        DataError: Missing, damaged, too large, or without a number that it must have.
    """
    facts = _camera_facts(path)
    yaw, pitch, roll, *place = (
        _number(facts, path, "extrinsic", key, -math.inf) for key in ("yaw", "pitch", "roll", "x", "y", "z")
    )
    turned = _rotation(2, yaw) @ _rotation(1, pitch) @ _rotation(0, roll)
    return np.column_stack([turned.T, -turned.T @ np.array(place)])


def _camera_facts(path: Location) -> Any:
    try:
        return json.loads(read_bytes(path, _LARGEST_JSON))
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}", _AGAIN) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error})", _AGAIN) from error


def _number(facts: Any, path: Location, group: str, key: str, least: float) -> float:
    values = facts.get(group) if isinstance(facts, dict) else None
    value = values.get(key) if isinstance(values, dict) else None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least < value < math.inf:
        raise DataError(f"{path}: {group}.{key} is {value!r}, not a length", _AGAIN)
    return float(value)


def _rotation(axis: int, angle: float) -> npt.NDArray[np.float64]:
    """About an axis, from the next axis to the one after it."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[[a, b], [a, b]] = math.cos(angle)
    matrix[b, a], matrix[a, b] = math.sin(angle), -math.sin(angle)
    return matrix
