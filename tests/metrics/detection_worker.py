"""What a rank of test_detection_score_ranks does: the score of seven images, of which each rank has its own share."""

from __future__ import annotations

from typing import Any

import numpy as np

from mtdense.geometry import camera_matrix
from mtdense.geometry.boxes import Boxes3D, VehicleCamera, amodal_boxes
from mtdense.metrics import DetectionScore
from mtdense.metrics.functional import BoxPredictions, BoxTargets

IMAGES = 7
CAMERA = VehicleCamera(
    camera_matrix(2000.0, 2000.0, 1000.0, 500.0), np.column_stack([np.eye(3), [-1.7, -0.1, -1.2]]), (1024, 2048)
)


def image(index: int) -> tuple[BoxPredictions, BoxTargets]:
    """Predictions and targets of an image, the same on every rank; the third has neither."""
    rng = np.random.default_rng(index)
    count = 0 if index == 2 else 9
    low, high = [10, -9, 0.5], [80, 9, 1.5]
    truth = Boxes3D(rng.uniform(low, high, (count, 3)), rng.uniform(1, 5, (count, 3)), rng.normal(size=(count, 4)))
    # Each target twice, more or less right.
    noise = np.exp(rng.normal(0, 0.01, (2 * count, 10)))
    twice = np.tile(np.arange(count), 2)
    centers, dimensions = truth.centers[twice] * noise[:, :3], truth.dimensions[twice] * noise[:, 3:6]
    guess = Boxes3D(centers, dimensions, truth.rotations[twice] * noise[:, 6:])
    labels = np.arange(count) % 3
    amodal = amodal_boxes(truth, CAMERA)
    target = BoxTargets(truth, labels, amodal, amodal, np.array([[0.0, 0.0, 600.0, 1000.0]]), CAMERA)
    return BoxPredictions(guess, labels[twice], rng.random(2 * count)), target


def bits(value: Any) -> Any:
    """Figures to the last bit."""
    return {key: bits(part) for key, part in value.items()} if isinstance(value, dict) else float(value).hex()


def results(rank: int, world: int) -> dict[str, Any]:
    groups = [[range(IMAGES)]] if world == 1 else [[range(4, 6), range(6, 7), range(2)], [range(3, 4), range(2, 3)]]
    found = {}
    for matching in ("amodal", "modal"):
        metric = DetectionScore(["car", "truck", "bus"], matching)  # type: ignore[arg-type]
        for group in groups[rank]:
            preds, targets = zip(*map(image, group), strict=True)
            metric.update(preds, targets)
        found[matching] = {"mDS": metric.compute(), **metric.details(), "per_class": metric.per_class()}
    empty = DetectionScore(["car", "truck", "bus"])
    if rank == 0:
        empty.update([image(0)[0]], [image(0)[1]])
    found["one rank has none"] = {"mDS": empty.compute() if world > 1 or rank == 0 else 0.0}
    return {name: bits(value) for name, value in found.items()}
