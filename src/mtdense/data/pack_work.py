"""What goes into a pack: the files of a folder as they are, or images and labels decoded. Cut into parts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mtdense import __version__
from mtdense.core.errors import DataError
from mtdense.data.dataset import DenseDataset
from mtdense.data.location import Location, PackPath
from mtdense.data.pack import PACK_SUFFIXES, is_entry_name
from mtdense.data.packed import BASELINE, CAMERA, IMAGE, entry_name, plain_reading
from mtdense.data.published import MANIFEST_NAME
from mtdense.data.sample import RawImage
from mtdense.tasks.base import ArrayAny

__all__ = ["Add", "PackWork", "RawWork", "SourceFile", "SourceWork", "compact", "find_files", "fingerprint"]

Add = Callable[[str, "bytes | memoryview"], None]
"""Adds an entry to a part: (name, bytes or a piece of them); pieces of one entry follow one another."""

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
_PART_BYTES = 32 << 20
_PART_FILES = 500
_PART_IMAGES = 8
_PIECE = 4 << 20


class PackWork(Protocol):
    """Work that `write_pack` does part by part, in any order and process."""

    codec: str
    """As in `CODECS`."""
    parts: int
    """Number of parts."""
    images: int
    """Number of images of the data set."""
    original_bytes: int
    """Length of all its files."""

    def plan(self) -> dict[str, Any]:
        """Plain values on which the content depends, its sources included; the same plan gives the same pack."""

    def produce(self, part: int, add: Add) -> Any:
        """Adds the entries of a part; returns plain facts for `catalogue`, or None."""

    def catalogue(self, facts: Sequence[Any]) -> bytes | None:
        """The catalogue, of what `produce` returned for each part, in order."""


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """A file to be packed."""

    name: str
    path: Path
    size: int
    changed: int


def find_files(root: Path, leave: Sequence[Path] = ()) -> tuple[list[SourceFile], list[str]]:
    """All files below a folder, an image's near to one another.

    Hidden files, archives, packs and the manifest of `data check` are left out. Links within the folder are followed.

    Args:
        root: The folder.
        leave: Files and folders not to look at.

    Returns:
        The files, by name and then by folder; and the relative paths of archives and packs that were left out.

    Raises:
        DataError: A link leads out of the folder, or something is no regular file, cannot be read, or has a name that
            is no text.
    """
    top, skipped = os.path.realpath(root), {os.path.realpath(path) for path in leave}
    found: list[SourceFile] = []
    left_out: list[str] = []
    visited: set[str] = set()
    for place, folders, names in os.walk(root, followlinks=True, onerror=_raise):
        real = os.path.realpath(place)
        if real in visited or real in skipped:  # a link back to a parent folder would otherwise never end
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            _within(Path(place, name), top)
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith(".") or name == MANIFEST_NAME or os.path.realpath(path) in skipped:
                continue
            _within(path, top)
            if path.suffix.lower() in (*_ARCHIVES, *PACK_SUFFIXES):
                left_out.append(path.relative_to(root).as_posix())
                continue
            found.append(_facts(root, path))
    return sorted(found, key=lambda file: (file.name.rpartition("/")[2], file.name)), left_out


def fingerprint(root: Location, leave: Sequence[Path] = ()) -> str:
    """Checksum of what lies at a root: names, sizes and times of change of files, or the index of a pack."""
    if isinstance(root, PackPath):
        return str(root.pack.header["index_sha256"])
    assert isinstance(root, Path)
    return _digest([[file.name, file.size, file.changed] for file in find_files(root, leave)[0]])


class SourceWork:
    """The files of a folder as they are.

    Args:
        files: From `find_files`.
        dataset: Id of the data set.
        version: Its data version.
        source: Where the files lie, for people.
        images: Number of images.
    """

    codec = "source"

    def __init__(self, files: Sequence[SourceFile], *, dataset: str, version: str, source: str, images: int) -> None:
        self.files = list(files)
        self.images = images
        self.original_bytes = sum(file.size for file in files)
        self._facts = {"codec": self.codec, "dataset": dataset, "version": version, "source": source}
        self._ranges = _cut([file.size for file in self.files])
        self.parts = len(self._ranges)

    def plan(self) -> dict[str, Any]:
        """What is packed."""
        files = _digest([[file.name, file.size, file.changed] for file in self.files])
        return {**self._facts, "made_by": f"mtdense {__version__}", "files": files, "parts": self.parts}

    def produce(self, part: int, add: Add) -> None:
        """Adds files.

        Raises:
            DataError: A file cannot be read, or was changed.
        """
        for file in self.files[slice(*self._ranges[part])]:
            size = 0
            try:
                with file.path.open("rb") as stream:
                    while piece := stream.read(_PIECE):
                        add(file.name, piece)
                        size += len(piece)
            except OSError as error:
                raise DataError(f"{file.path} cannot be read ({error})", "Restore it, and start again.") from error
            if size == 0:
                add(file.name, b"")
            if size != file.size:
                raise DataError(f"{file.path} was changed meanwhile ({size} bytes, not {file.size})", "Start again.")

    def catalogue(self, facts: Sequence[Any]) -> None:
        """Source packs have none."""


class RawWork:
    """Images and labels as a data set gives them.

    Args:
        datasets: {split: data set}.
        tasks: Tasks of which labels are packed, where there are any.
        reading: Options with which the data sets read their files.
        dataset: Id of the data set.
        source: Where the data lie, for people.
        sources: `fingerprint` of that.
        original_bytes: Length of all files there.
    """

    codec = "raw"

    def __init__(
        self,
        datasets: Mapping[str, DenseDataset],
        tasks: Sequence[str],
        reading: Mapping[str, Any],
        *,
        dataset: str,
        source: str,
        sources: str,
        original_bytes: int,
    ) -> None:
        self.datasets = dict(datasets)
        self.tasks = list(tasks)
        self.reading = plain_reading(reading)
        self.original_bytes = original_bytes
        self._jobs = [
            (split, start, min(start + _PART_IMAGES, len(data)))
            for split, data in self.datasets.items()
            for start in range(0, len(data), _PART_IMAGES)
        ]
        self.parts = len(self._jobs)
        self.images = sum(len(data) for data in self.datasets.values())
        version = next(iter(self.datasets.values())).version
        self._facts = {"codec": self.codec, "dataset": dataset, "version": version, "source": source}
        self._sources = sources

    def plan(self) -> dict[str, Any]:
        """What is packed."""
        ids = {split: _digest(list(data.ids)) for split, data in self.datasets.items()}
        more = {"reading": self.reading, "tasks": self.tasks, "ids": ids, "files": self._sources, "parts": self.parts}
        return {**self._facts, "made_by": f"mtdense {__version__}", **more}

    def produce(self, part: int, add: Add) -> list[dict[str, Any]]:
        """Adds the arrays of some images; returns their forms."""
        split, start, stop = self._jobs[part]
        return [self._add_image(split, index, add) for index in range(start, stop)]

    def catalogue(self, facts: Sequence[Any]) -> bytes:
        """See `mtdense.data.packed`."""
        forms: list[dict[str, Any]] = []
        places: dict[str, int] = {}
        numbers: dict[str, list[int]] = {split: [] for split in self.datasets}
        for (split, _, _), of_images in zip(self._jobs, facts, strict=True):
            for form in of_images:
                key = json.dumps(form, sort_keys=True)
                if key not in places:
                    places[key] = len(forms)
                    forms.append(form)
                numbers[split].append(places[key])
        splits = {
            split: {
                "ids": list(data.ids),
                "forms": numbers[split],
                "specs": {task: spec for task, spec in data.task_specs().items() if task in self.tasks},
                "derived": sorted(data.derived.intersection(self.tasks)),
            }
            for split, data in self.datasets.items()
        }
        return json.dumps({"reading": self.reading, "forms": forms, "splits": splits}, ensure_ascii=False).encode()

    def _add_image(self, split: str, index: int, add: Add) -> dict[str, Any]:
        data = self.datasets[split]
        wanted = [task for task in self.tasks if task in data.available(index)]
        raw = data.load(index, wanted)
        arrays = _arrays_of(raw, wanted)
        facts = {}
        for name, array in arrays.items():
            stored = compact(array)
            entry = entry_name(split, raw.id, name)
            if not is_entry_name(entry):
                raise DataError(f"the id {raw.id!r} cannot name an entry of a pack", "Rename the image.")
            add(entry, stored.tobytes())
            facts[name] = [array.dtype.name, stored.dtype.name, list(array.shape)]
        eligible = [task for task in wanted if data.eligible(index, task)]
        return {"arrays": facts, "eligible": eligible}


def compact(array: ArrayAny) -> ArrayAny:
    """The array with 8 or 16 bits a value, if `astype` then gives back every bit; else itself."""
    if array.size and array.dtype.kind in "iuf" and array.dtype.itemsize > 1:
        low, high = array.min(), array.max()  # NaN fails the comparison
        for narrow in (np.uint8, np.uint16):
            if low >= 0 and high <= np.iinfo(narrow).max and array.dtype.itemsize > np.dtype(narrow).itemsize:
                small = array.astype(narrow)
                if small.astype(array.dtype).tobytes() == array.tobytes():
                    return small
    return array


def _arrays_of(raw: RawImage, tasks: Sequence[str]) -> dict[str, ArrayAny]:
    unknown = {field.name for field in dataclasses.fields(raw)} - {"id", "image", "labels", "camera", "baseline"}
    if unknown:
        raise DataError(f"raw packs cannot hold {', '.join(sorted(unknown))} of an image", "Use `--codec source`.")
    arrays: dict[str, ArrayAny] = {IMAGE: raw.image, **{task: raw.labels[task] for task in tasks}}
    if raw.camera is not None:
        arrays[CAMERA] = raw.camera
    if raw.baseline is not None:
        arrays[BASELINE] = np.array([raw.baseline], dtype=np.float64)
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            raise DataError(f"{name} of image {raw.id!r} is no array of numbers", "Use `--codec source`.")
    return arrays


def _cut(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Ranges of files of about equal size."""
    ranges, start, held = [], 0, 0
    for number, size in enumerate(sizes):
        held += size
        if held >= _PART_BYTES or number + 1 - start >= _PART_FILES or number + 1 == len(sizes):
            ranges.append((start, number + 1))
            start, held = number + 1, 0
    return ranges


def _facts(root: Path, path: Path) -> SourceFile:
    name = path.relative_to(root).as_posix()
    try:
        facts = path.stat()
        name.encode()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error})", "Restore the file, or take it out.") from error
    except UnicodeEncodeError as error:
        raise DataError(f"{path!r} has a name that is no text", "Rename it.") from error
    if not stat.S_ISREG(facts.st_mode):
        raise DataError(f"{path} is no regular file", "Take it out of the data set's folder.")
    if not is_entry_name(name):
        raise DataError(f"{name!r} in {root} cannot name an entry of a pack", "Rename it.")
    return SourceFile(name, path, facts.st_size, facts.st_mtime_ns)


def _within(path: Path, top: str) -> None:
    if path.is_symlink():
        real = os.path.realpath(path)
        if real != top and not real.startswith(top.rstrip(os.sep) + os.sep):
            raise DataError(
                f"{path} is a link that leads out of the data set's folder (to {real})",
                "Put what it points to in its place, or prepare a copy.",
            )


def _raise(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be read ({error})", "Correct the folder's permissions.") from error


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
