"""Raw packs: images and labels as a data set gave them, decoded, ready to be copied into memory.

Entries are `<split>/<id>/<array>`: `image`, a task's name, `camera` or `baseline`; values in row-major order, so the
rows of a crop are one range of bytes. A label of whole numbers is stored with 8 or 16 bits where that loses nothing.
The catalogue says what there is:

```
{"reading": {option: value},                                    how the files were read
 "forms": [{"arrays": {name: [dtype, stored dtype, shape]}, "eligible": [task, ...]}, ...],
 "splits": {split: {"ids": [...], "forms": [number of a form, ...], "specs": {task: spec}, "derived": [...]}}}
```
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.dataset import DenseDataset
from mtdense.data.io import MAX_PIXELS
from mtdense.data.location import Location, PackPath
from mtdense.data.pack import Pack
from mtdense.data.sample import RawImage
from mtdense.tasks.base import ArrayAny

__all__ = ["BASELINE", "CAMERA", "IMAGE", "PackedDataset", "entry_name", "open_dataset", "plain_reading"]

IMAGE = "image"
"""Name of an image's own array."""

CAMERA = "camera"
BASELINE = "baseline"
"""Name of the array of its intrinsics."""

_DTYPES = ("bool", "uint8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64")
_DAMAGED = (LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError)


def entry_name(split: str, image_id: str, array: str) -> str:
    """Name of the entry that holds an array."""
    return f"{split}/{image_id}/{array}"


