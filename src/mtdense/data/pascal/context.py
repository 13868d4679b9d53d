"""PASCAL-Context as ASTMT, ATRC, InvPT, DiffusionMTL and BridgeNet use it: five tasks on 4998 and 5105 images.

```
<root>/JPEGImages/<id>.jpg                      ids like 2008_000008
<root>/ImageSets/Context/{train,val}.txt        one id per line; 4998 and 5105
<root>/ImageSets/Parts/{train,val}.txt          JSON {id: [class of each object]}; written by public loaders
<root>/semseg/{VOC12,pascal-context}/<id>.png   classes 0 to 20, 255 is void; the file in VOC12 goes first
<root>/human_parts/<id>.mat                     PASCAL-Part annotation, see `part_struct`
<root>/sal_distill/<id>.png                     grey; salient above 127
<root>/normals_distill/<id>.png                 value = (component + 1) / 2 * 255
<root>/pascal-context/trainval/<id>.mat         `LabelMap`, classes 1 to 459
```

Saliency and normals were distilled: they are predictions of other networks. Normals count only where the label map
shows a class that the network behind them knew (`facts.NORMALS_CLASSES`).

Edges are made from the label map, in two ways. "laplacian": pixels where the Laplacian of the class ids
is not zero, thinned; all public code trains on them. "seism": boundaries as the evaluator SEISM draws them, thinned;
scores in papers are taken on these. Most papers score edges on the 2498 test images of SEISM's list `test_new`, and all
other tasks on all 5105 (`edge_images`).

What the lists call val is the test set of all papers; there are no other published images with labels.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import cv2
import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError, DataError
from mtdense.core.progress import track
from mtdense.data.dataset import DenseDataset
from mtdense.data.io import read_bytes, read_image, read_map, read_mat
from mtdense.data.label_coding import LabelCoding
from mtdense.data.label_masks import BoolArray
from mtdense.data.location import Location
from mtdense.data.pascal.facts import (
    CONTEXT_CLASSES,
    NORMALS_AXES,
    NORMALS_CLASSES,
    PASCAL_NAME,
    PASCAL_TASKS,
    PERSON,
    PUBLISHED,
    part_table,
    pascal_specs,
)
from mtdense.data.pascal.lists import read_test_new
from mtdense.data.pascal.part_struct import read_person_parts
from mtdense.data.published import check_folders, check_label_size, files_version, read_list, replica_mark
from mtdense.data.sample import RawImage
from mtdense.metrics.functional import seism_target, thin
from mtdense.tasks import build_tasks
from mtdense.tasks.base import ArrayAny

__all__ = [
    "CACHE_FOLDER",
    "IMAGE_FOLDER",
    "LABEL_FOLDERS",
    "LABEL_MAP_KEY",
    "LIST_FOLDER",
    "PASCAL_LISTS",
    "SEMSEG_FOLDERS",
    "TEST_NEW_LIST",
    "EdgeImages",
    "EdgeTarget",
    "PASCALContextDataset",
    "check_edge_options",
    "laplacian_edges",
]

EdgeTarget = Literal["laplacian", "seism"]
EdgeImages = Literal["all", "test_new"]

PASCAL_LISTS = {"train": "train.txt", "test": "val.txt"}
"""{split: its list in `LIST_FOLDER`}."""

TEST_NEW_LIST = "test_new.txt"
"""Name, in `LIST_FOLDER`, under which SEISM's list of test images for edges is looked for."""

LIST_FOLDER = "ImageSets/Context"
"""Folder of the lists."""

CACHE_FOLDER = "ImageSets/Parts"
"""Folder of what public loaders note about the objects of each image."""

IMAGE_FOLDER = "JPEGImages"
"""Folder of the images."""

LABEL_FOLDERS = {
    "semseg": "semseg",
    "human_parts": "human_parts",
    "saliency": "sal_distill",
    "normals": "normals_distill",
    "edges": "pascal-context/trainval",
}
"""{task: its folder}; normals need that of edges, too."""

SEMSEG_FOLDERS = ("VOC12", "pascal-context")
"""Folders within that of semseg; the first one with a file of the image goes."""

LABEL_MAP_KEY = "LabelMap"
"""Name of the array from which edges are made."""

