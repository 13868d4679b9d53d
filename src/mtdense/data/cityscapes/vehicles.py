"""Cityscapes 3D: the images of Cityscapes with 3-D boxes of vehicles; see `boxes3d` for the files.

* Gählert et al. Cityscapes 3D: Dataset and Benchmark for 9 DoF Vehicle Detection. CVPR Workshops 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mtdense.data.cityscapes.boxes3d import BOXES, WHERE_BOXES, ImageBoxes, boxes_of, read_boxes3d
from mtdense.data.cityscapes.official import LABEL_KINDS, CityscapesDataset, cityscapes_specs
from mtdense.data.cityscapes.official_files import WHERE, FileKind, StreetCamera
from mtdense.data.cityscapes.protocols import DepthProtocol
from mtdense.data.location import Location
from mtdense.data.published import PublishedData
from mtdense.geometry.boxes import xyxy_from_xywh
from mtdense.tasks.base import ArrayAny
from mtdense.tasks.detection_3d.label import UNKNOWN, VEHICLES, BoxLabel

__all__ = ["CITYSCAPES_3D_NAME", "PUBLISHED", "Cityscapes3DDataset", "box_label", "cityscapes_3d_specs"]

CITYSCAPES_3D_NAME = "cityscapes_3d"
"""Id of the data set."""

_TASK = "detection_3d"
_KINDS: Mapping[str, FileKind] = {**LABEL_KINDS, _TASK: BOXES}

PUBLISHED = PublishedData(
    name=CITYSCAPES_3D_NAME,
    counts={"train": 2975, "test": 500},
    labels={"train": dict.fromkeys(_KINDS, 2975), "test": dict.fromkeys(_KINDS, 500)},
    where=f"{WHERE} {WHERE_BOXES}",
)
"""What the archives hold."""


def cityscapes_3d_specs(protocol: DepthProtocol) -> dict[str, dict[str, Any]]:
    """Those of Cityscapes, and the six vehicles."""
    return {**cityscapes_specs(protocol), _TASK: {"class_names": list(VEHICLES)}}


def box_label(image: ImageBoxes) -> BoxLabel:
    """The label of an image: vehicles that are trained and scored, and regions to ignore.

    Caravans and trailers are neither, as in the official evaluation.
    """
    vehicles = image.evaluated
    none = int(UNKNOWN)

    def shares(name: str) -> ArrayAny:
        told = [getattr(vehicle, name) for vehicle in vehicles]
        return np.array([UNKNOWN if share is None else share for share in told], dtype=np.float64)

    return BoxLabel(
        image.camera,
        boxes_of(vehicles),
        np.array([vehicle.class_id for vehicle in vehicles], dtype=np.int64),
        xyxy_from_xywh(_rows([vehicle.amodal for vehicle in vehicles])),
        xyxy_from_xywh(_rows([vehicle.modal for vehicle in vehicles])),
        shares("occlusion"),
        shares("truncation"),
        np.array([none if v.instance_id is None else v.instance_id for v in vehicles], dtype=np.int64),
        xyxy_from_xywh(_rows([region.box for region in image.ignore])),
        np.array([region.instance_id for region in image.ignore], dtype=np.int64),
    )


class Cityscapes3DDataset(CityscapesDataset):
    """The images of a split, sorted by id; see `CityscapesDataset` for ids, cameras and depth.

    An image without vehicles has a label of `detection_3d` that says so; a random label mask gives it to none such, as
    there is nothing to learn from one.

    Args:
        root: Folder, or pack of source files, with the folders of Cityscapes and `gtBbox3d/`.
        split: "train", or "test" (the folder `val`).
        tasks: Tasks of which all images must have labels; None: all. Labels of others are offered where they exist.
        protocol: Name of what depth means, see `protocols`.

    Raises:
        ConfigError: Unknown split, task or protocol.
        DataError: A folder or a file is missing or misnamed, or an image is in both splits.
    """

    name: ClassVar[str] = CITYSCAPES_3D_NAME
    label_kinds: ClassVar[Mapping[str, FileKind]] = _KINDS
    where: ClassVar[str] = PUBLISHED.where

    def __init__(
        self, root: Location, split: str, *, tasks: Sequence[str] | None = None, protocol: str = "disparity"
    ) -> None:
        super().__init__(root, split, tasks=tasks, protocol=protocol)
        self._counts: dict[str, int] = {}

    def all_specs(self) -> dict[str, dict[str, Any]]:
        """Those of Cityscapes, and the six vehicles."""
        return cityscapes_3d_specs(self.protocol)

    def vehicles(self, image_id: str) -> int:
        """Number of vehicles of an image that are trained and scored; its file of boxes is read once for that.

        Raises:
            DataError: The file is missing or damaged.
        """
        if image_id not in self._counts:
            self._counts[image_id] = len(read_boxes3d(self._files[BOXES][image_id]).evaluated)
        return self._counts[image_id]

    def eligible(self, index: int, task: str) -> bool:
        """Whether the label is there and, of boxes, has one."""
        there = super().eligible(index, task)
        return there and (task != _TASK or self.vehicles(self.ids[index]) > 0)

    def _decode(self, task: str, path: Location, label_ids: ArrayAny | None, camera: StreetCamera | None) -> ArrayAny:
        if task == _TASK:
            return box_label(read_boxes3d(path)).table()
        return super()._decode(task, path, label_ids, camera)


def _rows(boxes: Sequence[Sequence[float]]) -> ArrayAny:
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)
