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

from collections.abc import Collection, Sequence
from typing import Any

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.cityscapes.facts import semseg_spec
from mtdense.data.dataset import DenseDataset
from mtdense.data.io import read_array, read_image
from mtdense.data.label_coding import LabelCoding
from mtdense.data.location import Location
from mtdense.data.numbered import count_numbered, numbered_files
from mtdense.data.published import PublishedData, check_folders, check_label_size, few, files_version
from mtdense.data.sample import RawImage
from mtdense.tasks import build_tasks
from mtdense.tasks.base import ArrayAny

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


class CityscapesMtanDataset(DenseDataset):
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

    def __init__(self, root: Location, split: str, *, tasks: Sequence[str] | None = None, num_classes: int = 7) -> None:
        if split not in SPLIT_FOLDERS:
            raise ConfigError(f"unknown split {split!r}", f"Use {' or '.join(SPLIT_FOLDERS)}.")
        needed = list(MTAN_TASKS if tasks is None else tasks)
        for task in needed:
            if task not in MTAN_TASKS:
                raise ConfigError(f"unknown task {task!r}", f"Use {', '.join(MTAN_TASKS)}.")
        self.root = root
        self.split = split
        self._specs = cityscapes_mtan_specs(num_classes)
        self._tasks = build_tasks(self._specs)
        self._coding = LabelCoding(ignore_values={"semseg": (_VOID,)})
        name = SPLIT_FOLDERS[split]
        kinds = _label_folders(root, name, num_classes)
        check_folders(root, [f"{name}/{kind}" for kind in (IMAGE_FOLDER, *(kinds[t] for t in needed))], _PUBLISHED)
        self._images = root / name / IMAGE_FOLDER
        folders = {task: root / name / kind for task, kind in kinds.items()}
        self._folders = {task: folder for task, folder in folders.items() if folder.is_dir()}
        number = count_numbered(self._images, _PUBLISHED)
        for folder in self._folders.values():
            found = count_numbered(folder, _PUBLISHED)
            if found != number:
                lacking = [f"{i}.npy" for i in range(min(number, found), max(number, found))]
                raise DataError(
                    f"{self._images} holds {number} files, but {folder} {found}: there is no {few(lacking)}",
                    "Copy the missing files; an image and its labels share a number.",
                )
        self.ids = [f"{name}-{i}" for i in range(number)]
        self.version = files_version(f"{CITYSCAPES_MTAN_NAME}-{num_classes}", _all_files(root, num_classes), root)

    def task_specs(self) -> dict[str, dict[str, Any]]:
        """Specifications of the tasks that there are labels of."""
        return {task: dict(spec) for task, spec in self._specs.items() if task in self._folders}

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


def _label_folders(root: Location, split: str, num_classes: int) -> dict[str, str]:
    """{task: its folder in that of a split}; the usual name where there is none."""
    names = CLASS_FOLDERS[num_classes]
    semseg = next((name for name in names if (root / split / name).is_dir()), names[0])
    return {"semseg": semseg, "depth": DEPTH_FOLDER}


def _all_files(root: Location, num_classes: int) -> list[Location]:
    """All files of both splits, whatever split or tasks are asked for."""
    folders = [
        root / split / kind
        for split in SPLIT_FOLDERS.values()
        for kind in (IMAGE_FOLDER, *_label_folders(root, split, num_classes).values())
    ]
    return [path for folder in folders if folder.is_dir() for path in numbered_files(folder)]
