"""Names and numbers of PASCAL-Context as the multi-task line of papers uses it.

Class ids of the label maps are those of the 459-class list of PASCAL-Context (Mottaghi et al., CVPR 2014), names of
parts those of PASCAL-Part (Chen et al., CVPR 2014). How both serve five tasks was laid down by ASTMT (Maninis,
Radosavovic and Kokkinos. Attentive Single-Tasking of Multiple Tasks. CVPR 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtdense.core.errors import ConfigError
from mtdense.data.published import PublishedData
from mtdense.tasks.human_parts import PASCAL_PARTS

__all__ = [
    "CONTEXT_CLASSES",
    "CONTEXT_OF_VOC",
    "NORMALS_AXES",
    "NORMALS_CLASSES",
    "PASCAL_NAME",
    "PASCAL_TASKS",
    "PERSON",
    "PUBLISHED",
    "TEST_NEW_IMAGES",
    "TEST_NEW_SHA256",
    "TEST_NEW_WHERE",
    "VOC_CLASSES",
    "part_names",
    "part_table",
    "pascal_specs",
]

PASCAL_NAME = "pascal_context"
"""Id of the data set."""

PASCAL_TASKS = ("semseg", "human_parts", "saliency", "normals", "edges")
"""All tasks, in the order of the columns of published label masks."""

PUBLISHED = PublishedData(
    name=PASCAL_NAME,
    counts={"train": 4998, "test": 5105},
    labels={"train": dict.fromkeys(PASCAL_TASKS, 4998), "test": dict.fromkeys(PASCAL_TASKS, 5105)},
    where=(
        "It is published as PASCAL_MT.tgz by ASTMT and ATRC "
        "(https://data.vision.ee.ethz.ch/kmaninis/share/MTL/PASCAL_MT.tgz) and as PASCALContext.tar.gz by InvPT."
    ),
)
"""What the archives hold."""

VOC_CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""Names of the 21 classes by class id."""

PERSON = 15
"""The person's id among `VOC_CLASSES`."""

CONTEXT_CLASSES = 459
"""Largest class id in a label map; ids begin at 1."""

CONTEXT_OF_VOC = (0, 2, 23, 25, 31, 34, 45, 59, 65, 72, 98, 397, 113, 207, 258, 284, 308, 347, 368, 416, 427)
"""Id in the label maps of each of `VOC_CLASSES` but the background."""

# fmt: off
NORMALS_CLASSES = frozenset({
    3, 4, 6, 9, 10, 11, 13, 15, 17, 18, 22, 23, 29, 30, 33, 34, 36, 37, 38, 39, 41, 43, 46, 49, 50, 51, 53, 55, 56, 59,
    61, 62, 65, 66, 68, 69, 72, 73, 78, 83, 84, 85, 87, 88, 95, 96, 101, 104, 105, 107, 111, 113, 115, 122, 124, 135,
    141, 142, 143, 146, 150, 154, 157, 158, 159, 165, 172, 174, 181, 183, 184, 191, 193, 195, 197, 199, 202, 213, 215,
    216, 219, 220, 223, 225, 228, 230, 232, 233, 238, 239, 242, 243, 246, 250, 251, 252, 255, 260, 261, 263, 269, 272,
    273, 275, 281, 283, 284, 285, 286, 287, 288, 290, 291, 292, 293, 295, 304, 307, 309, 310, 314, 315, 319, 323, 329,
    330, 331, 336, 342, 345, 349, 350, 351, 352, 355, 357, 368, 370, 371, 374, 379, 380, 383, 384, 397, 401, 403, 405,
    407, 408, 411, 412, 413, 414, 417, 419, 421, 423, 427, 429, 430, 432, 440, 441, 442, 443, 444, 446, 454, 457,
})
"""Ids in the label maps where normals count: what the network that they were distilled from knows from NYUD-v2.

The classes whose names are also among its 894 (169, without "unknown"), and tvmonitor.
"""
# fmt: on

