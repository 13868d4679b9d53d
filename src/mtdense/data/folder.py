"""People's own pictures: a folder of images, and one folder of labels per task."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.dataset import DenseDataset, has_content
from mtdense.data.io import index_folder, read_image, read_map
from mtdense.data.label_coding import LabelCoding, edges_from_semseg
from mtdense.data.sample import RawImage
from mtdense.data.transform import Geometry
from mtdense.geometry import normals_from_depth
from mtdense.tasks import build_tasks, task_names
from mtdense.tasks.base import ArrayAny, Task

__all__ = ["DERIVATIONS", "FolderDataset", "FolderIndex"]

DERIVATIONS: dict[str, tuple[str, str]] = {
    "edges_from_semseg": ("edges", "semseg"),
    "normals_from_depth": ("normals", "depth"),
}
"""{name: (task that is derived, task whose label it is computed from)}."""


class FolderIndex:
    """What files there are: listed once, shared by the splits.

    An image's id is its path below the image folder without extension, "/" written as "__". Labels belong to the image
    with the same path and stem; any image may lack any label. Links to files and folders are followed.

    Args:
        root: Folder of the data set.
        tasks: Tasks to find labels of.
        images: Name of the image folder.
        folders: {task: its folder} where it is not called after the task.
        derive: Names of `DERIVATIONS`; a stored label always wins over a derived one.

    Raises:
        DataError: A folder is missing, or nothing in it belongs to an image.
    """

    def __init__(
        self,
        root: Path,
        tasks: Sequence[str],
        images: str = "images",
        folders: Mapping[str, str] | None = None,
        derive: Sequence[str] = (),
    ) -> None:
        self.root = root
        self.images_folder = images
        self.derived_from = dict(DERIVATIONS[name] for name in derive)
        if not root.is_dir():
            raise DataError(f"no such folder: {root}", "Correct `data.root`, or put the data there.")
        self.images = index_folder(root / images)
        if not self.images:
            raise DataError(f"{root / images} holds no image", "Put pictures (.png, .jpg, .webp, ...) there.")
        self.stems = list(self.images)
        self._check_ids()
        places = {task: (folders or {}).get(task, task) for task in (*task_names(), *tasks)}
        self.labels = {
            task: index_folder(root / place)
            for task, place in places.items()
            if (root / place).is_dir() or (task in tasks and task not in self.derived_from)
        }
        for task in tasks:
            self._check_task(task, places)

    @staticmethod
    def id_of(stem: str) -> str:
        """Id of an image: its stem, fit to be a file name."""
        return stem.replace("/", "__")

    def available(self, stem: str, task: str) -> bool:
        """Whether the image has this label, stored or derived."""
        source = self.derived_from.get(task)
        return stem in self.labels.get(task, {}) or (source is not None and stem in self.labels.get(source, {}))

    def version(self) -> str:
        """A fingerprint of the files: names and sizes of all images and labels, whatever tasks are asked for."""
        digest = hashlib.sha256()
        for kind, files in (("images", self.images), *sorted(self.labels.items())):
            for stem, path in files.items():
                try:
                    size = path.stat().st_size
                except OSError as error:
                    raise DataError(
                        f"{path} cannot be found ({error.strerror})", "Restore it, or remove it."
                    ) from error
                digest.update(f"{kind}\0{stem}{path.suffix}\0{size}\n".encode())
        return f"folder-{digest.hexdigest()[:16]}"

    def _check_ids(self) -> None:
        owner: dict[str, str] = {}
        for stem in self.stems:
            other = owner.setdefault(self.id_of(stem), stem)
            if other != stem:
                raise DataError(f"images {other!r} and {stem!r} have the same id", "Rename one of them.")

    def _check_task(self, task: str, places: Mapping[str, str]) -> None:
        if any(self.available(stem, task) for stem in self.stems):
            return
        source = self.derived_from.get(task)
        kinds = [task] if source is None else [task, source]
        stored = [stem for kind in kinds for stem in self.labels.get(kind, {})]
        example = f", for example {stored[0]!r} where images are called {self.stems[0]!r}" if stored else ""
        derived = "" if source is None else f", nor one in {self._place(places[source])}, which {task} is derived from"
        raise DataError(
            f"no file in {self._place(places[task])} belongs to an image in {self.root / self.images_folder}"
            f"{example}{derived}",
            "Give labels the names of their images (extensions may differ), or correct `folders`.",
        )

    def _place(self, name: str) -> str:
        folder = self.root / name
        return str(folder) if folder.is_dir() else f"{folder} (no such folder)"


class FolderDataset(DenseDataset):
    """Some images of a `FolderIndex`.

    Args:
        index: The files.
        stems: Images of this split.
        specs: Specifications of the tasks to label, for `build_tasks`.
        coding: How label files are coded.
        camera: (3, 3) intrinsics in pixels of the stored images, one for all; None: unknown.
        resize_labels: "nearest" brings labels of another size to their image's; None: they are an error.
        normals_radius: Window of normals derived from depth, see `normals_from_depth`.

    Raises:
        ConfigError: A derivation lacks what it needs.
    """

    def __init__(
        self,
        index: FolderIndex,
        stems: Sequence[str],
        specs: Mapping[str, Mapping[str, Any]],
        coding: LabelCoding,
        *,
        camera: npt.NDArray[np.float64] | None = None,
        resize_labels: str | None = None,
        normals_radius: int = 1,
    ) -> None:
        self.index = index
        self.stems = list(stems)
        self.ids = [index.id_of(stem) for stem in self.stems]
        self.version = index.version()
        self.coding = coding
        self.camera = camera
        self.resize_labels = resize_labels
        self.normals_radius = normals_radius
        self._specs = {task: dict(spec) for task, spec in specs.items()}
        self._tasks = build_tasks(self._specs)
        for made, source in index.derived_from.items():
            if made in self._tasks and source not in self._tasks:
                raise ConfigError(f"{made} cannot be derived without the options of {source}", f"Give a {source} spec.")
        if "normals" in index.derived_from and camera is None:
            raise ConfigError("normals cannot be derived without a camera", "Set `camera: [fx, fy, cx, cy]` in pixels.")
        self.derived = frozenset(
            made for made in index.derived_from if any(s not in index.labels.get(made, {}) for s in self.stems)
        )
        self._content: dict[tuple[int, str], bool] = {}

    def task_specs(self) -> dict[str, dict[str, Any]]:
        """Specifications of the tasks asked for."""
        return {task: dict(spec) for task, spec in self._specs.items()}

    def available(self, index: int) -> frozenset[str]:
        """Tasks with a label file, or with the file that they are derived from."""
        return frozenset(task for task in self._tasks if self.index.available(self.stems[index], task))

    def eligible(self, index: int, task: str) -> bool:
        """As `available`; labels that may say nothing (human parts) are read once to see whether they do."""
        if not self.index.available(self.stems[index], task):
            return False
        found = self._tasks[task]
        if not found.content_dependent:
            return True
        key = (index, task)
        if key not in self._content:
            self._content[key] = has_content(found, self.load(index, [task]).labels[task])
        return self._content[key]

    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        """Reads one image and the labels asked for.

        Raises:
            DataError: A file is missing or damaged, a label is out of range or of another size than its image.
        """
        stem = self.stems[index]
        image_path = self.index.images[stem]
        image = read_image(image_path)
        read: dict[str, ArrayAny] = {}

        def label_of(task: str) -> ArrayAny:
            if task not in read:
                path = self.index.labels.get(task, {}).get(stem)
                if path is not None:
                    read[task] = self._read_label(self._tasks[task], path, image_path, image.shape[:2])
                else:
                    read[task] = self._derive(task, label_of(self.index.derived_from[task]))
            return read[task]

        return RawImage(self.ids[index], image, {task: label_of(task) for task in tasks}, self.camera)

    def _read_label(self, task: Task, path: Path, image_path: Path, size: Sequence[int]) -> ArrayAny:
        label = self.coding.decode(task, read_map(path), str(path))
        if label.shape[:2] == tuple(size):
            return label
        if self.resize_labels is None:
            raise DataError(
                f"{image_path} has {size[0]}x{size[1]} pixels, its label {path} {label.shape[0]}x{label.shape[1]}",
                "Store both at one size, or set `resize_labels: nearest`. (Photographs are turned as their EXIF data "
                "say; labels must fit the turned picture.)",
            )
        height, width = int(size[0]), int(size[1])
        whole = Geometry((label.shape[0], label.shape[1]), (height, width), (0, 0, height, width), (height, width))
        return whole.resample_label(label)

    def _derive(self, task: str, source: ArrayAny) -> ArrayAny:
        if task == DERIVATIONS["edges_from_semseg"][0]:
            return edges_from_semseg(source)
        assert self.camera is not None  # checked when made
        return normals_from_depth(source, self.camera, radius=self.normals_radius)