def plain_reading(reading: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON gives them back: tuples become lists, and what is no plain value (a path) becomes text."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(reading), default=str))
    return plain


def open_dataset(
    files: Callable[..., DenseDataset],
    root: Location,
    split: str,
    *,
    name: str,
    tasks: Sequence[str],
    reading: Mapping[str, Any],
) -> DenseDataset:
    """Opens a split wherever it lies: in a folder, a pack of source files, or a raw pack.

    Args:
        files: Reads the data set's files: called with root, split, `tasks` and the options of `reading`.
        root: Folder or pack.
        split: For example "train".
        name: Id of the data set.
        tasks: Tasks of which all images must have labels.
        reading: Options of `files`, as plain values; a raw pack must have been made with the same.

    Raises:
        ConfigError: A raw pack was made with other options.
        DataError: As `files` raises, a damaged pack, or one of another data set.
    """
    if isinstance(root, PackPath):
        header = root.pack.header
        if header["dataset"] != name:
            raise DataError(f"{root.pack.path} is a pack of {header['dataset']}, not of {name}", "Choose another pack.")
        if header["codec"] == "raw":
            return PackedDataset(root.pack, split, tasks=tasks, reading=reading)
    return files(root, split, tasks=tasks, **reading)


@dataclass(frozen=True)
class _Array:
    """How an array is stored."""

    dtype: np.dtype[Any]
    stored: np.dtype[Any]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, name: str, facts: Any) -> _Array:
        """Checked facts of the catalogue."""
        dtype, stored, shape = facts
        if dtype not in _DTYPES or stored not in _DTYPES:
            raise ValueError(f"{name} is of type {dtype!r} ({stored!r})")
        lengths = tuple(int(length) for length in shape)
        wanted = {
            IMAGE: len(lengths) == 3 and lengths[2] == 3 and dtype == "uint8",
            CAMERA: lengths == (3, 3),
            BASELINE: lengths == (1,),
        }
        if not wanted.get(name, bool(lengths)) or min(lengths) < 0 or np.prod(lengths[:2], dtype=float) > MAX_PIXELS:
            raise ValueError(f"{name} has shape {lengths} of {dtype!r}")
        return cls(np.dtype(dtype), np.dtype(stored), lengths)

    @property
    def size(self) -> int:
        """Stored bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.stored.itemsize


class PackedDataset(DenseDataset):
    """The images of a split in a raw pack; ids, version, labels and arrays are those of the files, bit for bit.

    Args:
        pack: The raw pack.
        split: For example "train".
        tasks: Tasks of which all images must have labels; None: none need be there. Others are offered where they are.
        reading: The options of reading that the pack must have been made with; None: whatever they were.

    Raises:
        ConfigError: The pack was made with other options, or has no such split.
        DataError: It is damaged, holds source files, or lacks labels.
    """

    def __init__(
        self,
        pack: Pack,
        split: str,
        *,
        tasks: Sequence[str] | None = None,
        reading: Mapping[str, Any] | None = None,
    ) -> None:
        self.pack = pack
        self.split = split
        self.version = str(pack.header["version"])
        try:
            catalogue = json.loads(pack.catalogue)
            self._check_reading(catalogue["reading"], reading)
            if split not in catalogue["splits"]:
                raise ConfigError(
                    f"{pack.path} has no split {split!r}", f"It has: {', '.join(catalogue['splits']) or 'none'}."
                )
            content = catalogue["splits"][split]
            self.ids: list[str] = list(content["ids"])
            self.derived = frozenset(content["derived"])
            self._specs: dict[str, dict[str, Any]] = dict(content["specs"])
            self._arrays = [
                {name: _Array.of(name, facts) for name, facts in form["arrays"].items()} for form in catalogue["forms"]
            ]
            self._eligible = [frozenset(form["eligible"]) for form in catalogue["forms"]]
            self._labelled = [frozenset(arrays) - {IMAGE, CAMERA, BASELINE} for arrays in self._arrays]
            self._forms: list[int] = list(content["forms"])
            self._check_entries()
        except _DAMAGED as error:
            detail = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"the catalogue of {pack.path} makes no sense ({detail})", "Prepare it anew.") from error
        self._require(tasks or ())

    def task_specs(self) -> dict[str, dict[str, Any]]:
        """Specifications of the tasks that there are labels of."""
        return copy.deepcopy(self._specs)

    def available(self, index: int) -> frozenset[str]:
        """Tasks with a stored label."""
        return self._labelled[self._forms[index]]

    def eligible(self, index: int, task: str) -> bool:
        """As the files' data set said."""
        return task in self._eligible[self._forms[index]]

    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        """Reads one image and the labels asked for, and nothing else.

        Raises:
            DataError: A label that is not there, payload damage, or a pack that was changed.
        """
        image_id, arrays = self.ids[index], self._arrays[self._forms[index]]
        for task in tasks:
            if task not in self.available(index):
                raise DataError(
                    f"image {image_id!r} of {self.pack.path} has no {task} label", "Take the task out of `tasks`."
                )
        names = [IMAGE, *tasks, *(name for name in (CAMERA, BASELINE) if name in arrays)]
        found = {name: np.empty(arrays[name].shape, dtype=arrays[name].stored) for name in names}
        self.pack.read_into([(entry_name(self.split, image_id, name), _bytes_of(found[name])) for name in names])
        labels: dict[str, ArrayAny] = {t: found[t].astype(arrays[t].dtype, copy=False) for t in tasks}
        baseline = float(found[BASELINE][0]) if BASELINE in found else None
        return RawImage(image_id, found[IMAGE], labels, found.get(CAMERA), baseline)

    # ---- checks -----------------------------------------------------------------------------------------------------
    def _check_reading(self, stored: Any, wanted: Mapping[str, Any] | None) -> None:
        if wanted is None:
            return
        plain = plain_reading(wanted)
        different = sorted(key for key in {*stored, *plain} if stored.get(key) != plain.get(key))
        if different:
            told = ", ".join(f"{key} {stored.get(key)!r}, not {plain.get(key)!r}" for key in different)
            raise ConfigError(
                f"the raw pack {self.pack.path} was made with {told}",
                "Use these options, prepare a pack with yours, or a source pack, which serves all.",
            )

    def _check_entries(self) -> None:
        if len(self.ids) != len(self._forms) or len(set(self.ids)) != len(self.ids):
            raise ValueError("its lists of images differ")
        for image_id, form in zip(self.ids, self._forms, strict=True):
            if not 0 <= form < len(self._arrays):
                raise ValueError(f"image {image_id!r} is of unknown form {form!r}")
            for name, array in self._arrays[form].items():
                entry = self.pack.entries.get(entry_name(self.split, image_id, name))
                if entry is None or entry.size != array.size:
                    raise ValueError(f"{name} of image {image_id!r} is not there, or of another size")
            if IMAGE not in self._arrays[form]:
                raise ValueError(f"image {image_id!r} has labels alone")

    def _require(self, tasks: Sequence[str]) -> None:
        for index, image_id in enumerate(self.ids):
            lacking = [task for task in tasks if task not in self.available(index)]
            if lacking:
                raise DataError(
                    f"image {image_id!r} of {self.pack.path} has no {lacking[0]} label",
                    "Take the task out of `tasks`, or prepare a pack with it.",
                )


def _bytes_of(array: ArrayAny) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
