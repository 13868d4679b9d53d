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

from collections.abc import Collection, Sequence
from typing import Any

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.dataset import DenseDataset
from mtdense.data.io import read_array, read_image
from mtdense.data.label_coding import LabelCoding
from mtdense.data.location import Location
from mtdense.data.nyud.facts import class_names
from mtdense.data.published import PublishedData, check_folders, check_label_size, few, files_version
from mtdense.data.sample import RawImage
from mtdense.tasks import build_tasks
from mtdense.tasks.base import ArrayAny

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


class NYUDMtanDataset(DenseDataset):
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

    def __init__(
        self,
        root: Location,
        split: str,
        *,
        tasks: Sequence[str] | None = None,
        normals_axes: str = MTAN_NORMALS_AXES,
    ) -> None:
        if split not in MTAN_SPLITS:
            raise ConfigError(f"unknown split {split!r}", f"Use {' or '.join(MTAN_SPLITS)}.")
        needed = list(LABEL_FOLDERS if tasks is None else tasks)
        for task in needed:
            if task not in LABEL_FOLDERS:
                raise ConfigError(f"unknown task {task!r}", f"Use {', '.join(LABEL_FOLDERS)}.")
        self.root = root
        self.split = split
        self._coding = LabelCoding(ignore_values={"semseg": (_VOID,)}, normals_axes=normals_axes)
        self._tasks = build_tasks(mtan_specs())
        name = MTAN_SPLITS[split]
        check_folders(
            root, [f"{name}/{kind}" for kind in (IMAGE_FOLDER, *(LABEL_FOLDERS[t] for t in needed))], _PUBLISHED
        )
        self._images = root / name / IMAGE_FOLDER
        folders = {task: root / name / folder for task, folder in LABEL_FOLDERS.items()}
        self._folders = {task: path for task, path in folders.items() if path.is_dir()}
        number = _count(self._images)
        for task, path in list(self._folders.items()):
            try:
                self._check_number(number, path)
            except DataError:
                if task in needed:
                    raise
                del self._folders[task]
        self.ids = [f"{name}-{i}" for i in range(number)]
        self.version = files_version(MTAN_NAME, _all_files(root), root)

    def _check_number(self, number: int, path: Location) -> None:
        found = _count(path)
        if found != number:
            lacking = [f"{i}.npy" for i in range(min(number, found), max(number, found))]
            raise DataError(
                f"{self._images} holds {number} files, but {path} {found}: there is no {few(lacking)}",
                "Copy the missing files; an image and its labels share a number.",
            )

    def task_specs(self) -> dict[str, dict[str, Any]]:
        """Specifications of the tasks that there are labels of."""
        return {task: spec for task, spec in mtan_specs().items() if task in self._folders}

    def available(self, index: int) -> frozenset[str]:
        """The same for all images."""
        return frozenset(self._folders)

    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        """Reads one image and the labels asked for.

        Raises:
            DataError: A file is missing or damaged, a label is out of range or of another size than its image.
        """
        name = f"{self.ids[index].rpartition('-')[2]}.npy"
        image_path = self._images / name
        image = read_image(image_path)
        labels: dict[str, ArrayAny] = {}
        for task in tasks:
            if task not in self._folders:
                raise DataError(f"{self.root} has no {task} labels", "Take the task out of `tasks`.")
            path = self._folders[task] / name
            labels[task] = self._coding.decode(self._tasks[task], read_array(path), str(path))
            check_label_size(image, image_path, labels[task], path)
        return RawImage(self.ids[index], image, labels)


def _files(folder: Location) -> list[Location]:
    return [path for path in folder.iterdir() if path.suffix == ".npy" and not path.name.startswith(".")]


def _count(folder: Location) -> int:
    """Number of files, which must be 0.npy, 1.npy and so on."""
    numbers = set()
    for path in _files(folder):
        if not (path.stem.isascii() and path.stem.isdecimal() and str(int(path.stem)) == path.stem):
            raise DataError(f"{path} has no number for a name", "Take it out; files are called 0.npy, 1.npy and so on.")
        numbers.add(int(path.stem))
    if not numbers:
        raise DataError(f"{folder} holds no .npy file", f"Unpack the whole data set there. {_PUBLISHED}")
    # A stray large number must not make this list long.
    lacking = [i for i in range(min(max(numbers) + 1, 2 * len(numbers) + 1)) if i not in numbers]
    if lacking:
        count = max(numbers) + 1 - len(numbers)
        raise DataError(
            f"{folder} has a gap: there is no {few([f'{i}.npy' for i in lacking])} but {max(numbers)}.npy"
            + (f" ({count} are missing)" if count > 1 else ""),
            "Copy the missing files; label masks name images by number, so none may be left out.",
        )
    return len(numbers)


def _all_files(root: Location) -> list[Location]:
    """All files of both splits, whatever split or tasks are asked for."""
    kinds = (IMAGE_FOLDER, *LABEL_FOLDERS.values())
    folders = [root / split / kind for split in MTAN_SPLITS.values() for kind in kinds]
    return [path for folder in folders if folder.is_dir() for path in _files(folder)]
