from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.cityscapes.boxes3d import read_boxes3d, read_detections
from mtdense.data.cityscapes.detections3d import box_predictions, box_targets
from mtdense.geometry import camera_matrix
from mtdense.geometry.boxes import Boxes3D, VehicleCamera, amodal_boxes, convert_boxes
from mtdense.geometry.quaternions import quaternion_from_euler
from mtdense.metrics import DetectionScore
from mtdense.metrics.functional import BoxPredictions, BoxTargets, detection_score_update
from mtdense.metrics.functional.detection_score import DetectionSums

ORACLE = Path(__file__).parent / "oracle" / "mds"
CASES = ("case1", "case2", "case3")
NAMES = {
    "DS": "Detection_Score",
    "AP": "AP",
    "center_distance": "Center_Dist",
    "size_similarity": "Size_Similarity",
    "yaw": "OS_Yaw",
    "pitch_roll": "OS_Pitch_Roll",
    "confidence": "working_confidence",
    "targets": "GT_stats",
}
CAMERA = VehicleCamera(
    camera_matrix(2000.0, 2000.0, 1000.0, 500.0), np.column_stack([np.eye(3), [-1.7, -0.1, -1.2]]), (1024, 2048)
)
Image = tuple[BoxPredictions, BoxTargets]


def case_images(case: str) -> list[Image]:
    images = []
    for path in sorted((ORACLE / case / "gt").glob("*.json")):
        found = ORACLE / case / "pred" / path.name.replace("gtBbox3d", "predBbox3d")
        vehicles = read_detections(found) if found.exists() else ()
        images.append((box_predictions(vehicles), box_targets(read_boxes3d(path))))
    return images


def scored(images: Sequence[Image], **options: Any) -> DetectionScore:
    metric = DetectionScore(**options)
    metric.update([pred for pred, _ in images], [target for _, target in images])
    return metric


def boxes(*rows: tuple[float, ...], yaw: Sequence[float] = ()) -> Boxes3D:
    """Boxes in V: x, y, z, length, width, height; level."""
    values = np.array(rows, dtype=float).reshape(len(rows), 6)
    turns = [[angle, 0.0, 0.0] for angle in (yaw or [0.0] * len(rows))]
    rotations = quaternion_from_euler(np.array(turns).reshape(-1, 3), "ZYX")
    return Boxes3D(values[:, :3], values[:, 3:], rotations)


def squares(*places: float) -> np.ndarray:
    """2-D boxes of 100x100 pixels."""
    return np.array([[x, 0.0, x + 99, 99.0] for x in places]).reshape(len(places), 4)


def targets(where: Boxes3D, modal: np.ndarray, labels: Sequence[int] | None = None, ignore: Any = ()) -> BoxTargets:
    return BoxTargets(where, np.array(labels or [0] * len(where)), modal, modal, ignore, CAMERA)


def nothing() -> tuple[BoxPredictions, BoxTargets]:
    return BoxPredictions(boxes(), np.zeros(0), np.zeros(0)), targets(boxes(), squares())


@pytest.mark.parametrize("matching", ["amodal", "modal"])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_official_evaluation(case, matching):
    expected = json.loads((ORACLE / case / f"{matching}.json").read_text())
    metric = scored(case_images(case), matching=matching)
    assert metric.compute().item() == pytest.approx(expected["mDetection_Score"], abs=1e-9)
    details = {name: float(value) for name, value in metric.details().items()}
    means = {name: expected[f"m{NAMES.get(name, name.removeprefix('m'))}"] for name in details}
    assert details == pytest.approx(means, abs=1e-9)
    for label, row in metric.per_class().items():
        assert row["targets"] == expected["GT_stats"][label]
        if row["targets"]:
            assert row == pytest.approx({name: expected[NAMES[name]][label] for name in row}, abs=1e-9)


def test_by_hand():
    # Targets 10 m and 30 m away. One is found as it is; the other at half the score 1 m beside, twice as long and
    # turned by 90 degrees. What is nowhere has the second score.
    truth = targets(boxes((10, 0, 1, 4, 2, 2), (30, 0, 1, 4, 2, 2)), squares(0, 500))
    found = boxes((10, 0, 1, 4, 2, 2), (30, 1, 1, 8, 2, 2), (50, 0, 1, 4, 2, 2), yaw=[0, np.pi / 2, 0])
    metric = scored(
        [(BoxPredictions(found, np.zeros(3), np.array([0.9, 0.5, 0.7]), squares(0, 500, 1000)), truth)],
        classes=["car"],
        matching="modal",
    )
    # Up to .5 precision 2/3 and recall 1; up to .7 both 1/2; up to .9 precision 1, recall 1/2.
    row = metric.per_class()["car"]
    expected = {"AP": 0.5 * 1 + 0.5 * 2 / 3, "center_distance": (1 + 0.99) / 2, "size_similarity": (1 + 0.5) / 2}
    expected |= {"yaw": (1 + 0.5) / 2, "pitch_roll": 1.0, "confidence": 0.0, "targets": 2.0}
    expected["DS"] = expected["AP"] * (0.995 + 0.75 + 0.75 + 1) / 4
    assert row == pytest.approx(expected)
    assert metric.compute().item() == pytest.approx(expected["DS"])


