"""How procedural rooms stand in for streets: what their classes are called, how long their metre is, their camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mtdense.data.cityscapes.facts import LABELS
from mtdense.data.procedural import NYUD13_CLASSES, Scene

__all__ = ["BASELINE", "PERSON", "STREET_LABELS", "STREET_SCALE", "Street", "as_street", "number_instances"]

_NAMES = {
    "bed": "bus",
    "books": "traffic sign",
    "ceiling": "terrain",
    "chair": "bicycle",
    "floor": "road",
    "furniture": "vegetation",
    "objects": "pole",
    "picture": "traffic light",
    "sofa": "car",
    "table": "fence",
    "tv": "wall",
    "wall": "building",
    "window": "sky",
}
_IDS = {label.name: label.id for label in LABELS}

STREET_LABELS: npt.NDArray[np.int64] = np.array([_IDS[_NAMES[name]] for name in NYUD13_CLASSES])
"""(13,) label id of gtFine that stands for each class of a room; all differ."""

PERSON = _IDS["person"]
"""Label id of people, whom rooms count among their objects."""

STREET_SCALE = 8.0
"""A street is so many times as long, wide and high as the room: rooms of 1 to 6 metres become 8 to 50."""

BASELINE = 0.209313
"""Metres between the two cameras, as in the published files."""

_INSTANCES = np.array([label.instances for label in LABELS])


@dataclass(frozen=True)
class Street:
    """A room, told as a street.

    Args:
        label_ids: (H, W) uint8 label ids of gtFine.
        instance_ids: (H, W) uint16: the label id, or 1000 times that plus a number where instances are told apart.
        disparity: (H, W) float64 pixels.
    """

    label_ids: npt.NDArray[np.uint8]
    instance_ids: npt.NDArray[np.uint16]
    disparity: npt.NDArray[np.float64]


def as_street(scene: Scene) -> Street:
    """Labels of a scene in the terms of Cityscapes."""
    labels = STREET_LABELS[scene.semseg]
    labels[np.isin(scene.instances, scene.people)] = PERSON
    disparity = BASELINE * scene.camera[0, 0] / (STREET_SCALE * scene.depth.astype(np.float64))
    return Street(labels.astype(np.uint8), number_instances(labels, scene.instances), disparity)


def number_instances(labels: npt.NDArray[np.integer], instances: npt.NDArray[np.int32]) -> npt.NDArray[np.uint16]:
    """Values of `_gtFine_instanceIds.png` (H, W) from label ids and instances, each (H, W)."""
    numbered = labels.astype(np.int64)
    for label in np.unique(labels[_INSTANCES[labels]]):
        found, order = np.unique(instances[labels == label], return_inverse=True)
        numbered[labels == label] = 1000 * int(label) + np.arange(len(found))[order]
    return numbered.astype(np.uint16)
