"""3-D detection: boxes, scores, files and pictures from what a network gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.cityscapes.boxes3d import write_detections
from mtdense.data.cityscapes.detections3d import detected_vehicles
from mtdense.geometry.quaternions import rotation_angle
from mtdense.metrics.functional import detection_boxes
from mtdense.tasks import Detection3D
from mtdense.tasks.detection_3d import BoxLabel, Detections
from mtdense.tasks.detection_3d.target import target_of
from tests.tasks.detection_3d.streets import MOUNT, SIZES, batch_of, camera, label, street


@pytest.mark.parametrize("coding", ["fixed", "taskprompter"])
@pytest.mark.parametrize(
    "options", [{}, {"base_depth": 20.0, "base_size": [4.0, 1.8, 1.5], "cell_points": "taskprompter"}]
)
@pytest.mark.parametrize("one_level", [False, True])
def test_the_truth_scores_one(coding: Any, options: dict[str, Any], one_level: bool) -> None:
    task = Detection3D(angle_coding=coding, **options)
    targets = [street(), target_of(label(np.zeros((0, 3)), [])), street()]
    sizes = [(32, 64)] if one_level else SIZES
    batch = batch_of(targets)
    found = task.predict_batch(task.ideal_levels(targets, sizes), (1, 1), batch)
    assert [len(one) for one in found] == [5, 0, 5]
    for metric in task.metrics().values():
        task.update_metric(metric, found, targets, task.counted(targets, batch["labelled"]["detection_3d"]))
        scores = metric.per_class()
        assert [scores[name]["targets"] for name in ("car", "truck", "bus", "train")] == [4, 4, 2, 0]
        assert scores["car"]["DS"] == pytest.approx(1, abs=1e-5)
        assert scores["truck"]["DS"] == pytest.approx(1, abs=1e-5)
        # Its two are at one distance, for which the score has no similarities.
        assert scores["bus"]["AP"] == 1


def test_decoded_boxes_are_the_boxes() -> None:
    task, target = Detection3D(), street()
    (found,) = task.predict_batch(task.ideal_levels([target], SIZES), (1, 1), batch_of([target]))
    order = [int(np.linalg.norm(found.boxes.centers - center, axis=1).argmin()) for center in target.centers.numpy()]
    np.testing.assert_allclose(found.boxes.centers[order], target.centers, atol=1e-3)
    np.testing.assert_allclose(found.boxes.dimensions[order], target.dimensions, atol=1e-4)
    np.testing.assert_allclose(found.modal[order], target.modal, atol=1e-3)
    assert rotation_angle(found.boxes.rotations[order], target.rotations.double().numpy()).max() < 1e-3
    assert found.classes[order].tolist() == target.classes.tolist() and (np.diff(found.scores) <= 0).all()


def test_half_precision_rounds_neither_pixels_nor_metres() -> None:
    """Goals are made and boxes read where mixed precision is switched on."""
    task, target, batch = Detection3D(), street(), batch_of([street()])
    levels = task.ideal_levels([target], SIZES)
    goals, (found,) = task.goals(target, SIZES), task.predict_batch(levels, (1, 1), batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed_goals, (mixed,) = task.goals(target, SIZES), task.predict_batch(levels, (1, 1), batch)
    for mixed_part, part in zip(mixed_goals, goals, strict=True):
        assert torch.equal(mixed_part, part)
    np.testing.assert_array_equal(mixed.boxes.centers, found.boxes.centers)


def test_suppression_and_its_limits() -> None:
    target = street()
    plenty = Detection3D(max_overlap=1.0, min_score=0.01)
    levels = plenty.ideal_levels([target], SIZES)
    batch = batch_of([target])
    (all_cells,) = plenty.predict_batch(levels, (1, 1), batch)
    assert len(all_cells) == int(plenty.goals(target, SIZES).found.sum()) > 20
    (few,) = Detection3D(max_boxes=2).predict_batch(levels, (1, 1), batch)
    (kept,) = Detection3D().predict_batch(levels, (1, 1), batch)
    assert len(few) == 2 and len(kept) == 5 and few.scores.tolist() == kept.scores[:2].tolist()
    (none,) = Detection3D(min_score=0.999).predict_batch(levels, (1, 1), batch)
    assert len(none) == 0
    # Infinite guesses are no boxes.
    broken = [torch.full_like(level, float("inf")) for level in levels]
    (nothing,) = Detection3D().predict_batch(broken, (1, 1), batch)
    assert len(nothing) == 0


@pytest.mark.parametrize("value", [1e30, 1e37, -3e38])
@pytest.mark.parametrize("what", ["offset", "depth", "size", "rotation", "box"])
def test_huge_guesses_are_no_boxes_that_cannot_be_written(what: str, value: float, tmp_path: Path) -> None:
    """Finite numbers whose products are not, or that no file takes."""
    task, target = Detection3D(base_size=[4.0, 1.8, 1.5]), street()
    groups = task.output_groups
    start = sum(list(groups.values())[: list(groups).index(what)])
    levels = [level.clone() for level in task.ideal_levels([target], SIZES)]
    for level in levels:
        level[:, start : start + groups[what]] = value
    (found,) = task.predict_batch(levels, (1, 1), batch_of([target]))
    assert len(found) == 0 or what in ("rotation", "box") or value < 0
    task.update_metric(task.metrics()["mDS"], [found], [target], torch.tensor([True]))
    there = found.on_stored()
    write_detections(tmp_path / "image_detections.json", detected_vehicles(there.scored(), there.camera()))


def test_an_untrained_network_that_is_sure_of_everything() -> None:
    task = Detection3D()
    levels = [torch.full((1, task.num_outputs, *size), 3.0) for size in [(96, 192), *SIZES[1:]]]
    (found,) = task.predict_batch(levels, (1, 1), batch_of([street()]))
    assert 0 < len(found) <= 200


def test_no_camera_no_boxes() -> None:
    task, target = Detection3D(), street()
    levels = task.ideal_levels([target], SIZES)
    batch = batch_of([target])
    batch["meta"]["camera"][:] = 0
    # The label knows it.
    assert len(task.predict_batch(levels, (1, 1), batch)[0]) == 5
    batch["labelled"]["detection_3d"][:] = False
    with pytest.raises(DataError, match="'image0' comes without a camera"):
        task.predict_batch(levels, (1, 1), batch)
    with pytest.raises(ConfigError, match="cameras"):
        task.predict_batch(levels, (1, 1), None)
    with pytest.raises(ConfigError, match="no average"):
        task.ideal_logits(torch.zeros(1))


@pytest.mark.parametrize("flip", [False, True])
def test_pixels_are_those_of_the_stored_image(flip: bool) -> None:
    """A canvas of half the size with padding, perhaps mirrored: the score sees what it would see without."""
    task, stored = Detection3D(), label([[21.5, -0.25, 1.25], [30.0, 4.0, 1.0]], [0.3, -2.0], [0, 0])
    moved = stored.resized(64, 128).cropped(0, 0, 64, 128)
    moved = (moved.mirrored() if flip else moved).padded(3, 5, 80, 160)
    target, sizes = target_of(moved), [(20, 40)]
    batch = batch_of([target])
    batch["meta"] |= {
        "content": torch.tensor([[3, 5, 64, 128]]),
        "window": torch.tensor([[0.0, 0.0, 128.0, 256.0]]),
        "original_size": torch.tensor([[128, 256]]),
        "flip": torch.tensor([flip]),
    }
    (found,) = task.predict_batch(task.ideal_levels([target], sizes), (1, 1), batch)
    there = found.on_stored()
    np.testing.assert_allclose(there.camera().matrix, camera().matrix, atol=1e-3)
    np.testing.assert_allclose(there.camera().camera_from_vehicle, MOUNT, atol=1e-6)
    order = np.argsort(there.boxes.centers[:, 2])
    np.testing.assert_allclose(there.modal[order], stored.modal, atol=1e-2)
    truth = target_of(stored)
    np.testing.assert_allclose(there.boxes.centers[order], truth.centers, atol=1e-3)
    assert rotation_angle(there.boxes.rotations[order], truth.rotations.double().numpy()).max() < 1e-3
    # Labels at another size of the same aspect, as protocols have them.
    larger = target_of(moved.resized(160, 320))
    metric = task.metrics()["mDS"]
    task.update_metric(metric, [found], [larger], torch.tensor([True]))
    assert metric.per_class()["car"]["DS"] == pytest.approx(1, abs=1e-3)


def test_unlabelled_images_are_not_scored() -> None:
    task, targets = Detection3D(), [street(), street()]
    batch = batch_of(targets, [True, False])
    found = task.predict_batch(task.ideal_levels(targets, SIZES), (1, 1), batch)
    metric = task.metrics()["mDS"]
    task.update_metric(metric, found, targets, task.counted(targets, batch["labelled"]["detection_3d"]))
    assert metric.per_class()["car"]["targets"] == 2
    assert found[1].view.mount is None
    with pytest.raises(DataError, match="place in the vehicle"):
        found[1].on_stored().camera()


def test_boxes_are_projected_once_for_both_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    task, targets = Detection3D(), [street(), street()]
    batch = batch_of(targets)
    found = task.predict_batch(task.ideal_levels(targets, SIZES), (1, 1), batch)
    valid = torch.tensor([True, True])
    alone = {}
    for name in task.metrics():
        fresh, metric = Detection3D(), task.metrics()[name]
        fresh.update_metric(metric, found, targets, valid)
        alone[name] = metric.details()
    calls: list[int] = []
    project = detection_boxes.amodal_boxes
    monkeypatch.setattr(detection_boxes, "amodal_boxes", lambda *args: calls.append(1) or project(*args))
    metrics = task.metrics()
    for metric in metrics.values():
        task.update_metric(metric, found, targets, valid)
    assert len(calls) == 2
    assert {name: metric.details() for name, metric in metrics.items()} == alone
    # Other flags are other images.
    first = task.metrics()["mDS"]
    task.update_metric(first, found, targets, torch.tensor([True, False]))
    assert first.per_class()["car"]["targets"] == metrics["mDS"].per_class()["car"]["targets"] / 2


# ---- pictures --------------------------------------------------------------------------------------------------------
def test_drawn_in_the_image_and_from_above() -> None:
    task, target = Detection3D(), street()
    (found,) = task.predict_batch(task.ideal_levels([target], SIZES), (1, 1), batch_of([target]))
    table, truth = found.within((0, 0, 128, 256)), target.within((0, 0, 128, 256))
    image = np.full((128, 256, 3), 150, np.uint8)
    same = np.abs(task.draw_over(image, table).astype(int) - task.draw_over(image, truth)).mean()
    assert same < 1 < np.abs(task.draw_over(image, table).astype(int) - (image * 0.45)).mean()
    above = task.draw(table)
    assert above.shape == (360, 360, 3)
    # The bus: 20 m ahead of the vehicle is 18.5 m before the camera, 4.25 m to its right.
    colours = {tuple(pixel) for pixel in above[360 - 80 : 360 - 68, 180 + 8 : 180 + 26].reshape(-1, 3).tolist()}
    assert len(colours) > 2
    assert np.abs(task.draw(truth).astype(int) - above).mean() < 0.5
    faint = replace(found, scores=np.full(len(found), 0.1))
    assert isinstance(faint, Detections) and len(BoxLabel.from_table(faint.within((0, 0, 128, 256)))) == 0
    cut = BoxLabel.from_table(found.within((10, 20, 100, 200)))
    assert cut.camera.size == (100, 200) and len(cut) == 5
    # 2-D boxes move along with the camera.
    whole = BoxLabel.from_table(table)
    np.testing.assert_allclose(cut.modal, whole.modal - [20, 10, 20, 10])
    np.testing.assert_allclose(cut.amodal, whole.amodal - [20, 10, 20, 10])
