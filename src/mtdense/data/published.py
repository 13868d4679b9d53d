"""What data sets in files share: facts as published, checks of folders and sizes, marks of replicas, fingerprints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.io import read_bytes
from mtdense.data.label_coding import parse_axes
from mtdense.data.location import Location, PackPath
from mtdense.data.procedural import PROCEDURAL_VERSION
from mtdense.tasks.base import ArrayAny

__all__ = [
    "MANIFEST_NAME",
    "REPLICA_FILE",
    "PublishedData",
    "check_folders",
    "check_label_size",
    "encode_normals",
    "few",
    "files_version",
    "prepare_replica",
    "read_list",
    "replica_facts",
    "replica_mark",
    "write_replica_mark",
]

MANIFEST_NAME = "mtdense-manifest.json"
"""Name of the file in which `mtdense data check --full` keeps checksums of a data set's files."""

REPLICA_FILE = "replica.json"
"""Name of the file that marks a folder as a replica: procedural scenes in a data set's official layout."""

_LARGEST_MARK = 65_536


@dataclass(frozen=True)
class PublishedData:
    """What a data set is known to hold in full; `mtdense data check` compares with it.

    Making one registers it, so that a data set's file only needs a constant.

    Args:
        name: Id of the data set, the `name` of its data module.
        counts: {split: number of images}.
        labels: {split: {task: number of images with a label; None where nobody published it}}.
        where: One or two sentences: which archive, who published it and where.

    Raises:
        ConfigError: Labels of a split that has no count, more labels than images, or another data set of that name.
    """

    registered: ClassVar[dict[str, PublishedData]] = {}
    """All that were made so far, by name."""

    name: str
    counts: Mapping[str, int]
    labels: Mapping[str, Mapping[str, int | None]]
    where: str

    def __post_init__(self) -> None:
        for split, tasks in self.labels.items():
            if max((number or 0 for number in tasks.values()), default=0) > self.counts.get(split, -1):
                raise ConfigError(f"{self.name}: more labels than images in {split!r}", "Correct the published counts.")
        if self.registered.setdefault(self.name, self) != self:
            raise ConfigError(f"two data sets are published as {self.name!r}", "Give each a name of its own.")


def check_folders(root: Location, folders: Sequence[str], published: str) -> None:
    """Checks that a data set and the folders needed of it are there.

    Args:
        root: Folder of the data set.
        folders: Folders in it.
        published: Where people get the data, for the error.

    Raises:
        DataError: One of them is missing; says so where they are one folder further down.
    """
    if isinstance(root, PackPath) and root.pack.codec == "raw":
        raise DataError(
            f"{root.pack.path} is a raw pack, and files are needed here", "Prepare it with `--codec source`."
        )
    if not root.is_dir():
        raise DataError(f"no such folder: {root}", f"Correct `data.root`, or put the data there. {published}")
    missing = [folder for folder in folders if not (root / folder).is_dir()]
    if missing:
        inner = [path for path in sorted(root.iterdir()) if all((path / folder).is_dir() for folder in folders)]
        mend = f"Set `data.root` to {inner[0]}." if inner else f"Unpack the whole data set there. {published}"
        raise DataError(f"no such folder: {root / missing[0]}", mend)


