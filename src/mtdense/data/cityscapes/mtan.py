"""Cityscapes as MTAN pre-processed it: numbered .npy arrays, 7 categories or 19 classes, 128x256.

```
<root>/{train,val}/{image,label_7,label_19,depth}/<i>.npy      i = 0 .. n - 1 without a gap; 2,975 and 500 images
```

| folder | shape | values |
|---|---|---|
| image | (H, W, 3) floating point | [0, 1], RGB |
| label_7, or label | (H, W) floating point | category 0 to 6, -1 void |
| label_19 | (H, W) floating point | class 0 to 18, -1 void |
| depth | (H, W, 1) floating point | normalised disparity: stored 16-bit disparity / 65535, 0 where there is none |

* Liu, Johns and Davison. End-to-End Multi-Task Learning with Attention. CVPR 2019 (the files).
* Li, Liu and Bilen. Learning Multiple Dense Prediction Tasks from Partially Annotated Data. CVPR 2022 (label masks).

LibMTL calls the folder of the categories `label`. What MTAN calls val is the official validation set, on which the
literature tests. Nobody published which number is which official image: masks and scores are by number. Disparity
grows under a zoom; public code divides it by the zoom as if it were depth (`legacy_zoom` of the depth task).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mtdense.core.errors import ConfigError
from mtdense.data.cityscapes.facts import semseg_spec
from mtdense.data.label_coding import LabelCoding
from mtdense.data.location import Location
from mtdense.data.numbered import NumberedDataset
from mtdense.data.published import PublishedData

__all__ = [
    "CITYSCAPES_MTAN_NAME",
    "CLASS_FOLDERS",
    "DEPTH_FOLDER",
    "IMAGE_FOLDER",
    "MTAN_TASKS",
    "PUBLISHED",
    "SPLIT_FOLDERS",
    "CityscapesMtanDataset",
    "check_classes",
    "cityscapes_mtan_specs",
]

CITYSCAPES_MTAN_NAME = "cityscapes_mtan"
"""Id of the data set."""

SPLIT_FOLDERS = {"train": "train", "test": "val"}
"""{split: its folder}."""

IMAGE_FOLDER = "image"
"""Folder of the images in that of a split."""

CLASS_FOLDERS = {7: ("label_7", "label"), 19: ("label_19",)}
"""{number of classes: folders that may hold them}, the first that is there is read."""

DEPTH_FOLDER = "depth"
"""Folder of the disparity in that of a split."""

MTAN_TASKS = ("semseg", "depth")
"""Tasks, in the order of published label masks."""

_VOID = -1
_PUBLISHED = "MTAN (github.com/lorenmt/mtan) links the pre-processed CityScapes files, 128x256, in its README."

PUBLISHED = PublishedData(
    name=CITYSCAPES_MTAN_NAME,
    counts={"train": 2975, "test": 500},
    labels={"train": dict.fromkeys(MTAN_TASKS, 2975), "test": dict.fromkeys(MTAN_TASKS, 500)},
    where=_PUBLISHED,
)
"""What MTAN published."""


def check_classes(num_classes: int) -> int:
    """A number of classes that there are files of.

    Raises:
        ConfigError: Neither 7 nor 19.
    """
    if num_classes not in CLASS_FOLDERS:
        raise ConfigError(f"num_classes is {num_classes!r}", f"Use {' or '.join(map(str, CLASS_FOLDERS))}.")
    return num_classes


def cityscapes_mtan_specs(num_classes: int = 7) -> dict[str, dict[str, Any]]:
    """Specifications for `build_tasks`: 7 categories or 19 classes, and normalised disparity."""
    return {"semseg": semseg_spec(check_classes(num_classes)), "depth": {"unit": "normalised_disparity"}}


class CityscapesMtanDataset(NumberedDataset):
    """The images of a split; an id is the folder's name and the file's number, such as "val-17".

    Args:
        root: Folder, or pack of source files, with `train/` and `val/`.
        split: "train", or "test" (the folder `val`).
        tasks: Tasks of which all images must have labels; None: all. Labels of others are offered where they exist.
        num_classes: 7 or 19.

    Raises:
        ConfigError: Unknown split or task, or another number of classes.
        DataError: A folder is missing, or its files are not numbered without a gap.
    """

    splits: ClassVar[dict[str, str]] = SPLIT_FOLDERS
    image_folder: ClassVar[str] = IMAGE_FOLDER
    where: ClassVar[str] = _PUBLISHED

    def __init__(self, root: Location, split: str, *, tasks: Sequence[str] | None = None, num_classes: int = 7) -> None:
        self._semseg_folders = CLASS_FOLDERS[check_classes(num_classes)]
        super().__init__(
            root,
            split,
            specs=cityscapes_mtan_specs(num_classes),
            coding=LabelCoding(ignore_values={"semseg": (_VOID,)}),
            version=f"{CITYSCAPES_MTAN_NAME}-{num_classes}",
            tasks=tasks,
        )

    def label_folders(self, place: Location) -> dict[str, str]:
        """Disparity, and the classes' folder that is there; the usual name where there is none."""
        names = self._semseg_folders
        return {"semseg": next((name for name in names if (place / name).is_dir()), names[0]), "depth": DEPTH_FOLDER}
