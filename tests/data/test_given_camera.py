"""A camera for pictures that come without one: its forms, what it does to boxes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.cityscapes.boxes3d import ImageBoxes, write_boxes3d
from mtdense.data.given_camera import given_camera
from tests.tasks.detection_3d.streets import label

# A camera of Cityscapes as both kinds of files have it; numbers of the data set's own tools.
INTRINSIC = {"fx": 2262.52, "fy": 2265.3017905988554, "u0": 1096.98, "v0": 513.137}
EXTRINSIC = {"baseline": 0.209313, "pitch": 0.038, "roll": 0.0, "x": 1.7, "y": 0.1, "yaw": -0.0195, "z": 1.22}
MOUNT = [
    [0.9990881051503779, -0.01948468779721943, -0.03799085532693703, -1.6501524664770573],
    [0.019498764210995674, 0.9998098810245096, 0, -0.1331288872611436],
    [0.03798363254444427, -0.0007407747301939942, 0.9992780868764849, -1.2836173638418473],
]


def camera_file(path: Path, **changes: Any) -> str:
    path.write_text(json.dumps({"intrinsic": INTRINSIC, "extrinsic": EXTRINSIC, **changes}))
    return str(path)


def test_camera_file_and_box_file_are_one_camera(tmp_path: Path) -> None:
    camera = given_camera(camera_file(tmp_path / "a_camera.json"))
    np.testing.assert_allclose(camera.mount, MOUNT, atol=1e-12)
    matrix = [[2262.52, 0, 1096.98], [0, 2265.3017905988554, 513.137], [0, 0, 1]]
    np.testing.assert_array_equal(camera.matrix_of((1024, 2048), "x.png"), matrix)
    with pytest.raises(DataError, match=r"a_camera\.json looks at \(1096\.98, 513\.137\), which is out of x\.png"):
        camera.matrix_of((512, 1024), "x.png")


def test_numbers() -> None:
    for value in ("100, 90,60,40", (100.0, 90.0, 60.0, 40.0)):
        camera = given_camera(value)
        assert camera.matrix.tolist() == [[100, 0, 60], [0, 90, 40], [0, 0, 1]]
        assert camera.mount.tolist() == np.eye(3, 4).tolist()


@pytest.mark.parametrize(
    "value", ["100,90,60", "0,90,60,40", "a,b,c,d", "100,nan,60,40", "", (100.0, -1.0, 60.0, 40.0)]
)
def test_no_camera(value: Any) -> None:
    with pytest.raises(ConfigError, match="camera is"):
        given_camera(value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        given_camera(str(tmp_path / "none.json"))
    with pytest.raises(DataError, match=r"intrinsic\.fx is 0"):
        given_camera(camera_file(tmp_path / "zero.json", intrinsic={**INTRINSIC, "fx": 0}))
    with pytest.raises(DataError, match=r"extrinsic\.yaw is None"):
        given_camera(camera_file(tmp_path / "lacking.json", extrinsic={"baseline": 0.2}))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        given_camera(str(tmp_path / "broken.json"))


def test_pictures_of_another_aspect(tmp_path: Path) -> None:
    known = label([[21.5, -0.25, 1.25]], [0.3], [0])
    write_boxes3d(tmp_path / "a_gtBbox3d.json", ImageBoxes(known.camera, 0.2, (), ()))
    camera = given_camera(str(tmp_path / "a_gtBbox3d.json"))
    with pytest.raises(DataError, match=r"is of images of \d+ x \d+, and x\.png is 300 x 300"):
        camera.matrix_of((300, 300), "x.png")
