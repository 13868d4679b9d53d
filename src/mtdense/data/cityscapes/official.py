"""Cityscapes as published: street scenes of 1024x2048, 19 classes, and depth from the disparity of a stereo pair.

* Cordts et al. The Cityscapes Dataset for Semantic Urban Scene Understanding. CVPR 2016.

2,975 training images; the 500 of the folder `val` are the test of the multi-task literature, since labels of the
official test set are not public. See `official_files` for the layout and `protocols` for what depth means.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.cityscapes.facts import class_of_label, semseg_spec
from mtdense.data.cityscapes.official_files import (
    CAMERA,
    DISPARITY,
    FOLDERS,
    IMAGE,
    LABEL_MAP,
    WHERE,
    FileKind,
    StreetCamera,
    index_files,
    read_camera,
)
from mtdense.data.cityscapes.protocols import DepthProtocol, decode_disparity, depth_protocol
from mtdense.data.dataset import DenseDataset
from mtdense.data.io import read_image, read_map
from mtdense.data.location import Location
from mtdense.data.published import PublishedData, check_folders, check_label_size, files_version
from mtdense.data.sample import RawImage
from mtdense.tasks import build_label_kinds
from mtdense.tasks.base import ArrayAny

__all__ = ["CITYSCAPES_NAME", "LABEL_KINDS", "PUBLISHED", "CityscapesDataset", "cityscapes_specs"]

CITYSCAPES_NAME = "cityscapes"
"""Id of the data set."""

LABEL_KINDS = {"semseg": LABEL_MAP, "depth": DISPARITY}
"""{task: type of its files}."""

PUBLISHED = PublishedData(
    name=CITYSCAPES_NAME,
    counts={"train": 2975, "test": 500},
    labels={"train": dict.fromkeys(LABEL_KINDS, 2975), "test": dict.fromkeys(LABEL_KINDS, 500)},
    where=WHERE,
)
"""What the archives hold."""


def cityscapes_specs(protocol: DepthProtocol) -> dict[str, dict[str, Any]]:
    """Specifications for `build_tasks`: 19 classes in the official colours, and depth as the protocol has it."""
    return {"semseg": semseg_spec(), "depth": protocol.spec}


class CityscapesDataset(DenseDataset):
    """The images of a split, sorted by id; an id is such as "aachen_000000_000019".

    Images come with their camera where there is a camera file.

    Args:
        root: Folder, or pack of source files, with `leftImg8bit/`, `gtFine/`, `disparity/` and `camera/`.
        split: "train", or "test" (the folder `val`).
        tasks: Tasks of which all images must have labels; None: all. Labels of others are offered where they exist.
        protocol: Name of what depth means, see `protocols`.

    Raises:
        ConfigError: Unknown split, task or protocol.
        DataError: A folder or a file is missing or misnamed, or an image is in both splits.
    """

    name: ClassVar[str] = CITYSCAPES_NAME
    """Id of the data set."""
    label_kinds: ClassVar[Mapping[str, FileKind]] = LABEL_KINDS
    """{task: type of its files}."""
    where: ClassVar[str] = WHERE
    """Where people get the data."""

    def __init__(
        self, root: Location, split: str, *, tasks: Sequence[str] | None = None, protocol: str = "disparity"
    ) -> None:
        if split not in FOLDERS:
            raise ConfigError(f"unknown split {split!r}", f"Use {' or '.join(FOLDERS)}.")
        needed = list(self.label_kinds if tasks is None else tasks)
        for task in needed:
            if task not in self.label_kinds:
                raise ConfigError(f"unknown task {task!r}", f"Use {', '.join(self.label_kinds)}.")
        self.root = root
        self.split = split
        self.protocol = depth_protocol(protocol)
        self._classes = class_of_label()
        self._tasks = build_label_kinds(self.all_specs())
        if self.protocol.zero_label is not None:
            self.derived = frozenset({"depth"})
        kinds = [IMAGE, *dict.fromkeys(kind for task in needed for kind in self._kinds_of(task))]
        check_folders(root, [f"{kind.folder}/{FOLDERS[split]}" for kind in kinds], self.where)
        indexed = dict.fromkeys((IMAGE, LABEL_MAP, DISPARITY, CAMERA, *self.label_kinds.values()))
        every = {name: {kind: index_files(root, kind, name) for kind in indexed} for name in FOLDERS}
        self._files = every[split]
        self._check_images({name: set(files[IMAGE]) for name, files in every.items()}, kinds)
        self.ids = list(self._files[IMAGE])
        paths = [path for files in every.values() for index in files.values() for path in index.values()]
        self.version = files_version(f"{self.name}-{protocol}", paths, root)

    def all_specs(self) -> dict[str, dict[str, Any]]:
        """Specifications of all tasks of the data set."""
        return cityscapes_specs(self.protocol)

    def task_specs(self) -> dict[str, dict[str, Any]]:
        """Specifications of the tasks that there are labels of."""
        return {
            task: spec
            for task, spec in self.all_specs().items()
            if all(self._files[kind] for kind in self._kinds_of(task))
        }

    def available(self, index: int) -> frozenset[str]:
        """Tasks whose files are there: depth needs more than one in some protocols."""
        image_id = self.ids[index]
        return frozenset(
            task for task in self.label_kinds if all(image_id in self._files[kind] for kind in self._kinds_of(task))
        )

    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        """Reads one image, its camera, and the labels asked for.

        Raises:
            DataError: A file is missing or damaged, a label is out of range or of another size than its image.
        """
        image_id = self.ids[index]
        lacking = [task for task in tasks if task not in self.available(index)]
        if lacking:
            raise DataError(
                f"image {image_id!r} of {self.root} has no {lacking[0]} label", "Take the task out of `tasks`."
            )
        files = {kind: index_[image_id] for kind, index_ in self._files.items() if image_id in index_}
        image = read_image(files[IMAGE])
        camera = read_camera(files[CAMERA]) if CAMERA in files else None
        ids_needed = "semseg" in tasks or ("depth" in tasks and self.protocol.zero_label is not None)
        label_ids = read_map(files[LABEL_MAP]) if ids_needed else None
        if label_ids is not None:
            _check_label_ids(label_ids, str(files[LABEL_MAP]))
            check_label_size(image, files[IMAGE], label_ids, files[LABEL_MAP])
        labels: dict[str, ArrayAny] = {}
        for task in tasks:
            path = files[self.label_kinds[task]]
            label = self._tasks[task].check_label(self._decode(task, path, label_ids, camera), str(path))
            self._check_size(task, image, files[IMAGE], label, path)
            labels[task] = label
        if camera is None:
            return RawImage(image_id, image, labels)
        return RawImage(image_id, image, labels, camera.matrix, camera.baseline)

    def _decode(self, task: str, path: Location, label_ids: ArrayAny | None, camera: StreetCamera | None) -> ArrayAny:
        """A label as stored, in the suite's coding."""
        if task == "semseg":
            assert label_ids is not None
            return self._decode_classes(label_ids, str(path))
        focal = None if camera is None else camera.baseline_focal
        return decode_disparity(read_map(path), self.protocol, str(path), label_ids, focal)

    def _check_size(self, task: str, image: ArrayAny, image_path: Location, label: ArrayAny, path: Location) -> None:
        size = self._tasks[task].label_size(label)
        if size != image.shape[:2]:
            raise DataError(
                f"{image_path} has {image.shape[0]}x{image.shape[1]} pixels, its label {path} {size[0]}x{size[1]}",
                "Copy both from one version of the data set.",
            )

    def _kinds_of(self, task: str) -> list[FileKind]:
        """Files that a task's label is made of."""
        kinds = [self.label_kinds[task]]
        if task == "depth" and self.protocol.zero_label is not None:
            kinds.append(LABEL_MAP)
        if task == "depth" and self.protocol.unit == "metres":
            kinds.append(CAMERA)
        return kinds

    def _decode_classes(self, stored: ArrayAny, source: str) -> ArrayAny:
        classes = self._classes[stored]
        if (classes < 0).any():
            wrong = stored[classes < 0]
            raise DataError(
                f"{source} holds the label id {wrong[0]} ({wrong.size} px); allowed are 0 to 33, and 255",
                "Unpack gtFine_trainvaltest.zip again; class ids (`labelTrainIds`) are not what is read.",
            )
        return classes

    def _check_images(self, images: dict[str, set[str]], kinds: Sequence[FileKind]) -> None:
        """Images there are, not in both splits, and with all files that are needed."""
        folder = self.root / IMAGE.folder / FOLDERS[self.split]
        if not images[self.split]:
            raise DataError(f"{folder} holds no image", f"Unpack the whole data set there. {self.where}")
        shared = images["train"] & images["test"]
        if shared:
            raise DataError(
                f"the image {min(shared)!r} is in both splits of {self.root} ({len(shared)} in all)",
                "Take it out of one of them.",
            )
        for kind in kinds:
            missing = sorted(images[self.split] - set(self._files[kind]))
            if missing:
                raise DataError(
                    f"no such file: {self.root / kind.place(self.split, missing[0])} "
                    f"({len(missing)} of {len(images[self.split])} images lack theirs)",
                    f"Unpack all archives whole. {self.where}",
                )


def _check_label_ids(stored: ArrayAny, source: str) -> None:
    if stored.ndim != 2 or stored.dtype != np.uint8:
        raise DataError(
            f"{source} has shape {stored.shape} and {stored.dtype}, not one label id of 8 bits a pixel",
            "Unpack gtFine_trainvaltest.zip again.",
        )