_MAP_TASKS = ("normals", "edges")
_LARGEST_CACHE = 16_000_000
_NORMALS_KNOWN = np.isin(np.arange(CONTEXT_CLASSES + 1), list(NORMALS_CLASSES))


def laplacian_edges(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Edges that public code trains on: where the Laplacian of the class ids is not zero, thinned.

    Four neighbours count, and beyond the border the row or column inside of it.

    Args:
        labels: (H, W) class ids.

    Returns:
        (H, W) bool.
    """
    return thin(cv2.Laplacian(labels.astype(np.float64), cv2.CV_64F) != 0)


_EDGES: Mapping[EdgeTarget, Callable[[npt.NDArray[Any]], npt.NDArray[np.bool_]]] = {
    "laplacian": laplacian_edges,
    "seism": seism_target,
}


def check_edge_options(edge_images: str, edge_list: object, *edge_targets: str) -> None:
    """Checks the options of edges.

    Raises:
        ConfigError: An unknown one, or a list that is not asked for.
    """
    if edge_images not in get_args(EdgeImages):
        raise ConfigError(f"unknown edge_images {edge_images!r}", f"Use {' or '.join(get_args(EdgeImages))}.")
    if edge_list is not None and edge_images == "all":
        raise ConfigError(f"edge_list is {edge_list}, but edge_images is 'all'", "Set `edge_images: test_new`.")
    for target in edge_targets:
        if target not in get_args(EdgeTarget):
            raise ConfigError(f"unknown target of edges {target!r}", f"Use {' or '.join(get_args(EdgeTarget))}.")


class PASCALContextDataset(DenseDataset):
    """The images of a list.

    Args:
        root: Folder with `JPEGImages/` and `ImageSets/`, usually called PASCAL_MT or PASCALContext.
        split: "train", or "test" (the list val.txt).
        tasks: Tasks of which all images must have labels; None: all. Labels of others are offered where they exist.
        num_human_parts: Parts to merge those of PASCAL-Part to: 6 in all papers; 1, 4 or 14 in public code. The 14 tell
            left from right, which a mirrored image does not exchange.
        normals_axes: Camera axis (x right, y down, z forward) of each stored channel of normals.
        train_edges: Edges of training images, "laplacian" or "seism".
        eval_edges: Edges of test images.
        edge_images: Test images with edges: "all", or those of SEISM's list, "test_new".
        edge_list: That list; None: `test_new.txt` beside the others.

    Raises:
        ConfigError: Unknown split or task, or options that make no sense.
        DataError: A folder, a list or a file is missing, or the lists share images.
    """

    derived = frozenset({"edges"})

    def __init__(
        self,
        root: Location,
        split: str,
        *,
        tasks: Sequence[str] | None = None,
        num_human_parts: int = 6,
        normals_axes: str = NORMALS_AXES,
        train_edges: EdgeTarget = "laplacian",
        eval_edges: EdgeTarget = "seism",
        edge_images: EdgeImages = "all",
        edge_list: str | Path | None = None,
    ) -> None:
        if split not in PASCAL_LISTS:
            raise ConfigError(f"unknown split {split!r}", f"Use {' or '.join(PASCAL_LISTS)}.")
        needed = list(PASCAL_TASKS if tasks is None else tasks)
        for task in needed:
            if task not in PASCAL_TASKS:
                raise ConfigError(f"unknown task {task!r}", f"Use {', '.join(PASCAL_TASKS)}.")
        check_edge_options(edge_images, edge_list, train_edges, eval_edges)
        self.root = root
        self.split = split
        self.edge_target = train_edges if split == "train" else eval_edges
        # A map of zeros and ones is one of low saliency here, not a wrong coding.
        self._coding = LabelCoding(positive_above={"saliency": 127}, normals_axes=normals_axes)
        self._specs = pascal_specs(num_human_parts)
        self._parts = part_table(num_human_parts)
        self._tasks = build_tasks(self._specs)
        self._files = self._index(needed)
        self._labels = {task: self._files[task] for task in PASCAL_TASKS}
        maps = self._files["edges"]
        self._labels["normals"] = {name: path for name, path in self._files["normals"].items() if name in maps}
        lists = {name: self._list(name) for name in PASCAL_LISTS if name == split or self._list(name).is_file()}
        listed = {name: read_list(path, PUBLISHED.where) for name, path in lists.items()}
        self._check_files(listed[split], needed)
        self._check_overlap(listed)
        self.ids = list(listed[split])
        self._people: BoolArray | None = None
        self._edge_ids: frozenset[str] | None = None
        if split == "test" and edge_images == "test_new" and "edges" in needed:
            self._edge_ids = self._read_edge_ids(edge_list)
        known = {image_id for ids in listed.values() for image_id in ids}
        files = [path for index in self._files.values() for name, path in index.items() if name in known]
        self.version = files_version(PASCAL_NAME, [*lists.values(), *files], root)

    def with_edges(self, edge_target: EdgeTarget) -> Self:
        """The same images with edges of the other kind; nothing is read again."""
        check_edge_options("all", None, edge_target)
        other = copy.copy(self)
        other.edge_target = edge_target
        return other

    def task_specs(self) -> dict[str, dict[str, Any]]:
        """Specifications of the tasks that there are labels of."""
        return {task: dict(spec) for task, spec in self._specs.items() if self._labels[task]}

    def available(self, index: int) -> frozenset[str]:
        """Tasks with label files; edges in the test only of images on which they are scored."""
        image_id = self.ids[index]
        found = frozenset(task for task, files in self._labels.items() if image_id in files)
        return found - {"edges"} if self._edge_ids is not None and image_id not in self._edge_ids else found

    def eligible(self, index: int, task: str) -> bool:
        """Human parts need a person with parts; the first question about them looks through the annotations."""
        if task not in self.available(index) or task != "human_parts":
            return task in self.available(index)
        if self._people is None:
            self._people = self._find_people()
        return bool(self._people[index])

    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        """Reads one image and the labels asked for.

        Raises:
            DataError: A file is missing or damaged, a label is out of range or of another size than its image.
        """
        image_id = self.ids[index]
        image_path = self._files["images"][image_id]
        image = read_image(image_path)
        absent = [task for task in tasks if task not in self.available(index)]
        if absent:
            raise DataError(
                f"image {image_id!r} of {self.root} has no {absent[0]} label", "Take the task out of `tasks`."
            )
        labels: dict[str, ArrayAny] = {}
        classes = self._label_map(image, image_id) if any(task in _MAP_TASKS for task in tasks) else None
        for task in tasks:
            path = self._labels[task][image_id]
            if task == "human_parts":
                label = self._paint_parts(path, image.shape[:2])
            elif task == "edges":
                assert classes is not None
                label = _EDGES[self.edge_target](classes).astype(np.float32)
            else:
                stored = read_map(path)
                check_label_size(image, image_path, stored, path)
                if task == "normals" and stored.ndim == 3:
                    assert classes is not None
                    stored = np.where(_NORMALS_KNOWN[classes][..., None], stored, 0)
                label = self._coding.decode(self._tasks[task], stored, str(path))
            labels[task] = label
        return RawImage(image_id, image, labels)

    # ---- files -------------------------------------------------------------------------------------------------------
    def _list(self, split: str) -> Location:
        return self.root / LIST_FOLDER / PASCAL_LISTS[split]

    def _index(self, needed: Sequence[str]) -> dict[str, dict[str, Location]]:
        """{images or task: {id: file}}, as the files lie."""
        tasks = [*needed, "edges"] if "normals" in needed else needed
        folders = [IMAGE_FOLDER, LIST_FOLDER, *(LABEL_FOLDERS[task] for task in tasks)]
        check_folders(self.root, folders, PUBLISHED.where)
        found = {"images": _files(self.root / IMAGE_FOLDER, ".jpg")}
        for task, folder in LABEL_FOLDERS.items():
            suffix = ".mat" if task in ("human_parts", "edges") else ".png"
            places = [self.root / folder]
            if task == "semseg":
                places = [self.root / folder / name for name in reversed(SEMSEG_FOLDERS)]
            found[task] = {name: path for place in places for name, path in _files(place, suffix).items()}
        return found

    def _check_files(self, lines: Mapping[str, int], needed: Sequence[str]) -> None:
        kinds = ["images", *needed, *(["edges"] if "normals" in needed else [])]
        for image_id, number in lines.items():
            for kind in kinds:
                if image_id not in self._files[kind]:
                    folder = IMAGE_FOLDER if kind == "images" else LABEL_FOLDERS[kind]
                    raise DataError(
                        f"{self._list(self.split)}, line {number}: there is no file of {image_id!r} in "
                        f"{self.root / folder}",
                        f"Copy it, or take the line out. {PUBLISHED.where}",
                    )

    def _check_overlap(self, listed: Mapping[str, Mapping[str, int]]) -> None:
        first, *others = listed.values()
        shared = set(first).intersection(*others) if others else set()
        if shared:
            raise DataError(
                f"both lists in {self.root / LIST_FOLDER} name the image {min(shared)!r} ({len(shared)} in all)",
                "Take it out of one.",
            )

    def _read_edge_ids(self, edge_list: str | Path | None) -> frozenset[str]:
        beside = self.root / LIST_FOLDER / TEST_NEW_LIST
        path: Location = beside if edge_list is None else Path(edge_list).expanduser()
        found = read_test_new(path, replica=replica_mark(self.root) is not None).intersection(self.ids)
        if not found:
            raise DataError(f"no test image of {self.root} is in {path}", "Set `edge_images: all`.")
        return found

    # ---- labels ------------------------------------------------------------------------------------------------------
    def _label_map(self, image: ArrayAny, image_id: str) -> npt.NDArray[np.int64]:
        path = self._files["edges"][image_id]
        stored = read_mat(path, LABEL_MAP_KEY)
        check_label_size(image, self._files["images"][image_id], stored, path)
        if not (np.isfinite(stored).all() and stored.min() >= 0 and stored.max() <= CONTEXT_CLASSES):
            raise DataError(
                f"{path}: {LABEL_MAP_KEY!r} has values outside of 0 to {CONTEXT_CLASSES}", "Copy or download it again."
            )
        classes = stored.astype(np.int64)
        if (classes != stored).any():
            raise DataError(f"{path}: {LABEL_MAP_KEY!r} has values that are no class ids", "Copy or download it again.")
        return classes

    def _paint_parts(self, path: Location, size: Sequence[int]) -> ArrayAny:
        label = np.zeros(tuple(size), dtype=np.int64)
        for part in read_person_parts(path):
            if part.name not in self._parts:
                raise DataError(
                    f"{path}: unknown part of a person {part.name!r}", f"Known are {', '.join(sorted(self._parts))}."
                )
            if part.mask.shape != label.shape:
                raise DataError(
                    f"{path}: a mask has {part.mask.shape[0]}x{part.mask.shape[1]} pixels, its image "
                    f"{label.shape[0]}x{label.shape[1]}",
                    "Copy both from one version of the data set.",
                )
            label[part.mask] = self._parts[part.name]
        return self._tasks["human_parts"].check_label(label, str(path))

    def _find_people(self) -> BoolArray:
        """Whether each image shows a part of a person."""
        cached = self._read_cache()
        found = np.zeros(len(self), dtype=np.bool_)
        for i in track(range(len(self)), f"Looking for people ({self.split})"):
            path = self._labels["human_parts"].get(self.ids[i])
            if path is not None and PERSON in cached.get(self.ids[i], (PERSON,)):
                found[i] = any(part.mask.any() for part in read_person_parts(path))
        return found

    def _read_cache(self) -> dict[str, list[int]]:
        """Classes of the objects of each image, as public loaders write them down; {} where they have not."""
        path = self.root / CACHE_FOLDER / PASCAL_LISTS[self.split]
        if not path.is_file():
            return {}
        mend = "Delete it: it can be missing, and public loaders write it anew."
        try:
            cache = json.loads(read_bytes(path, _LARGEST_CACHE))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"the list of objects {path} cannot be read ({error})", mend) from error
        rows = cache.values() if isinstance(cache, dict) else [None]
        if not all(isinstance(row, list) and all(isinstance(value, int) for value in row) for row in rows):
            raise DataError(f"{path} does not list the classes of objects by image", mend)
        return dict(cache)


def _files(place: Location, suffix: str) -> dict[str, Location]:
    """{id: file} of a folder; {} where it is missing."""
    paths = sorted(place.iterdir()) if place.is_dir() else []
    return {path.stem: path for path in paths if path.suffix == suffix and not path.name.startswith(".")}
