"""Numbers and names that NYU Depth V2 was published with: classes, split, camera and valid region.

`classes.json` has the names of the 40 and of the 13 classes, the class (1 to 40) of each of the 894 labels, from
`classMapping40.mat` (Gupta et al., CVPR 2013), and the class (1 to 13) of each of the 40, from `class13Mapping.mat`
(Couprie et al., ICLR 2013, as in the label archives `nyuv2_*_class13.tgz`). `split.json` has the frames of the official
split from `splits.mat` (Silberman et al., ECCV 2012), which begin at 1. Both are as published; here class ids begin at
0, and 255 is void. Spelling of names is as published, too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError
from mtdense.tasks.class_map import IGNORE

__all__ = [
    "CAMERA",
    "CLASSES_13",
    "CLASSES_40",
    "FRAMES",
    "LABELS",
    "SIZE",
    "TEST_FRAMES",
    "TRAIN_FRAMES",
    "VALID_COLUMNS",
    "VALID_ROWS",
    "class_names",
    "class_of_label",
    "to_13_classes",
]


def _read(name: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return facts


_CLASSES = _read("classes.json")
_SPLIT = _read("split.json")

FRAMES = 1449
"""Number of labelled frames."""

SIZE = (480, 640)
"""Height and width of a frame."""

LABELS = 894
"""Number of labels; label 0 is void."""

CLASSES_40: tuple[str, ...] = tuple(_CLASSES["names_40"])
"""Names of the 40 classes by class id."""

CLASSES_13: tuple[str, ...] = tuple(_CLASSES["names_13"])
"""Names of the 13 classes by class id."""

TRAIN_FRAMES: tuple[int, ...] = tuple(_SPLIT["train"])
"""The 795 training frames, from 1, ascending."""

TEST_FRAMES: tuple[int, ...] = tuple(_SPLIT["test"])
"""The 654 test frames, from 1, ascending."""

CAMERA = (518.8579, 519.4696, 325.5824, 253.7362)
"""fx, fy, cx, cy of the colour camera in pixels of a whole frame.

The authors' toolbox counts pixels from 1 where it uses these numbers, most others count from 0, as we do. That moves a
point by 0.2 % of its depth and hardly turns a normal.
"""

VALID_ROWS = (44, 471)
"""First row, and row after the last, of the region in which depth is known; Eigen and Fergus, ICCV 2015."""

VALID_COLUMNS = (40, 601)
"""First column, and column after the last, of that region."""


def class_names(classes: int) -> tuple[str, ...]:
    """Names of the 13 or of the 40 classes.

    Raises:
        ConfigError: There is no such set of classes.
    """
    sets = {13: CLASSES_13, 40: CLASSES_40}
    if classes not in sets:
        raise ConfigError(f"`classes` is {classes!r}", "NYUD-v2 has 13 or 40.")
    return sets[classes]


def to_13_classes(label: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Class ids among 40 (0 to 39, 255 void) to ids among 13 (0 to 12, 255 void); shapes are kept."""
    table = np.full(IGNORE + 1, IGNORE, dtype=np.int64)
    table[: len(CLASSES_40)] = np.asarray(_CLASSES["class_40_to_class_13"]) - 1
    return np.asarray(table[label])


def class_of_label(classes: int) -> npt.NDArray[np.int64]:
    """(895,) class id of each label of the official file, label 0 (void) included: 255.

    Args:
        classes: 13 or 40.

    Raises:
        ConfigError: There is no such set of classes.
    """
    class_names(classes)
    table = np.full(LABELS + 1, IGNORE, dtype=np.int64)
    table[1:] = np.asarray(_CLASSES["label_to_class_40"]) - 1
    return table if classes == 40 else to_13_classes(table)