NORMALS_AXES = "-x-y-z"
"""Camera axes of the stored channels: left, up and towards the camera.

No published text says so. ATRC's public code has 40 cluster centres of these normals: their third component lies
between 0.22 and 1, so it points towards the camera, and the second is above 0.5 in nine of them and below -0.5 in two,
as where floors and table tops are seen more often than what faces down. In a picture that ASTMT published of its
predictions, the left thirds of three heads have a mean first component of 0.26 to 0.34, the right thirds of 0.02 to
0.08.
"""

TEST_NEW_IMAGES = 2498
"""Number of images in SEISM's list `test_new`."""

TEST_NEW_SHA256 = "36b2fca3b8f3562bbcbcc7b3a6e305fa57bfbb97266dee347fd831eb4faf5317"
"""SHA-256 of its sorted ids, joined by line feeds."""

TEST_NEW_WHERE = (
    "SEISM publishes it as test_new.txt among its gt_sets of PASCALContext, also in "
    "https://github.com/prismformore/Boundary-Detection-Evaluation-Tools "
    "(seism/src/gt_wrappers/gt_sets/PASCALContext/test_new.txt)."
)
"""Where people get the list."""

_HEAD = ("hair", "head", "lear", "lebrow", "leye", "mouth", "nose", "rear", "rebrow", "reye")
_TORSO = ("neck", "torso")
_UPPER_ARMS, _LOWER_ARMS = ("luarm", "ruarm"), ("llarm", "lhand", "rlarm", "rhand")
_UPPER_LEGS, _LOWER_LEGS = ("luleg", "ruleg"), ("llleg", "lfoot", "rlleg", "rfoot")

_ONE_BY_ONE = {
    "right upper arm": "ruarm",
    "right lower arm": "rlarm",
    "right hand": "rhand",
    "left upper arm": "luarm",
    "left lower arm": "llarm",
    "left hand": "lhand",
    "right upper leg": "ruleg",
    "right lower leg": "rlleg",
    "right foot": "rfoot",
    "left upper leg": "luleg",
    "left lower leg": "llleg",
    "left foot": "lfoot",
}

_MERGED: Mapping[int, Mapping[str, Sequence[str]]] = {
    1: {"person": (*_HEAD, *_TORSO, *_UPPER_ARMS, *_LOWER_ARMS, *_UPPER_LEGS, *_LOWER_LEGS)},
    4: {
        "head": _HEAD,
        "torso": _TORSO,
        "arms": (*_UPPER_ARMS, *_LOWER_ARMS),
        "legs": (*_UPPER_LEGS, *_LOWER_LEGS),
    },
    6: dict(zip(PASCAL_PARTS[1:], (_HEAD, _TORSO, _UPPER_ARMS, _LOWER_ARMS, _UPPER_LEGS, _LOWER_LEGS), strict=True)),
    14: {"head": _HEAD, "torso": _TORSO, **{name: (part,) for name, part in _ONE_BY_ONE.items()}},
}


def _merged(number: int) -> Mapping[str, Sequence[str]]:
    if number not in _MERGED:
        raise ConfigError(f"num_human_parts is {number}", f"Choose {', '.join(map(str, _MERGED))}.")
    return _MERGED[number]


def part_names(number: int) -> tuple[str, ...]:
    """Names of the classes when PASCAL-Part's 24 parts of a person are merged to 1, 4, 6 or 14, background first.

    Raises:
        ConfigError: Another number.
    """
    return ("background", *_merged(number))


def part_table(number: int) -> dict[str, int]:
    """{PASCAL-Part's name of a part: its class}, for the same numbers."""
    return {part: index for index, parts in enumerate(_merged(number).values(), start=1) for part in parts}


def pascal_specs(num_human_parts: int = 6) -> dict[str, dict[str, Any]]:
    """Specifications for `build_tasks`: 21 classes, human parts, saliency, normals, edges."""
    names = part_names(num_human_parts)
    return {
        "semseg": {"num_classes": len(VOC_CLASSES), "class_names": list(VOC_CLASSES)},
        "human_parts": {"num_classes": len(names), "class_names": list(names)},
        "saliency": {},
        "normals": {},
        "edges": {},
    }
