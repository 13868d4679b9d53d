"""The files of Cityscapes 3D, `gtBbox3d/<split>/<city>/<id>_gtBbox3d.json`: boxes of vehicles, and regions to ignore.

```
{"imgWidth": 2048, "imgHeight": 1024,
 "sensor": {"sensor_T_ISO_8855": 3x4, "fx": …, "fy": …, "u0": …, "v0": …, "baseline": metres},
 "objects": [{"2d": {"modal": [x, y, w, h], "amodal": [x, y, w, h]},
              "3d": {"center": [x, y, z], "dimensions": [l, w, h], "rotation": [w, x, y, z], "type": …,
                     "format": "CRS_ISO8855"},
              "label": "car", "instanceId": 26010, "occlusion": 0.3, "truncation": 0.0, "score": 1.0}, …],
 "ignore": [{"2d": [x, y, w, h], "label": "car", "instanceId": 26}, …]}
```

Boxes are in frame V of `mtdense.geometry.boxes`, pixels those of the stored image, w = x2 - x1. Detections have
the same objects, of which only label, score, "3d" and the amodal box are asked for.

* Gählert et al. Cityscapes 3D: Dataset and Benchmark for 9 DoF Vehicle Detection. CVPR Workshops 2020.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from mtdense.core.errors import DataError
from mtdense.core.suggest import did_you_mean
from mtdense.data.cityscapes.official_files import FileKind
from mtdense.data.io import read_bytes
from mtdense.data.location import Location
from mtdense.geometry import camera_matrix
from mtdense.geometry.boxes import Boxes3D, VehicleCamera
from mtdense.geometry.quaternions import normalise
from mtdense.tasks.detection_3d import VEHICLES

__all__ = [
    "BOXES",
    "BOX_LABELS",
    "EVALUATED_LABELS",
    "WHERE_BOXES",
    "IgnoreRegion",
    "ImageBoxes",
    "Quad",
    "VehicleBox",
    "boxes_of",
    "read_boxes3d",
    "read_detections",
    "write_boxes3d",
    "write_detections",
]

BOXES = FileKind("gtBbox3d", "_gtBbox3d.json")
"""3-D boxes."""

WHERE_BOXES = "gtBbox3d_trainvaltest.zip is published at www.cityscapes-dataset.com; unpack it beside the others."
"""Where people get the files."""

EVALUATED_LABELS = VEHICLES
"""Labels that are trained and scored; the place in this list is the class id."""

BOX_LABELS = (*EVALUATED_LABELS, "caravan", "trailer")
"""Labels that objects may have."""

_FORMAT = "CRS_ISO8855"
_LARGEST_JSON = 16_000_000
_LARGEST_SIDE = 65_536
_ROUNDED = 1e-3  # how far from length 1 decimals may bring a quaternion
_SMALLEST, _LARGEST = 1e-9, 1e9  # beyond these nothing is metres or pixels
_DIMENSIONS = "length, width and height in metres, each above 0"
_BOX = "x, y, w, h in pixels with w and h of 0 or more"
_INSTANCE = "a whole number from 0 to 65535"
_ROTATION = "a quaternion w, x, y, z of length 1"
_MEND_DETECTIONS = 'Correct the tool that wrote it; objects need "2d", "3d", "label" and "score".'
_MEND_WRITTEN = "Correct the boxes that are to be written."

Quad = tuple[float, float, float, float]
"""x, y, w, h, or a quaternion."""
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class VehicleBox:
    """A labelled or a detected vehicle.

    Args:
        label: One of `BOX_LABELS`.
        center: Middle in V, in metres.
        dimensions: Length, width and height in metres.
        rotation: Quaternion w, x, y, z in V.
        amodal: x, y, w, h in pixels of the whole vehicle, hidden parts included, within the image.
        modal: x, y, w, h in pixels of what is seen.
        score: Confidence in [0, 1]; of labels 1.
        instance_id: Value in `_gtFine_instanceIds.png`: the label id times 1000 plus a number; None of detections.
        occlusion: Hidden share in [0, 1]; None: not told.
        truncation: Share out of the picture in [0, 1]; None: not told.
        kind: Sort of vehicle such as "Mid Size Car"; None: not told.
    """

    label: str
    center: Triple
    dimensions: Triple
    rotation: Quad
    amodal: Quad
    modal: Quad
    score: float = 1.0
    instance_id: int | None = None
    occlusion: float | None = None
    truncation: float | None = None
    kind: str | None = None

    @property
    def class_id(self) -> int | None:
        """Place in `EVALUATED_LABELS`; None for caravans and trailers."""
        return EVALUATED_LABELS.index(self.label) if self.label in EVALUATED_LABELS else None


@dataclass(frozen=True)
class IgnoreRegion:
    """A part of the image in which detections count neither as right nor as wrong.

    Args:
        box: x, y, w, h in pixels.
        label: What is there; it has no influence on the score.
        instance_id: As of `VehicleBox`; below 1000 (the label id): a group that was not told apart.
    """

    box: Quad
    label: str
    instance_id: int


@dataclass(frozen=True, eq=False)
class ImageBoxes:
    """What a file of labels says; an image may have no objects and nothing to ignore.

    Args:
        camera: Intrinsics, place in the vehicle, and size of the image.
        baseline: Distance of the two cameras in metres.
        objects: Vehicles.
        ignore: Regions to ignore.
    """

    camera: VehicleCamera
    baseline: float
    objects: tuple[VehicleBox, ...] = ()
    ignore: tuple[IgnoreRegion, ...] = ()

    @property
    def evaluated(self) -> tuple[VehicleBox, ...]:
        """The objects that are trained and scored."""
        return tuple(vehicle for vehicle in self.objects if vehicle.class_id is not None)


def boxes_of(vehicles: Sequence[VehicleBox]) -> Boxes3D:
    """The vehicles' boxes in V."""
    return Boxes3D(
        np.array([vehicle.center for vehicle in vehicles]),
        np.array([vehicle.dimensions for vehicle in vehicles]),
        np.array([vehicle.rotation for vehicle in vehicles]),
    )