def few(names: Sequence[str], limit: int = 5) -> str:
    """The first few of some names, and how many more there are: "a, b and 3 more"."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def check_label_size(image: ArrayAny, image_path: Location, label: ArrayAny, label_path: Location) -> None:
    """Checks that a label has the height and width of its image.

    Raises:
        DataError: It has not.
    """
    if label.shape[:2] != image.shape[:2]:
        raise DataError(
            f"{image_path} has {image.shape[0]}x{image.shape[1]} pixels, its label {label_path} "
            f"{label.shape[0]}x{label.shape[1]}",
            "Copy both from one version of the data set.",
        )


def encode_normals(normals: npt.NDArray[np.float32], axes: str) -> npt.NDArray[np.float32]:
    """Normals (H, W, 3) in camera axes to the channels that `normals_axes` describes; see `LabelCoding`."""
    stored = np.empty_like(normals)
    for channel, (axis, sign) in enumerate(parse_axes(axes)):
        stored[..., channel] = sign * normals[..., axis]
    return stored + np.float32(0)  # makes a zero of a negative zero


def replica_facts(*, seed: int, size: Sequence[int], scenes: Mapping[str, int], **more: Any) -> dict[str, Any]:
    """What the mark of a replica says.

    Args:
        seed: World of the scenes.
        size: Height and width of the images.
        scenes: {split: number of scenes}.
        **more: Further plain values, such as the variant of a layout.
    """
    facts = {"renderer": PROCEDURAL_VERSION, "seed": int(seed), "size": [int(length) for length in size]}
    return {**facts, "scenes": {split: int(number) for split, number in scenes.items()}, **more}


def replica_mark(root: Location) -> dict[str, Any] | None:
    """What the mark in a folder says; None where there is none, as in genuine data.

    Raises:
        DataError: There is a mark that cannot be read.
    """
    path = root / REPLICA_FILE
    try:
        mark = json.loads(read_bytes(path, _LARGEST_MARK))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"the mark of a replica {path} cannot be read ({error})", "Write the replica anew.") from error
    if not isinstance(mark, dict):
        raise DataError(f"{path} is no mark of a replica", "Write the replica anew, or remove the file.")
    return mark


def write_replica_mark(root: Path, *, seed: int, size: Sequence[int], scenes: Mapping[str, int], **more: Any) -> None:
    """Marks a folder as a replica, see `replica_facts`; the folder is made."""
    root.mkdir(parents=True, exist_ok=True)
    facts = replica_facts(seed=seed, size=size, scenes=scenes, **more)
    (root / REPLICA_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def prepare_replica(root: Path, *, seed: int, size: Sequence[int], scenes: Mapping[str, int], **more: Any) -> None:
    """Makes and marks the folder that a replica is to be written to.

    Nothing is ever deleted. The mark comes first, so that a replica whose writing was broken off can be written again.

    Raises:
        ConfigError: Fewer than one scene in every split, or a negative number.
        DataError: The folder holds something else, or a replica of other scenes.
    """
    if min(scenes.values()) < 0 or sum(scenes.values()) < 1:
        raise ConfigError(f"a replica of {dict(scenes)} scenes", "Ask for at least one scene, and none below 0.")
    if root.exists() and not root.is_dir():
        raise DataError(f"{root} is a file, not a folder", "Choose another folder for the replica.")
    mark = replica_mark(root)
    if mark is None and root.is_dir() and any(root.iterdir()):
        raise DataError(f"{root} is not empty and holds no replica", "Choose a new or empty folder for the replica.")
    facts = replica_facts(seed=seed, size=size, scenes=scenes, **more)
    if mark is not None and mark != facts:
        raise DataError(
            f"{root} holds a replica of other scenes ({json.dumps(mark)})", "Delete it first, or choose another folder."
        )
    write_replica_mark(root, seed=seed, size=size, scenes=scenes, **more)


def files_version(name: str, files: Iterable[Location], root: Location) -> str:
    """Name of a data version: a fingerprint of the names and sizes of its files, in any order.

    Args:
        name: Id of the data set.
        files: Files below `root`.
        root: Folder of the data set; "replica-" stands in front where it is marked as one.

    Raises:
        DataError: A file is missing.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(files):
            digest.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\n".encode())
    except OSError as error:
        raise DataError(f"a file of {root} cannot be found ({error})", "Restore it.") from error
    return f"{'' if replica_mark(root) is None else 'replica-'}{name}-{digest.hexdigest()[:16]}"


def read_list(path: Location, where: str) -> dict[str, int]:
    """Reads a list: {id: number of its line}, in order.

    Args:
        path: The list.
        where: Where people get it, for the error.

    Raises:
        DataError: Missing, unreadable, empty, or an image is named twice.
    """
    try:
        lines = read_bytes(path).decode("utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"the list {path} is missing", f"Copy it from the archive. {where}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"the list {path} cannot be read ({error})", f"Copy it again. {where}") from error
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        image_id = line.strip()
        if image_id in found:
            raise DataError(f"{path} names {image_id!r} twice, in lines {found[image_id]} and {number}", "Keep one.")
        if image_id:
            found[image_id] = number
    if not found:
        raise DataError(f"the list {path} is empty", f"Copy it again. {where}")
    return found
