"""Numbers and names that Cityscapes was published with: labels, classes, categories, and where to get the files.

* Cordts et al. The Cityscapes Dataset for Semantic Urban Scene Understanding. CVPR 2016.

Label ids are those of gtFine files; class ids are what is trained and scored ("train ids"); 255 is void.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mtdense.tasks.class_map import IGNORE

__all__ = [
    "CATEGORIES",
    "CATEGORY_COLOURS",
    "CLASSES",
    "LABELS",
    "LABEL_IDS",
    "RAIL_TRACK",
    "SIZE",
    "SKY",
    "StreetLabel",
    "category_of_class",
    "class_of_label",
    "semseg_spec",
]


@dataclass(frozen=True)
class StreetLabel:
    """One of the labels of gtFine.

    Args:
        id: Value in `_gtFine_labelIds.png`.
        name: Its name.
        class_id: Class id that is trained, 255 where the label is not scored.
        category: Category id: 0 void, 1 flat, 2 construction, 3 object, 4 nature, 5 sky, 6 human, 7 vehicle.
        instances: Whether instances are told apart.
        colour: Red, green and blue in `_gtFine_color.png`.
    """

    id: int
    name: str
    class_id: int
    category: int
    instances: bool
    colour: tuple[int, int, int]


_VOID = IGNORE

LABELS: tuple[StreetLabel, ...] = (
    StreetLabel(0, "unlabeled", _VOID, 0, False, (0, 0, 0)),
    StreetLabel(1, "ego vehicle", _VOID, 0, False, (0, 0, 0)),
    StreetLabel(2, "rectification border", _VOID, 0, False, (0, 0, 0)),
    StreetLabel(3, "out of roi", _VOID, 0, False, (0, 0, 0)),
    StreetLabel(4, "static", _VOID, 0, False, (0, 0, 0)),
    StreetLabel(5, "dynamic", _VOID, 0, False, (111, 74, 0)),
    StreetLabel(6, "ground", _VOID, 0, False, (81, 0, 81)),
    StreetLabel(7, "road", 0, 1, False, (128, 64, 128)),
    StreetLabel(8, "sidewalk", 1, 1, False, (244, 35, 232)),
    StreetLabel(9, "parking", _VOID, 1, False, (250, 170, 160)),
    StreetLabel(10, "rail track", _VOID, 1, False, (230, 150, 140)),
    StreetLabel(11, "building", 2, 2, False, (70, 70, 70)),
    StreetLabel(12, "wall", 3, 2, False, (102, 102, 156)),
    StreetLabel(13, "fence", 4, 2, False, (190, 153, 153)),
    StreetLabel(14, "guard rail", _VOID, 2, False, (180, 165, 180)),
    StreetLabel(15, "bridge", _VOID, 2, False, (150, 100, 100)),
    StreetLabel(16, "tunnel", _VOID, 2, False, (150, 120, 90)),
    StreetLabel(17, "pole", 5, 3, False, (153, 153, 153)),
    StreetLabel(18, "polegroup", _VOID, 3, False, (153, 153, 153)),
    StreetLabel(19, "traffic light", 6, 3, False, (250, 170, 30)),
    StreetLabel(20, "traffic sign", 7, 3, False, (220, 220, 0)),
    StreetLabel(21, "vegetation", 8, 4, False, (107, 142, 35)),
    StreetLabel(22, "terrain", 9, 4, False, (152, 251, 152)),
    StreetLabel(23, "sky", 10, 5, False, (70, 130, 180)),
    StreetLabel(24, "person", 11, 6, True, (220, 20, 60)),
    StreetLabel(25, "rider", 12, 6, True, (255, 0, 0)),
    StreetLabel(26, "car", 13, 7, True, (0, 0, 142)),
    StreetLabel(27, "truck", 14, 7, True, (0, 0, 70)),
    StreetLabel(28, "bus", 15, 7, True, (0, 60, 100)),
    StreetLabel(29, "caravan", _VOID, 7, True, (0, 0, 90)),
    StreetLabel(30, "trailer", _VOID, 7, True, (0, 0, 110)),
    StreetLabel(31, "train", 16, 7, True, (0, 80, 100)),
    StreetLabel(32, "motorcycle", 17, 7, True, (0, 0, 230)),
    StreetLabel(33, "bicycle", 18, 7, True, (119, 11, 32)),
)
"""All labels by id."""

_SCORED = sorted((label for label in LABELS if label.class_id != _VOID), key=lambda label: label.class_id)

CLASSES: tuple[str, ...] = tuple(label.name for label in _SCORED)
"""Names of the 19 classes by class id."""

LABEL_IDS: tuple[int, ...] = tuple(label.id for label in _SCORED)
"""Label id of each of the 19 classes."""

CATEGORIES = ("flat", "construction", "object", "nature", "sky", "human", "vehicle")
"""Names of the 7 categories that MTAN trains; a category's id there is one less than the official one."""

CATEGORY_COLOURS = tuple(LABELS[label].colour for label in (7, 11, 17, 21, 23, 24, 26))
"""A colour for each of them: that of its most frequent class."""

SKY = 23
"""Label id of the sky."""

RAIL_TRACK = 10
"""Label id of rail tracks, which public loaders take for the sky."""

SIZE = (1024, 2048)
"""Height and width of the images."""


def class_of_label() -> npt.NDArray[np.int64]:
    """(256,) class id of each stored label id; 255 for void, -1 for ids that gtFine does not have."""
    table = np.full(256, -1, dtype=np.int64)
    table[255] = IGNORE  # the licence plate's -1 in eight bits
    for label in LABELS:
        table[label.id] = label.class_id
    return table


def category_of_class() -> npt.NDArray[np.int64]:
    """(19,) category of each class, 0 to 6."""
    return np.array([label.category - 1 for label in _SCORED], dtype=np.int64)


def semseg_spec(num_classes: int = 19) -> dict[str, Any]:
    """Specification of the classes (19) or of the categories (7), in the official colours."""
    names = CLASSES if num_classes == len(CLASSES) else CATEGORIES
    colours = [label.colour for label in _SCORED] if num_classes == len(CLASSES) else CATEGORY_COLOURS
    return {"num_classes": len(names), "class_names": list(names), "palette": [list(colour) for colour in colours]}
