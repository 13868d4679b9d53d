"""NYUD-v2 as its authors publish it: 1449 labelled frames in one file, `nyu_depth_v2_labeled.mat`.

The file is MATLAB 7.3, which is HDF5 with its axes reversed: h5py sees (frames, channels, columns, rows).

* Silberman, Hoiem, Kohli and Fergus. Indoor Segmentation and Support Inference from RGBD Images. ECCV 2012.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.dataset import DenseDataset
from mtdense.data.label_coding import edges_from_semseg
from mtdense.data.nyud import facts
from mtdense.data.nyud.official_file import DOWNLOAD_AGAIN, OfficialFile
from mtdense.data.published import PublishedData
from mtdense.data.sample import RawImage
from mtdense.geometry import crop_camera, normals_from_depth
from mtdense.tasks.base import ArrayAny

__all__ = [
    "NORMALS_RADIUS",
    "OFFICIAL_NAME",
    "PUBLISHED",
    "NYUDOfficialDataset",
    "check_options",
    "frame_id",
    "official_specs",
]

OFFICIAL_NAME = "nyud_official"
"""Id of the data set."""

NORMALS_RADIUS = 9
"""Default window of derived normals: depth of this sensor is noisy.

On frame 433 normals of radius 9 differ from those that a published set derived from the same depth by 2 degrees
(median); radius 5 by 10, radius 3 by 18 and radius 1 by 32. A frame takes 0.4 s on one core, with radius 5 a third.
"""

_TRAIN, _TEST = len(facts.TRAIN_FRAMES), len(facts.TEST_FRAMES)
_TASKS = ("semseg", "normals", "edges", "depth")

PUBLISHED = PublishedData(
    name=OFFICIAL_NAME,
    counts={"train": _TRAIN, "test": _TEST},
    labels={"train": dict.fromkeys(_TASKS, _TRAIN), "test": dict.fromkeys(_TASKS, _TEST)},
    where="nyu_depth_v2_labeled.mat (2.8 GB), on the page of the NYU Depth Dataset V2: "
    "https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html",
)
"""What the file holds; normals and edges are derived from it."""

_DEPTH_KEYS = {"inpainted": "depths", "raw": "rawDepths"}


def frame_id(frame: int) -> str:
    """Id of a frame by its official number, which begins at 1: "nyu_0001"."""
    return f"nyu_{frame:04d}"


def official_specs(classes: int, derive_normals: bool) -> dict[str, dict[str, Any]]:
    """Specifications for `build_tasks` of what the file labels, and of normals where they are derived.

    Raises:
        ConfigError: `classes` is neither 13 nor 40.
    """
    names = facts.class_names(classes)
    specs: dict[str, dict[str, Any]] = {
        "semseg": {"num_classes": len(names), "class_names": list(names)},
        "normals": {},
        "edges": {"max_dist": 0.011, "target_kind": "labels"},
        "depth": {"unit": "metres"},
    }
    if not derive_normals:
        del specs["normals"]
    return specs


class NYUDOfficialDataset(DenseDataset):
    """A split of the official file, or of a replica of it.

    Classes: 894 labels become 40 or 13 classes, void 255. Edges: borders between instances, where the right or the
    lower neighbour has another label or instance number; void pixels and those beside them are 255. Depth: metres, -1
    where there is none. Normals are not in the file; they can be derived from depth. Crops are cut after labels were
    derived.

    Args:
        root: Folder of `nyu_depth_v2_labeled.mat`.
        split: "train" (795 frames) or "test" (654).
        classes: 13 or 40.
        depth_source: "inpainted" (`depths`, every pixel has a value) or "raw" (`rawDepths`, projected from the sensor,
            with holes).
        derive_normals: Also label normals, computed from the depth chosen.
        normals_radius: Window of derived normals, see `normals_from_depth`.
        crop: "full", or "valid": rows 44 to 470 and columns 40 to 600, beyond which depth is extrapolated. In a replica
            of another size the same share of the frame.

    Raises:
        ConfigError: An option is none of these.
        DataError: The file is missing, damaged, or of another layout.
    """

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "test"],
        *,
        classes: Literal[13, 40] = 13,
        depth_source: Literal["inpainted", "raw"] = "inpainted",
        derive_normals: bool = False,
        normals_radius: int = NORMALS_RADIUS,
        crop: Literal["full", "valid"] = "full",
    ) -> None:
        _check_choice("split", split, ("train", "test"))
        check_options(depth_source, crop, normals_radius)
        self._specs = official_specs(classes, derive_normals)
        self._depth_key = _DEPTH_KEYS[depth_source]
        self.normals_radius = normals_radius
        self.derived = frozenset({"edges", "normals"} & self._specs.keys())
        self.file = OfficialFile(Path(root).expanduser(), self._depth_key)
        self.ids = [frame_id(frame) for frame in self.file.splits[split]]
        self._frame_of = dict(zip(self.ids, self.file.splits[split], strict=True))
        self._class_of_label = facts.class_of_label(classes)
        self._window = _window(self.file.size, crop)
        if not self.ids:
            raise DataError(f"{self.file.path} has no {split} frames", "Write a replica that has some.")
        # Options that change labels stand in the name; what is derived beside them does not change the others.
        parts = {
            "replica": self.file.replica,
            OFFICIAL_NAME: True,
            str(classes): True,
            "raw": depth_source == "raw",
            "valid": crop == "valid",
            f"normals{normals_radius}": derive_normals and normals_radius != NORMALS_RADIUS,
            self.file.fingerprint: True,
        }
        self.version = "-".join(part for part, present in parts.items() if present)

    def task_specs(self) -> dict[str, dict[str, Any]]:
        """Classes, edges, depth in metres, and normals where they are derived."""
        return {task: dict(spec) for task, spec in self._specs.items()}

    def available(self, index: int) -> frozenset[str]:
        """All of them: every frame is labelled for every task."""
        return frozenset(self._specs)

    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        """Reads one frame, and of the labels those that are asked for.

        Raises:
            DataError: The frame cannot be read, or a label is out of range.
        """
        frame = self._frame_of[self.ids[index]]
        camera = self.file.camera(frame)
        stored: dict[str, ArrayAny] = {}

        def read(key: str) -> ArrayAny:
            if key not in stored:
                # The transpose of (3, W, H) is (H, W, 3). What follows is much slower on reversed memory.
                stored[key] = np.ascontiguousarray(self.file.read(key, frame).T)
            return stored[key]

        def depth() -> ArrayAny:
            metres = read(self._depth_key).astype(np.float32)
            return np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(-1))

        makers: dict[str, Callable[[], ArrayAny]] = {
            "semseg": lambda: self._class_of_label[self._checked(read("labels"), frame)],
            "edges": lambda: _instance_edges(self._checked(read("labels"), frame), read("instances")),
            "depth": depth,
            "normals": lambda: normals_from_depth(depth(), camera, radius=self.normals_radius),
        }
        missing = [task for task in tasks if task not in self._specs]
        if missing:
            raise DataError(f"{self.file.path} has no {', '.join(missing)} labels", "Ask for others, or derive them.")
        rows, columns = self._window

        def cut(array: ArrayAny) -> ArrayAny:
            return np.ascontiguousarray(array[rows, columns])

        labels = {task: cut(makers[task]()) for task in tasks}
        return RawImage(self.ids[index], cut(read("images")), labels, crop_camera(camera, rows.start, columns.start))

    def _checked(self, labels: ArrayAny, frame: int) -> ArrayAny:
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high > facts.LABELS:
            raise DataError(
                f"{self.file.path}: frame {frame} has the label {low if low < 0 else high}; labels go from 0 to "
                f"{facts.LABELS}",
                DOWNLOAD_AGAIN,
            )
        return labels


def _instance_edges(labels: ArrayAny, instances: ArrayAny) -> npt.NDArray[np.float32]:
    # The shift by 6 that the literature uses holds 63 instances per label; 16 bits hold all that the file can.
    ids = (labels.astype(np.int64) << 16) + instances.astype(np.int64)
    return edges_from_semseg(np.where(labels == 0, 0, ids), ignore=0)


def _window(size: tuple[int, int], crop: str) -> tuple[slice, slice]:
    if crop == "full":
        return slice(0, size[0]), slice(0, size[1])
    spans = zip((facts.VALID_ROWS, facts.VALID_COLUMNS), size, facts.SIZE, strict=True)
    rows, columns = (slice(*(round(end * length / whole) for end in span)) for span, length, whole in spans)
    return rows, columns


def check_options(depth_source: str, crop: str, normals_radius: int) -> None:
    """Checks options of `NYUDOfficialDataset`.

    Raises:
        ConfigError: One of them has no such value.
    """
    _check_choice("depth_source", depth_source, tuple(_DEPTH_KEYS))
    _check_choice("crop", crop, ("full", "valid"))
    if normals_radius < 1:
        raise ConfigError(f"`normals_radius` is {normals_radius}", "Give 1 or more.")


def _check_choice(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"`{option}` is {value!r}", f"Use {' or '.join(allowed)}.")
