"""Labels of vehicles made by hand, batches of them, and outputs of no network, for tests of 3-D detection."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mtdense.geometry import camera_matrix
from mtdense.geometry.boxes import Boxes3D, VehicleCamera, amodal_boxes
from mtdense.tasks import Detection3D
from mtdense.tasks.detection_3d import BoxLabel, CanvasBoxes
from mtdense.tasks.detection_3d.target import target_of

MOUNT = np.array([[1.0, 0.0, 0.0, -1.5], [0.0, 1.0, 0.0, 0.25], [0.0, 0.0, 1.0, -1.25]])


def camera(size: tuple[int, int] = (128, 256)) -> VehicleCamera:
    height, width = size
    return VehicleCamera(camera_matrix(height, height, width / 2 - 0.5, height / 2 - 0.5), MOUNT, size)


def label(centers: Any, yaws: Any, classes: Any = None, dimensions: Any = (4.0, 1.8, 1.5)) -> BoxLabel:
    """Vehicles that are seen whole."""
    count = len(centers)
    half = np.asarray(yaws, dtype=float).reshape(count) / 2
    turns = np.stack([np.cos(half), 0 * half, 0 * half, np.sin(half)], axis=1)
    boxes = Boxes3D(np.asarray(centers, dtype=float).reshape(count, 3), np.tile(dimensions, (count, 1)), turns)
    around = amodal_boxes(boxes, camera())
    unknown = np.full(count, -1.0)
    ids = np.arange(count) % 6 if classes is None else np.asarray(classes)
    none = np.zeros((0, 4)), np.zeros(0, np.int64)
    return BoxLabel(camera(), boxes, ids, around, around, unknown, unknown, np.arange(count), *none)


def street() -> CanvasBoxes:
    centers = [[12.0, 2.0, 0.7], [30.0, -6.0, 0.7], [55.0, 9.0, 0.7], [20.0, -4.0, 0.7], [41.0, 3.0, 0.7]]
    return target_of(label(centers, [0.0, 3.0, 1.6, -1.5, -3.1], [0, 0, 1, 2, 1]))


SIZES = [(16, 32), (8, 16), (4, 8), (2, 4), (1, 2)]


def batch_of(targets: list[CanvasBoxes], labelled: list[bool] | None = None) -> dict[str, Any]:
    count, (height, width) = len(targets), targets[0].size
    whole = torch.tensor([[0, 0, height, width]] * count)
    return {
        "image": torch.zeros(count, 3, height, width),
        "targets": {"detection_3d": targets},
        "labelled": {"detection_3d": torch.tensor(labelled or [True] * count)},
        "id": [f"image{i}" for i in range(count)],
        "meta": {
            "camera": torch.stack([one.camera for one in targets]),
            "content": whole,
            "window": whole.float(),
            "original_size": whole[:, 2:],
            "flip": torch.zeros(count, dtype=torch.bool),
        },
    }


def noise(task: Detection3D, images: int, seed: int = 0, scale: float = 0.3) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(images, task.num_outputs, *size, generator=generator) * scale for size in SIZES)