def read_boxes3d(path: Location) -> ImageBoxes:
    """Reads a file of labels.

    Numbers are kept as written; rotations have length 1 within 1e-3.

    Raises:
        DataError: Missing, damaged, too large, or a field is missing or wrong; the error names it.
    """
    return _labels(_Node(_content(path, WHERE_BOXES), "", str(path), WHERE_BOXES))


def read_detections(path: Location) -> tuple[VehicleBox, ...]:
    """Reads a file of detections: {"objects": […]}; further keys are not looked at.

    The modal box may be missing, as in the evaluation: it is the amodal box then. Rotations of any length but 0 are
    brought to length 1.

    Raises:
        DataError: As of `read_boxes3d`.
    """
    node = _Node(_content(path, _MEND_DETECTIONS), "", str(path), _MEND_DETECTIONS)
    return tuple(_vehicle(item, None) for item in node.children("objects"))


def write_boxes3d(path: Path, boxes: ImageBoxes) -> None:
    """Writes a file of labels, which the official tools read as well; parent folders are made.

    Numbers are written to the last digit; the modal and amodal boxes of the data set itself are whole numbers. The
    official tools take every image for 2048x1024, whatever the file says.

    Raises:
        DataError: Something that `read_boxes3d` would refuse, or intrinsics with a skew; nothing is written then.
    """
    matrix, size = boxes.camera.matrix, boxes.camera.size
    fx, fy, u0, v0 = (float(matrix[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
    if not np.array_equal(matrix, camera_matrix(fx, fy, u0, v0)):
        raise DataError(f"{path}: sensor cannot say the intrinsics {matrix.tolist()}", "Use a camera without skew.")
    mount = boxes.camera.camera_from_vehicle.tolist()
    sensor = {"sensor_T_ISO_8855": mount, "fx": fx, "fy": fy, "u0": u0, "v0": v0, "baseline": float(boxes.baseline)}
    objects = [_vehicle_json(vehicle) for vehicle in boxes.objects]
    ignore = [{"2d": _plain(r.box), "label": r.label, "instanceId": int(r.instance_id)} for r in boxes.ignore]
    frame = {"imgWidth": int(size[1]), "imgHeight": int(size[0]), "sensor": sensor}
    content = {**frame, "objects": objects, "ignore": ignore}
    _labels(_Node(content, "", str(path), _MEND_WRITTEN))
    _write_json(path, content)


def write_detections(path: Path, vehicles: Sequence[VehicleBox]) -> None:
    """Writes a file of detections, which the official evaluation reads; parent folders are made.

    Raises:
        DataError: Something that `read_detections` would refuse; nothing is written then.
    """
    content = {"objects": [_vehicle_json(vehicle) for vehicle in vehicles]}
    for item in _Node(content, "", str(path), _MEND_WRITTEN).children("objects"):
        _vehicle(item, None)
    _write_json(path, content)


# ---- writing ---------------------------------------------------------------------------------------------------------
def _plain(values: Sequence[float]) -> list[float | int]:
    """Whole numbers without a point, as the published files have them."""
    return [int(value) if float(value).is_integer() else float(value) for value in values]


def _vehicle_json(vehicle: VehicleBox) -> dict[str, Any]:
    numbers = {"center": vehicle.center, "dimensions": vehicle.dimensions, "rotation": vehicle.rotation}
    space: dict[str, Any] = {key: [float(value) for value in values] for key, values in numbers.items()}
    if vehicle.kind is not None:
        space["type"] = vehicle.kind
    content: dict[str, Any] = {"2d": {"modal": _plain(vehicle.modal), "amodal": _plain(vehicle.amodal)}}
    content["3d"] = {**space, "format": _FORMAT}
    told = {"occlusion": vehicle.occlusion, "truncation": vehicle.truncation, "instanceId": vehicle.instance_id}
    content |= {key: np.asarray(value).item() for key, value in told.items() if value is not None}
    return {**content, "label": vehicle.label, "score": float(vehicle.score)}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


# ---- reading ---------------------------------------------------------------------------------------------------------
def _content(path: Location, mend: str) -> Any:
    try:
        return json.loads(read_bytes(path, _LARGEST_JSON))
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}", mend) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error})", mend) from error


class _Node:
    """A JSON object whose fields are asked for one by one; what is wrong becomes an error with the field's name."""

    def __init__(self, value: Any, place: str, source: str, mend: str) -> None:
        self.place, self.source, self.mend = place, source, mend
        if not isinstance(value, dict):
            raise DataError(f"{source}: {place or 'the file'} is {reprlib.repr(value):.120}, not a JSON object", mend)
        self.fields: dict[str, Any] = value

    def _name(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key

    def error(self, key: str, wanted: str) -> DataError:
        """The error that a field is not what was wanted."""
        found = f"is {reprlib.repr(self.fields[key]):.120}, not" if key in self.fields else "is missing; it should be"
        return DataError(f"{self.source}: {self._name(key)} {found} {wanted}", self.mend)

    def child(self, key: str) -> _Node:
        if key not in self.fields:
            raise self.error(key, "a JSON object")
        return _Node(self.fields[key], self._name(key), self.source, self.mend)

    def children(self, key: str) -> list[_Node]:
        items = self.fields.get(key)
        if not isinstance(items, list):
            raise self.error(key, "a list")
        return [_Node(item, f"{self._name(key)}[{i}]", self.source, self.mend) for i, item in enumerate(items)]

    def number(self, key: str, wanted: str, low: float = -math.inf, high: float = math.inf) -> float:
        value = _finite(self.fields.get(key))
        if value is None or not low <= value <= high:
            raise self.error(key, wanted)
        return value

    def whole(self, key: str, wanted: str, low: int, high: int) -> int:
        value = self.number(key, wanted, low, high)
        if not value.is_integer():
            raise self.error(key, wanted)
        return int(value)

    def numbers(self, key: str, count: int, wanted: str) -> tuple[float, ...]:
        if (values := _numbers(self.fields.get(key), count)) is None:
            raise self.error(key, wanted)
        return values

    def text(self, key: str) -> str:
        if not isinstance(self.fields.get(key), str):
            raise self.error(key, "text")
        return str(self.fields[key])


def _finite(value: Any) -> float | None:
    """A number as float; None of anything else, such as NaN."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if abs(number) <= _LARGEST else None


def _numbers(items: Any, count: int) -> tuple[float, ...] | None:
    """A list of so many finite numbers; None of anything else."""
    if not isinstance(items, list) or len(items) != count:
        return None
    values = tuple(value for value in map(_finite, items) if value is not None)
    return values if len(values) == count else None


def _labels(node: _Node) -> ImageBoxes:
    width = node.whole("imgWidth", "a number of pixels", 1, _LARGEST_SIDE)
    height = node.whole("imgHeight", "a number of pixels", 1, _LARGEST_SIDE)
    sensor = node.child("sensor")
    fx, fy, baseline = (sensor.number(key, "a length above 0", _SMALLEST) for key in ("fx", "fy", "baseline"))
    u0, v0 = (sensor.number(key, "a coordinate in pixels") for key in ("u0", "v0"))
    rows = sensor.fields.get("sensor_T_ISO_8855")
    mount = [_numbers(row, 4) for row in rows] if isinstance(rows, list) else []
    try:
        given = np.array([row or () for row in mount])
        camera = VehicleCamera(camera_matrix(fx, fy, u0, v0), given, (height, width))
    except ValueError as error:
        raise sensor.error("sensor_T_ISO_8855", "a rotation and a translation in three rows of four numbers") from error
    objects = tuple(_vehicle(item, (height, width)) for item in node.children("objects"))
    ignore = tuple(_region(item, (height, width)) for item in node.children("ignore"))
    return ImageBoxes(camera, baseline, objects, ignore)


def _vehicle(node: _Node, size: tuple[int, int] | None) -> VehicleBox:
    """One of the objects: a label where the image's size is given, else a detection."""
    label = node.text("label")
    if label not in BOX_LABELS:
        raise node.error("label", f"a vehicle. {did_you_mean(label, BOX_LABELS)}Known are {', '.join(BOX_LABELS)}")
    space, plane = node.child("3d"), node.child("2d")
    if space.fields.get("format", _FORMAT) != _FORMAT:
        raise space.error("format", f"{_FORMAT!r}")
    dimensions = space.numbers("dimensions", 3, _DIMENSIONS)
    if min(dimensions) <= 0:
        raise space.error("dimensions", _DIMENSIONS)
    rotation = space.numbers("rotation", 4, _ROTATION)
    norm = math.hypot(*rotation)
    if norm == 0 or (size is not None and abs(norm - 1) > _ROUNDED):
        raise space.error("rotation", _ROTATION)
    if size is None:
        rotation = tuple(normalise(rotation).tolist())
    # Older files name the two boxes as CityPersons does.
    whole, seen = ("bbox", "bboxVis") if "bbox" in plane.fields and "bboxVis" in plane.fields else ("amodal", "modal")
    amodal = _box2d(plane, whole, size)
    modal = amodal if size is None and seen not in plane.fields else _box2d(plane, seen, size)
    numbered = size is not None or "instanceId" in node.fields
    return VehicleBox(
        label=label,
        center=cast(Triple, space.numbers("center", 3, "x, y, z in metres")),
        dimensions=cast(Triple, dimensions),
        rotation=cast(Quad, rotation),
        amodal=amodal,
        modal=modal,
        score=node.number("score", "a confidence in [0, 1] (1 for labels; the official reader asks for it)", 0.0, 1.0),
        instance_id=node.whole("instanceId", _INSTANCE, 0, 65535) if numbered else None,
        occlusion=_share(node, "occlusion"),
        truncation=_share(node, "truncation"),
        kind=space.text("type") if "type" in space.fields else None,
    )


def _region(node: _Node, size: tuple[int, int]) -> IgnoreRegion:
    return IgnoreRegion(_box2d(node, "2d", size), node.text("label"), node.whole("instanceId", _INSTANCE, 0, 65535))


def _share(node: _Node, key: str) -> float | None:
    return node.number(key, "a share in [0, 1]", 0.0, 1.0) if key in node.fields else None


def _box2d(node: _Node, key: str, size: tuple[int, int] | None) -> Quad:
    x, y, w, h = node.numbers(key, 4, _BOX)
    if w < 0 or h < 0:
        raise node.error(key, _BOX)
    if size is not None and not (x <= size[1] and y <= size[0] and x + w >= 0 and y + h >= 0):
        raise node.error(key, f"a box in the image of {size[0]}x{size[1]}")
    return x, y, w, h
