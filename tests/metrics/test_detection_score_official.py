"""The detection score of random files is that of the official evaluation, where that is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtdense.data.cityscapes.boxes3d import (
    EVALUATED_LABELS,
    IgnoreRegion,
    ImageBoxes,
    VehicleBox,
    boxes_of,
    write_boxes3d,
    write_detections,
)
from mtdense.geometry import camera_matrix
from mtdense.geometry.boxes import VehicleCamera, amodal_boxes, xywh_from_xyxy
from mtdense.geometry.quaternions import matrix_from_quaternion, multiply, normalise
from mtdense.reports.score_detection3d import score_detection3d

MODULE = "cityscapesscripts.evaluation.evalObjectDetection3d"
NAMES = {
    "DS": "Detection_Score",
    "AP": "AP",
    "center_distance": "Center_Dist",
    "size_similarity": "Size_Similarity",
    "yaw": "OS_Yaw",
    "pitch_roll": "OS_Pitch_Roll",
}
SIZES = [(4.3, 1.8, 1.5), (8.0, 2.5, 3.2), (12.0, 2.6, 3.1), (30.0, 2.8, 3.5), (2.1, 0.8, 1.3), (1.7, 0.5, 1.1)]


def vehicle(rng: np.random.Generator, camera: VehicleCamera, label: int, near: float) -> VehicleBox:
    """A vehicle ahead, rarely around or far away, of which a part is seen."""
    ahead = rng.uniform(-20, 130) if rng.random() < 0.1 else rng.uniform(near, 95)
    center = (float(ahead), float(rng.uniform(-0.3, 0.3) * ahead), float(rng.uniform(0.3, 1.8)))
    dimensions = tuple(float(side * rng.uniform(0.8, 1.2)) for side in SIZES[label])
    yaw = rng.uniform(-np.pi, np.pi)
    rotation = multiply([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)], normalise([1, *rng.normal(0, 0.02, 3)]))
    box = VehicleBox(EVALUATED_LABELS[label], center, dimensions, tuple(rotation.tolist()), (0,) * 4, (0,) * 4)
    return seen(rng, camera, box)


def seen(rng: np.random.Generator, camera: VehicleCamera, box: VehicleBox, **changes: Any) -> VehicleBox:
    """The vehicle with other values, and 2-D boxes that follow from these."""
    box = VehicleBox(**{**vars(box), **changes})
    x, y, w, h = xywh_from_xyxy(amodal_boxes(boxes_of([box]), camera))[0].round(int(rng.integers(0, 4))).tolist()
    w, h = max(w, 0.0), max(h, 0.0)
    share = 1.0 if rng.random() < 0.6 else float(rng.uniform(0.4, 1.0))
    return VehicleBox(**{**vars(box), "amodal": (x, y, w, h), "modal": (x, y, round(w * share, 2), h)})


def detections(
    rng: np.random.Generator, camera: VehicleCamera, objects: list[VehicleBox], count: int, near: float
) -> list[VehicleBox]:
    """Vehicles about right, doubled, of another class or nowhere near; scores often lie on a threshold."""
    found = []
    for i in range(count):
        score = float(rng.random())
        score = round(score, 2) if rng.random() < 0.5 else score
        if objects and rng.random() < 0.8:
            box = objects[i % len(objects)]
            spread = float(rng.choice([0.0, 0.002, 0.01, 0.05]))
            center = tuple(float(c * rng.normal(1, spread)) for c in box.center)
            dimensions = tuple(float(d * np.exp(rng.normal(0, spread))) for d in box.dimensions)
            rotation = tuple(normalise(np.array(box.rotation) + rng.normal(0, spread, 4)).tolist())
            label = box.label if rng.random() < 0.9 else EVALUATED_LABELS[int(rng.integers(6))]
            moved = {"center": center, "dimensions": dimensions, "rotation": rotation, "label": label}
            found.append(seen(rng, camera, box, **moved, score=score, instance_id=None))
        else:
            found.append(seen(rng, camera, vehicle(rng, camera, int(rng.integers(6)), near), score=score))
    return found


def write_random(root: Path, seed: int, images: int, boxes: int, predictions: int, classes: int = 6) -> None:
    """Writes ROOT/gt and ROOT/pred."""
    rng = np.random.default_rng(seed)
    for number in range(images):
        turn = matrix_from_quaternion(normalise([1, *rng.normal(0, 0.02, 3)]))
        mount = np.column_stack([turn, [-1.7, rng.uniform(-0.2, 0.2), -1.25]])
        camera = VehicleCamera(camera_matrix(2260.0, 2265.0, 1095.0, 513.0), mount, (1024, 2048))
        count = boxes if number % 7 else 0
        objects = [vehicle(rng, camera, int(rng.integers(classes)), 8.0) for _ in range(count)]
        objects = [VehicleBox(**{**vars(b), "instance_id": 26000 + i}) for i, b in enumerate(objects)]
        corners = rng.uniform([0, 300, 30, 30], [1800, 500, 900, 500], (3, 4)).round()
        regions = tuple(IgnoreRegion(tuple(row), "car", 26) for row in corners.tolist())
        name = f"synth_{number:06d}_000019"
        write_boxes3d(
            root / "gt" / "synth" / f"{name}_gtBbox3d.json", ImageBoxes(camera, 0.21, tuple(objects), regions)
        )
        if number % 5 != 3:  # some have no file
            found = detections(rng, camera, objects, predictions, 8.0) if number % 4 else []
            write_detections(root / "pred" / f"{name}_predBbox3d.json", found)


def official(root: Path, *options: str) -> dict[str, Any]:
    """What the official evaluation says; it writes to the current folder."""
    results = root / "results"
    results.mkdir(exist_ok=True)
    command = [sys.executable, "-m", MODULE, "-gt", root / "gt", "-pred", root / "pred", "--noplot", *options]
    done = subprocess.run(
        [*map(str, command), "--results-folder", str(results)],
        cwd=results,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MPLBACKEND": "agg"},
    )
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads((results / "results.json").read_text())
    return content


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "images", "boxes", "predictions", "classes"), [(0, 30, 8, 20, 6), (1, 12, 14, 60, 3), (2, 40, 3, 4, 6)]
)
def test_equals_the_official_evaluation(
    seed: int, images: int, boxes: int, predictions: int, classes: int, tmp_path: Path
) -> None:
    if importlib.util.find_spec("cityscapesscripts") is None:
        pytest.skip("cityscapesScripts is not installed: pip install mtdense[cityscapes3d]")
    write_random(tmp_path, seed, images, boxes, predictions, classes)
    for matching, options in (("amodal", ()), ("modal", ("--modal",))):
        theirs = official(tmp_path, *options)
        with pytest.warns(UserWarning, match="count as without detections"):
            ours = score_detection3d(tmp_path / "pred", tmp_path / "gt", matching).report()  # type: ignore[arg-type]
        assert theirs["mDetection_Score"] > 0.02, "there is something to compare"
        assert ours["mDS"] == pytest.approx(theirs["mDetection_Score"], abs=1e-9)
        assert ours["mAP"] == pytest.approx(theirs["mAP"], abs=1e-9)
        for label, row in ours["per_class"].items():
            assert row["targets"] == theirs["GT_stats"][label]
            if not row["targets"]:
                continue  # theirs are 0 and left out of the means
            assert row["confidence"] == theirs["working_confidence"][label]
            for name, theirs_name in NAMES.items():
                value = theirs[theirs_name][label]
                value = value["auc"] if isinstance(value, dict) else value
                assert row[name] == pytest.approx(value, abs=1e-9), (label, name)
