"""Boxes of own pictures: of any size, with a camera that the user names, into the frame of the vehicle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.data.cityscapes.boxes3d import ImageBoxes, write_boxes3d
from mtdense.data.given_camera import given_camera
from mtdense.data.sample import Batch
from mtdense.models import DenseModule, Outputs
from mtdense.reports.predictor import Predictor
from mtdense.tasks.detection_3d.target import target_of
from tests.tasks.detection_3d.streets import label

KNOWN = label([[21.5, -0.25, 1.25], [30.0, 4.0, 1.0]], [0.3, -2.0], [0, 0])
HEIGHT, WIDTH = KNOWN.camera.size
SIZE = (HEIGHT // 2 + 8, WIDTH // 2)


class Boxes(DenseModule):
    """Says what is in the street of `KNOWN`, wherever the canvas shows it."""

    method = "boxes"
    predicts_levels = True

    def build_network(self) -> nn.Module:
        return nn.Linear(1, 1)

    def run_network(self, batch: Batch) -> Outputs:
        top, left = batch["meta"]["content"][0, :2].tolist()
        self.target = target_of(KNOWN.resized(HEIGHT // 2, WIDTH // 2).padded(top, left, *SIZE))
        torch.testing.assert_close(batch["meta"]["camera"][0], self.target.camera)
        final: dict[str, Any] = {"detection_3d": self.tasks["detection_3d"].ideal_levels([self.target], [(9, 16)])}
        if "depth" in self.tasks:
            final["depth"] = batch["image"][:, :1]
        return Outputs(final)


def boxes(**specs: dict[str, Any]) -> Boxes:
    return Boxes({"detection_3d": {}, **specs}, backbone="tiny", input_size=list(SIZE))


def test_boxes_of_a_picture_with_a_given_camera(tmp_path: Path) -> None:
    """From a picture of twice the size of the camera's images, on a padded canvas, back into the vehicle's frame."""
    write_boxes3d(tmp_path / "a_gtBbox3d.json", ImageBoxes(KNOWN.camera, 0.2, (), ()))
    model = boxes(depth={})
    predict = Predictor(model, camera=given_camera(str(tmp_path / "a_gtBbox3d.json")))
    found = predict(np.full((2 * HEIGHT, 2 * WIDTH, 3), 90, np.uint8))
    assert found.values["depth"].shape == (2 * HEIGHT, 2 * WIDTH)
    there = found.objects["detection_3d"].on_stored()
    np.testing.assert_allclose(there.camera().camera_from_vehicle, KNOWN.camera.camera_from_vehicle, atol=1e-6)
    assert there.view.stored == (2 * HEIGHT, 2 * WIDTH)
    order = np.argsort(there.boxes.centers[:, 2])
    np.testing.assert_allclose(there.boxes.centers[order], model.target.centers.numpy(), atol=1e-3)
    np.testing.assert_allclose(there.modal[order], KNOWN.resized(2 * HEIGHT, 2 * WIDTH).modal, atol=0.1)


def test_what_lacks_a_camera_or_would_be_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"detection_3d of pictures whose camera nobody told") as caught:
        Predictor(boxes(depth={}))
    assert "`--tasks depth`" in (caught.value.mend or "")
    with pytest.raises(ConfigError, match="in tiles: a box may lie in several"):
        Predictor(boxes(), camera=given_camera("500,500,32,20"), tile=2.0)
    with pytest.raises(ConfigError, match="as far as they look at the size of training"):
        Predictor(boxes(), camera=given_camera("500,500,32,20"), size=(64, 64))
    assert list(Predictor(boxes(depth={}), tasks=["depth"]).tasks) == ["depth"]
