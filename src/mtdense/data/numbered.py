"""Folders of numbered .npy files, 0.npy to n - 1, as MTAN publishes its data sets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.dataset import DenseDataset
from mtdense.data.io import read_array, read_image
from mtdense.data.label_coding import LabelCoding
from mtdense.data.location import Location
from mtdense.data.published import check_folders, check_label_size, few, files_version
from mtdense.data.sample import RawImage
from mtdense.tasks import build_tasks
from mtdense.tasks.base import ArrayAny

__all__ = ["NumberedDataset"]


class NumberedDataset(DenseDataset):
    """The images of a split; an id is the folder's name and the file's number, such as "val-17".

    Args:
        root: Folder, or pack of source files, with a folder for each split.
        split: Key of `splits`.
        specs: {task: specification} of the tasks that files may label, in the order of published label masks.
        coding: How labels are stored.
        version: Name of the data, for the version.
        tasks: Tasks of which all images must have labels; None: all. Labels of others are offered where they exist.

    Raises:
        ConfigError: Unknown split or task.
        DataError: A folder is missing, or its files are not numbered without a gap.
    """

    splits: ClassVar[Mapping[str, str]]
    """{split: its folder}."""
    image_folder: ClassVar[str]
    """Folder of the images in that of a split."""
    where: ClassVar[str]
    """Where people get the data, for errors."""

    def __init__(
        self,
        root: Location,
        split: str,
        *,
        specs: Mapping[str, dict[str, Any]],
        coding: LabelCoding,
        version: str,
        tasks: Sequence[str] | None,
    ) -> None:
        if split not in self.splits:
            raise ConfigError(f"unknown split {split!r}", f"Use {' or '.join(self.splits)}.")
        needed = list(specs if tasks is None else tasks)
        for task in needed:
            if task not in specs:
                raise ConfigError(f"unknown task {task!r}", f"Use {', '.join(specs)}.")
        self.root = root
        self.split = split
        self._specs = specs
        self._tasks = build_tasks(dict(specs))
        self._coding = coding
        name = self.splits[split]
        kinds = self.label_folders(root / name)
        check_folders(root, [f"{name}/{kind}" for kind in (self.image_folder, *(kinds[t] for t in needed))], self.where)
        self._images = root / name / self.image_folder
        folders = {task: root / name / kind for task, kind in kinds.items()}
        self._folders = {task: folder for task, folder in folders.items() if folder.is_dir()}
        number = _count(self._images, self.where)
        for task, folder in list(self._folders.items()):
            try:
                self._check_number(number, folder)
            except DataError:
                if task in needed:
                    raise
                del self._folders[task]
        self.ids = [f"{name}-{i}" for i in range(number)]
        self.version = files_version(version, self._all_files(), root)

    @abstractmethod
    def label_folders(self, place: Location) -> dict[str, str]:
        """{task: its folder in `place`, the folder of a split}."""

    def _all_files(self) -> list[Location]:
        """All files of all splits, whatever split or tasks are asked for."""
        places = [self.root / name for name in self.splits.values()]
        folders = [
            place / kind for place in places for kind in (self.image_folder, *self.label_folders(place).values())
        ]
        return [path for folder in folders if folder.is_dir() for path in _files(folder)]

    def _check_number(self, number: int, folder: Location) -> None:
        found = _count(folder, self.where)
        if found != number:
            lacking = [f"{i}.npy" for i in range(min(number, found), max(number, found))]
            raise DataError(
                f"{self._images} holds {number} files, but {folder} {found}: there is no {few(lacking)}",
                "Copy the missing files; an image and its labels share a number.",
            )

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


def _files(folder: Location) -> list[Location]:
    """The .npy files of a folder, in any order; hidden files are passed over."""
    return [path for path in folder.iterdir() if path.suffix == ".npy" and not path.name.startswith(".")]


def _count(folder: Location, where: str) -> int:
    """Number of files, which must be 0.npy, 1.npy and so on."""
    numbers = set()
    for path in _files(folder):
        if not (path.stem.isascii() and path.stem.isdecimal() and str(int(path.stem)) == path.stem):
            raise DataError(f"{path} has no number for a name", "Take it out; files are called 0.npy, 1.npy and so on.")
        numbers.add(int(path.stem))
    if not numbers:
        raise DataError(f"{folder} holds no .npy file", f"Unpack the whole data set there. {where}")
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
