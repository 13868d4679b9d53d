"""NYUD-v2 as MTAN pre-processed it: numbered .npy arrays, 13 classes, 288x384.

```
<root>/{train,val}/{image,label,depth,normal}/<i>.npy      i = 0 .. n - 1 without a gap; 795 and 654 images
```

| folder | shape | values |
|---|---|---|
| image | (H, W, 3) float64 | [0, 1], RGB |
| label | (H, W) float32 | class 0 to 12, -1 void |
| depth | (H, W, 1) float32 | metres, 0 where there is none |
| normal | (H, W, 3) float64 | unit vectors, (0, 0, 0) where there is none |

* Liu, Johns and Davison. End-to-End Multi-Task Learning with Attention. CVPR 2019 (the files).
* Li, Liu and Bilen. Learning Multiple Dense Prediction Tasks from Partially Annotated Data. CVPR 2022 (label masks).

Data types are those of 16 genuine files of each kind (train 0 to 7, val 0 to 7). What MTAN calls val is the official
test set; there are no published validation images.

**Axes of the normals.** Known: MTAN took them from the archive of Eigen and Fergus (ICCV 2015) without change, and
public loaders mirror them by negating the first channel. Measured on the 16 genuine files: against normals from a plane
fit to the depth, "+x+z-y" differs by 10 degrees (mean over images of the median) and is the best of the 48 choices of
axes on every image; the next, "+x+z+y", differs by 22. So channels are right, forward and up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mtdense.data.label_coding import LabelCoding
from mtdense.data.location import Location
from mtdense.data.numbered import NumberedDataset
from mtdense.data.nyud.facts import class_names
from mtdense.data.published import PublishedData

__all__ = [
    "IMAGE_FOLDER",
    "LABEL_FOLDERS",
    "MTAN_NAME",
    "MTAN_NORMALS_AXES",
    "MTAN_SPLITS",
    "PUBLISHED",
    "NYUDMtanDataset",
    "mtan_specs",
]

MTAN_NAME = "nyud_mtan"
"""Id of the data set."""

MTAN_SPLITS = {"train": "train", "test": "val"}
"""{split: its folder}."""

IMAGE_FOLDER = "image"
"""Folder of the images in that of a split."""

LABEL_FOLDERS = {"semseg": "label", "depth": "depth", "normals": "normal"}
"""{task: its folder} in that of a split; the order is that of published label masks."""

MTAN_NORMALS_AXES = "+x+z-y"
"""Camera axes of the stored channels, see above."""

_VOID = -1
_PUBLISHED = "MTAN (github.com/lorenmt/mtan) links the pre-processed NYUv2 files in its README."

PUBLISHED = PublishedData(
    name=MTAN_NAME,
    counts={"train": 795, "test": 654},
    labels={"train": dict.fromkeys(LABEL_FOLDERS, 795), "test": dict.fromkeys(LABEL_FOLDERS, 654)},
    where=_PUBLISHED,
)
"""What MTAN published."""


def mtan_specs() -> dict[str, dict[str, Any]]:
    """Specifications for `build_tasks`: 13 classes, depth in metres, normals."""
    names = class_names(13)
    return {
        "semseg": {"num_classes": len(names), "class_names": list(names)},
        "depth": {"unit": "metres"},
        "normals": {},
    }


class NYUDMtanDataset(NumberedDataset):
    """The images of a split; an id is the folder's name and the file's number, such as "val-17".

    Args:
        root: Folder, or pack of source files, with `train/` and `val/`.
        split: "train", or "test" (the folder `val`).
        tasks: Tasks of which all images must have labels; None: all. Labels of others are offered where they exist.
        normals_axes: Camera axis (x right, y down, z forward) of each stored channel of normals.

    Raises:
        ConfigError: Unknown split or task, or axes that are none.
        DataError: A folder is missing, or its files are not numbered without a gap.
    """

    splits: ClassVar[dict[str, str]] = MTAN_SPLITS
    image_folder: ClassVar[str] = IMAGE_FOLDER
    where: ClassVar[str] = _PUBLISHED

    def __init__(
        self,
        root: Location,
        split: str,
        *,
        tasks: Sequence[str] | None = None,
        normals_axes: str = MTAN_NORMALS_AXES,
    ) -> None:
        coding = LabelCoding(ignore_values={"semseg": (_VOID,)}, normals_axes=normals_axes)
        super().__init__(root, split, specs=mtan_specs(), coding=coding, version=MTAN_NAME, tasks=tasks)

    def label_folders(self, place: Location) -> dict[str, str]:
        """Those of every split."""
        return dict(LABEL_FOLDERS)