def test_far_targets_count_for_precision_only():
    truth = targets(boxes((10, 0, 1, 4, 2, 2), (30, 0, 1, 4, 2, 2), (100, 0, 1, 4, 2, 2)), squares(0, 500, 1000))
    found = boxes((10, 0, 1, 4, 2, 2), (30, 0, 1, 4, 2, 2), (60, 0, 1, 9, 9, 9))
    preds = BoxPredictions(found, np.zeros(3), np.ones(3), squares(0, 500, 1000))
    row = scored([(preds, truth)], matching="modal").per_class()["car"]
    assert (row["AP"], row["DS"], row["size_similarity"]) == (1.0, 1.0, 1.0)


def test_pairs_at_one_distance_give_nothing():
    truth = targets(boxes((10, 0, 1, 4, 2, 2), (14.9, 0, 1, 4, 2, 2)), squares(0, 500))
    preds = BoxPredictions(truth.boxes, np.zeros(2), np.ones(2), squares(0, 500))
    row = scored([(preds, truth)], matching="modal").per_class()["car"]
    assert (row["AP"], row["DS"], row["yaw"]) == (1.0, 0.0, 0.0)


def test_regions_to_ignore():
    truth = targets(boxes((10, 0, 1, 4, 2, 2), (30, 0, 1, 4, 2, 2)), squares(0, 500), ignore=squares(1000))
    found = boxes((10, 0, 1, 4, 2, 2), (30, 0, 1, 4, 2, 2), (60, 0, 1, 4, 2, 2))

    def average_precision(place: float) -> float:
        preds = BoxPredictions(found, np.zeros(3), np.array([0.5, 0.5, 0.9]), squares(0, 500, place))
        return scored([(preds, truth)], matching="modal").per_class()["car"]["AP"]

    assert average_precision(1000) == average_precision(1029) == 1.0
    assert average_precision(1030) == average_precision(1500) == pytest.approx(2 / 3)


def test_the_matching_decides():
    # The image shows half of the vehicle: only the one of the two boxes fits.
    space = boxes((20, 0, 1, 4, 2, 2), (40, 0, 1, 4, 2, 2))
    whole = BoxPredictions(space, np.zeros(2), np.ones(2))  # modal None: that of the box in space
    amodal = amodal_boxes(space, CAMERA)
    modal = amodal.copy()
    modal[:, 2] = modal[:, [0, 2]].mean(axis=1)
    truth = BoxTargets(space, np.zeros(2), amodal, modal, (), CAMERA)
    assert scored([(whole, truth)]).compute() == 1.0
    assert scored([(whole, truth)], matching="modal").compute() == 0.0
    half = BoxPredictions(space, np.zeros(2), np.ones(2), modal)
    assert scored([(half, truth)], matching="modal").compute() == 1.0
    assert scored([(half, truth)]).compute() == 1.0, "the box in space is projected anew"


def test_a_class_without_targets_is_left_out():
    truth = targets(boxes((10, 0, 1, 4, 2, 2), (30, 0, 1, 4, 2, 2)), squares(0, 500))
    found = BoxPredictions(
        boxes((10, 0, 1, 4, 2, 2), (30, 0, 1, 4, 2, 2), (60, 0, 1, 4, 2, 2)),
        [0, 0, 1],
        np.ones(3),
        squares(0, 500, 900),
    )
    metric = scored([(found, truth)], matching="modal", classes=["car", "truck"])
    assert metric.compute() == 1.0
    row = metric.per_class()["truck"]
    assert row.pop("targets") == 0.0
    assert all(np.isnan(value) for value in row.values())


def test_images_without_boxes_do_not_matter():
    images = case_images("case1")
    assert scored([*images, nothing()]).compute() == scored(images).compute()


def test_missed_targets_and_false_alarms():
    truth = targets(boxes((10, 0, 1, 4, 2, 2)), squares(0))
    assert scored([(nothing()[0], truth)]).per_class()["car"]["AP"] == 0.0
    alarm = BoxPredictions(boxes((10, 0, 1, 4, 2, 2)), [0], [1.0], squares(700))
    metric = scored([(alarm, nothing()[1]), (nothing()[0], truth)])
    assert metric.compute() == 0.0
    assert metric.misses.sum() == 51


