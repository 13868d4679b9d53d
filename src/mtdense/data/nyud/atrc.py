"""NYUD-v2 as the ASTMT, MTI-Net, ATRC and InvPT line of papers uses it: a file per image and task, 40 classes, 425x560.

```
<root>/{images,segmentation,depth,normals,edge}/<id>.*
<root>/gt_sets/{train,val}.txt                            one id per line; 795 and 654
```

| archive | images | segmentation | depth | normals | edge |
|---|---|---|---|---|---|
| `NYUD_MT.tgz` of ASTMT | .jpg | .mat `segmentation` | .mat `depth` | .jpg | .png |
| `NYUD_MT.tgz` of MTI-Net and ATRC | .jpg | .png | .npy | .npy | .npy |
| `NYUDv2.tar.gz` of InvPT | .png | .png | .npy | .png | .png |

Each folder is looked into for itself. Stored classes are 0 (void) and 1 to 40; depth is metres, 0 where there is none;
normals are components, or pictures with value = (component + 1) / 2 * 255, and zero or mid-grey where there is none;
edges are 0 and 255 in pictures, 0 and 1 in arrays, and known everywhere. ASTMT itself trained on 41 classes, void being
one (`void_zero: false`); the others on 40. What the lists call val is the official test set; there are no published
validation images.

* Maninis, Radosavovic and Kokkinos. Attentive Single-Tasking of Multiple Tasks. CVPR 2019.
* Vandenhende et al. MTI-Net: Multi-Scale Task Interaction Networks for Multi-Task Learning. ECCV 2020.
* Brüggemann et al. Exploring Relational Context for Multi-Task Dense Prediction. ICCV 2021.
* Ye and Xu. Inverted Pyramid Multi-Task Transformer for Dense Scene Understanding. ECCV 2022.

**Axes of the normals.** No published text says what the channels hold. Known: ATRC's public code has 40 cluster centres
of this archive's normals. Their third component lies between -0.06 and 1, so it points towards the camera; the others
reach 1 and -1. The second is above 0.85 in five centres and below -0.85 in one; floors and table tops are more frequent
than surfaces that face down, so it points up. Seen: in two published pictures of this data set (the overviews of DeMT
and of MTDP_Lib's prompt network) walls on the right, which face left, are red, beds and counters green, and walls that
face the camera blue. So the channels are left, up and towards the camera. Not known: whether each of the three archives
keeps to it, as none could be measured against its depth. MTAN's files, of another source, have other axes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.dataset import DenseDataset
from mtdense.data.io import read_image, read_map, read_mat
from mtdense.data.label_coding import LabelCoding
from mtdense.data.location import Location
from mtdense.data.nyud.facts import class_names
from mtdense.data.published import PublishedData, check_folders, check_label_size, few, files_version, read_list
from mtdense.data.sample import RawImage
from mtdense.tasks import build_tasks
from mtdense.tasks.base import ArrayAny

__all__ = [
    "ATRC_LISTS",
    "ATRC_NAME",
    "ATRC_NORMALS_AXES",
    "ATRC_SIZE",
    "IMAGE_FOLDER",
    "LABEL_FOLDERS",
    "LIST_FOLDER",
    "MAT_KEYS",
    "PUBLISHED",
    "NYUDAtrcDataset",
    "atrc_specs",
    "check_crop_size",
    "read_mat",
]

ATRC_NAME = "nyud_atrc"
"""Id of the data set."""

ATRC_LISTS = {"train": "train.txt", "test": "val.txt"}
"""{split: its list in `LIST_FOLDER`}."""

LIST_FOLDER = "gt_sets"
"""Folder of the lists."""

IMAGE_FOLDER = "images"
"""Folder of the images."""

LABEL_FOLDERS = {"semseg": "segmentation", "depth": "depth", "normals": "normals", "edges": "edge"}
"""{task: its folder}."""

MAT_KEYS = {"semseg": "segmentation", "depth": "depth"}
"""{task: name of the array in .mat files}."""

ATRC_SIZE = (425, 560)
"""Height and width of the published images."""

ATRC_NORMALS_AXES = "-x-y-z"
"""Camera axes of the stored channels, see above."""

_KINDS = {
    IMAGE_FOLDER: (".png", ".jpg"),
    "segmentation": (".png", ".mat"),
    "depth": (".npy", ".mat"),
    "normals": (".png", ".jpg", ".npy"),
    "edge": (".png", ".npy"),
}
_PUBLISHED = (
    "It is published as NYUD_MT.tgz by Multi-Task-Learning-PyTorch (MTI-Net) and ATRC, Google Drive id "
    "14EAEMXmd3zs2hIMY63UhHPSFPDAkiTzw, and as NYUDv2.tar.gz by InvPT."
)

PUBLISHED = PublishedData(
    name=ATRC_NAME,
    counts={"train": 795, "test": 654},
    labels={"train": dict.fromkeys(LABEL_FOLDERS, 795), "test": dict.fromkeys(LABEL_FOLDERS, 654)},
    where=_PUBLISHED,
)
"""What the archives hold."""


def atrc_specs(void_zero: bool = True) -> dict[str, dict[str, Any]]:
    """Specifications for `build_tasks`: 40 classes (41 with void as a class), depth in metres, normals, edges."""
    names = class_names(40) if void_zero else ("void", *class_names(40))
    return {
        "semseg": {"num_classes": len(names), "class_names": list(names)},
        "depth": {"unit": "metres"},
        "normals": {},
        "edges": {"max_dist": 0.011, "target_kind": "labels"},
    }


def check_crop_size(crop_size: Sequence[int] | None) -> tuple[int, int] | None:
    """Height and width to crop to, as a tuple.

    Raises:
        ConfigError: Not two whole numbers of at least 1.
    """
    if crop_size is None:
        return None
    if len(crop_size) != 2 or not all(isinstance(side, int) and side >= 1 for side in crop_size):
        raise ConfigError(f"crop_size is {list(crop_size)}", "Give height and width in pixels, or null.")
    return crop_size[0], crop_size[1]


class NYUDAtrcDataset(DenseDataset):
    """The images of a list.

    Args:
        root: Folder, or pack of source files, with `images/` and `gt_sets/`, usually called NYUD_MT or NYUDv2.
        split: "train", or "test" (the list val.txt).
        tasks: Tasks of which all images must have labels; None: all. Labels of others are offered where they exist.
        void_zero: Class 0 is void and classes are the 40 others; False: 41 classes.
        normals_axes: Camera axis (x right, y down, z forward) of each stored channel of normals.
        crop_size: Larger images are cropped to this height and width, around the centre; None: never.
        allow_overlap: Allow images that both lists name: to overfit on purpose, never for a score.

    Raises:
        ConfigError: Unknown split or task, or options that make no sense.
        DataError: A folder, a list or a file is missing, file types are mixed, or the lists share images.
    """

    def __init__(
        self,
        root: Location,
        split: str,
        *,
        tasks: Sequence[str] | None = None,
        void_zero: bool = True,
        normals_axes: str = ATRC_NORMALS_AXES,
        crop_size: Sequence[int] | None = ATRC_SIZE,
        allow_overlap: bool = False,
    ) -> None:
        if split not in ATRC_LISTS:
            raise ConfigError(f"unknown split {split!r}", f"Use {' or '.join(ATRC_LISTS)}.")
        needed = list(LABEL_FOLDERS if tasks is None else tasks)
        for task in needed:
            if task not in LABEL_FOLDERS:
                raise ConfigError(f"unknown task {task!r}", f"Use {', '.join(LABEL_FOLDERS)}.")
        self.root = root
        self.split = split
        self.crop_size = check_crop_size(crop_size)
        self._coding = LabelCoding(
            ignore_values={"semseg": (0,)} if void_zero else {},
            label_offset={"semseg": 1} if void_zero else {},
            positive_above={"edges": 0},
            normals_axes=normals_axes,
        )
        self._specs = atrc_specs(void_zero)
        self._tasks = build_tasks(self._specs)
        check_folders(root, [IMAGE_FOLDER, *(LABEL_FOLDERS[task] for task in needed), LIST_FOLDER], _PUBLISHED)
        self._images = _index(root / IMAGE_FOLDER)
        self._labels: dict[str, dict[str, Location]] = {}
        for task, folder in LABEL_FOLDERS.items():
            try:
                self._labels.update({task: _index(root / folder)} if (root / folder).is_dir() else {})
            except DataError:
                if task in needed:
                    raise
        self.ids = self._listed(split, needed)
        if not allow_overlap:
            self._check_overlap()
        lists = [path for path in (root / LIST_FOLDER / name for name in ATRC_LISTS.values()) if path.is_file()]
        files = [path for index in (self._images, *self._labels.values()) for path in index.values()]
        self.version = files_version(ATRC_NAME, [*lists, *files], root)

    def task_specs(self) -> dict[str, dict[str, Any]]:
        """Specifications of the tasks that there are labels of."""
        return {task: dict(spec) for task, spec in self._specs.items() if task in self._labels}

    def available(self, index: int) -> frozenset[str]:
        """Tasks with a label file."""
        return frozenset(task for task, files in self._labels.items() if self.ids[index] in files)

    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        """Reads one image and the labels asked for.

        Raises:
            DataError: A file is missing or damaged, a label is out of range or of another size than its image.
        """
        image_id = self.ids[index]
        image_path = self._images[image_id]
        image = read_image(image_path)
        labels: dict[str, ArrayAny] = {}
        for task in tasks:
            if image_id not in self._labels.get(task, {}):
                raise DataError(
                    f"image {image_id!r} of {self.root} has no {task} label", "Take the task out of `tasks`."
                )
            path = self._labels[task][image_id]
            stored = read_mat(path, MAT_KEYS[task]) if path.suffix.lower() == ".mat" else read_map(path)
            label = self._coding.decode(self._tasks[task], stored, str(path))
            check_label_size(image, image_path, label, path)
            labels[task] = self._crop(label)
        return RawImage(image_id, self._crop(image), labels)

    def _crop(self, array: ArrayAny) -> ArrayAny:
        if self.crop_size is None:
            return array
        height, width = (min(side, limit) for side, limit in zip(array.shape[:2], self.crop_size, strict=True))
        top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
        return np.ascontiguousarray(array[top : top + height, left : left + width])

    def _listed(self, split: str, needed: Sequence[str]) -> list[str]:
        path = self.root / LIST_FOLDER / ATRC_LISTS[split]
        places: dict[str, Mapping[str, Location]] = {IMAGE_FOLDER: self._images}
        places.update((LABEL_FOLDERS[task], self._labels[task]) for task in needed)
        lines = read_list(path, _PUBLISHED)
        for folder, files in places.items():
            lacking = [image_id for image_id in lines if image_id not in files]
            if lacking:
                number = "" if len(lacking) == 1 else f" ({len(lacking)} of {len(lines)} lack one: {few(lacking)})"
                raise DataError(
                    f"{path}, line {lines[lacking[0]]}: there is no file of {lacking[0]!r} in "
                    f"{self.root / folder}{number}",
                    "Copy it, or take the line out.",
                )
        return list(lines)

    def _check_overlap(self) -> None:
        other = next(name for split, name in ATRC_LISTS.items() if split != self.split)
        path = self.root / LIST_FOLDER / other
        shared = set(read_list(path, _PUBLISHED)).intersection(self.ids) if path.is_file() else set()
        if shared:
            raise DataError(
                f"both lists in {self.root / LIST_FOLDER} name the image {min(shared)!r} ({len(shared)} in all)",
                "Take it out of one. To overfit on purpose, set `allow_overlap: true`.",
            )


def _index(folder: Location) -> dict[str, Location]:
    """{id: file} of a folder in which all data files are of one type."""
    kinds = _KINDS[folder.name]
    found: dict[str, Location] = {}
    example: dict[str, Location] = {}
    for path in sorted(folder.iterdir()):
        kind = path.suffix.lower()
        if kind not in kinds or path.name.startswith("."):
            continue
        if path.stem in found:
            raise DataError(f"two files of one image: {found[path.stem]} and {path}", "Keep one of them.")
        found[path.stem] = path
        example.setdefault(kind, path)
    if not found:
        raise DataError(
            f"{folder} holds no {' or '.join(kinds)} file", f"Unpack the whole data set there. {_PUBLISHED}"
        )
    if len(example) > 1:
        raise DataError(
            f"{folder} mixes file types: {' and '.join(path.name for path in example.values())}",
            "Keep the files of one archive.",
        )
    return found