@pytest.mark.parametrize("images", [[], [nothing()]])
def test_nothing_scored_is_nan_with_a_warning(images):
    metric = scored(images)
    with pytest.warns(UserWarning, match="scored no labelled box"):
        assert metric.compute().isnan()


@pytest.mark.parametrize("matching", ["amodal", "modal"])
def test_sums_do_not_depend_on_order_or_ranks(matching):
    images = [image for case in CASES for image in case_images(case)]
    whole = scored(images, matching=matching)
    shuffled = [images[i] for i in np.random.default_rng(0).permutation(len(images))]
    ranks = [DetectionScore(matching=matching) for _ in range(2)]
    for number, (pred, target) in enumerate(shuffled):
        ranks[int(number % 5 == 0)].update([pred], [target])
    for name in DetectionSums._fields:
        assert torch.equal(getattr(ranks[0], name) + getattr(ranks[1], name), getattr(whole, name)), name
    assert whole.pairs.sum() > 100


def test_states_keep_their_type_and_size():
    metric = scored(case_images("case2")).half()
    before = {name: getattr(metric, name).shape for name in DetectionSums._fields}
    assert all(getattr(metric, name).dtype == torch.int64 for name in before)
    assert sum(getattr(metric, name).nbytes for name in before) < 500_000
    value = metric.compute()
    metric.reset()
    assert {name: getattr(metric, name).shape for name in before} == before
    metric.update(*map(list, zip(*case_images("case2"), strict=True)))
    assert metric.compute() == value


def test_boxes_in_the_frame_of_the_sensor_and_tensors():
    images = []
    for pred, target in case_images("case2"):
        space = convert_boxes(pred.boxes, "S", target.camera)
        given = [torch.from_numpy(np.asarray(part)) for part in (pred.labels, pred.scores, pred.modal)]
        truth = BoxTargets(
            convert_boxes(target.boxes, "S", target.camera),
            torch.from_numpy(target.labels),
            torch.from_numpy(target.amodal),
            torch.from_numpy(target.modal),
            torch.from_numpy(target.ignore),
            target.camera,
        )
        images.append((BoxPredictions(space, *given), truth))
    expected = scored(case_images("case2"))
    assert scored(images).compute().item() == pytest.approx(expected.compute().item(), abs=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BoxPredictions(boxes((9, 0, 1, 4, 2, 2)), [0], [1.5]), "numbers in 0..1"),
        (lambda: BoxPredictions(boxes((9, 0, 1, 4, 2, 2)), [0], [float("nan")]), "numbers in 0..1"),
        (lambda: BoxPredictions(boxes((9, 0, 1, 4, 2, 2)), [0, 1], [1.0]), "not 1 class ids"),
        (lambda: BoxPredictions(boxes((9, 0, 1, 4, 2, 2)), [-1], [1.0]), "class ids"),
        (lambda: BoxPredictions(boxes((9, 0, 1, 4, 2, 2)), [0.5], [1.0]), "class ids"),
        (lambda: BoxPredictions(boxes((9, 0, 1, 4, 2, 2)), [0], [1.0], np.array([[5, 0, 4, 9]])), "x1 <= x2"),
        (lambda: BoxPredictions(boxes((9, 0, 1, 4, 2, 2)), [0], [1.0], np.array([[5, 0, np.nan, 9]])), "finite"),
        (lambda: targets(boxes((9, 0, 1, 4, 2, 2)), squares(0, 1)), "shape (2, 4)"),
        (lambda: targets(boxes(), squares(), ignore=np.ones((2, 3))), "shape (2, 3)"),
        (lambda: scored([(BoxPredictions(boxes((9, 0, 1, 4, 2, 2)), [6], [1.0]), nothing()[1])]), "class 6"),
        (lambda: scored([(nothing()[0], targets(boxes((9, 0, 1, 4, 2, 2)), squares(0), [7]))]), "class 7"),
        (lambda: detection_score_update([nothing()[0]], [], 6), "of 1 image"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(DataError) as error:
        make()
    assert message in str(error.value)
    assert error.value.mend


@pytest.mark.parametrize(
    "options", [{"matching": "visible"}, {"classes": []}, {"classes": "car"}, {"classes": ["car", "car"]}]
)
def test_bad_options(options):
    with pytest.raises(ConfigError):
        DetectionScore(**options)


def test_the_protocol_names_the_matching():
    assert DetectionScore().protocol == "matching=amodal"
    assert DetectionScore(matching="modal").protocol == "matching=modal"
