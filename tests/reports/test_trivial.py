from __future__ import annotations

import numpy as np
import pytest
import torch

from mtdense.core.errors import DataError
from mtdense.data.procedural import ProceduralScenes
from mtdense.reports import fit_trivial, score_trivial
from tests.reports.helpers import FakeData, make_batch, random_batch, tasks_of


def by_method(records):
    return {record.method: record for record in records}


def batch_of(semseg, depth, labelled):
    targets = {"semseg": torch.tensor(semseg), "depth": torch.tensor(depth)}
    return make_batch(targets, labelled)


TRAIN = batch_of(
    # The third image would make class 1 the most frequent one everywhere, but it is not labelled.
    semseg=[[[0, 0], [2, 255]], [[0, 0], [2, 255]], [[1, 1], [1, 1]]],
    depth=[[[1.0, 3.0], [-1.0, -1.0]], [[3.0, 5.0], [2.0, -1.0]], [[9.0, 9.0], [9.0, 9.0]]],
    labelled={"semseg": [True, True, False], "depth": [True, True, False]},
)
TEST = batch_of([[[0, 1], [2, 0]]], [[[2.0, 4.0], [2.0, 2.8]]], {"semseg": [True], "depth": [True]})


def test_averages_by_hand():
    fitted = fit_trivial([TRAIN], tasks_of("semseg", "depth"))
    # Labelled semseg: class 0 at 4 of 6 pixels, class 2 at 2 of 6.
    assert torch.allclose(fitted["semseg"].constant.flatten(), torch.tensor([4 / 6, 0.0, 2 / 6]))
    # Depth: (1 + 3 + 3 + 5 + 2) / 5 = 2.8; per pixel 2, 4, 2, and the constant where nothing was ever valid.
    assert fitted["depth"].constant.item() == pytest.approx(2.8)
    assert torch.allclose(fitted["depth"].mean_map[0, 0], torch.tensor([[2.0, 4.0], [2.0, 2.8]]))


def test_scores_by_hand():
    records = by_method(score_trivial(FakeData([TRAIN], [TEST]), tasks_of("semseg", "depth"), seed=3))
    # All pixels class 0: intersection 2, union 4; the other two classes 0. Mean over three classes.
    assert records["constant"].metric("semseg", "mIoU") == pytest.approx(0.5 / 3)
    # Map 0 0 / 2 0 against 0 1 / 2 0: class 0 has 2/3, class 1 has 0, class 2 has 1.
    assert records["mean_map"].metric("semseg", "mIoU") == pytest.approx((2 / 3 + 0 + 1) / 3)
    # Errors 0.8, 1.2, 0.8, 0 of the constant: squares sum to 2.72.
    assert records["constant"].metric("depth", "RMSE") == pytest.approx((2.72 / 4) ** 0.5, rel=1e-5)
    assert records["mean_map"].metric("depth", "RMSE") == pytest.approx(0.0, abs=1e-6)
    record = records["constant"]
    assert (record.kind, record.seed, record.steps, record.tasks) == ("trivial", 3, 0, ["semseg", "depth"])
    assert {m.unit for m in record.metrics if m.task == "depth"} == {"metres"}
    assert {m.name for m in record.metrics if m.primary} == {"mIoU", "RMSE"}


def test_unlabelled_targets_have_no_influence():
    noisy = batch_of(
        semseg=[[[0, 0], [2, 255]], [[0, 0], [2, 255]], [[2, 0], [1, 2]]],
        depth=[[[1.0, 3.0], [-1.0, -1.0]], [[3.0, 5.0], [2.0, -1.0]], [[float("nan")] * 2, [7.0, 1e9]]],
        labelled={"semseg": [True, True, False], "depth": [True, True, False]},
    )
    tasks = tasks_of("semseg", "depth")
    plain, other = fit_trivial([TRAIN], tasks), fit_trivial([noisy], tasks)
    for name in tasks:
        assert torch.equal(plain[name].constant, other[name].constant)
        assert torch.equal(plain[name].mean_map, other[name].mean_map)


def test_mean_of_normals_is_scored_as_a_direction():
    target = torch.zeros(2, 3, 1, 1)
    target[0, 0], target[1, 2] = 1.0, -1.0
    data = FakeData([make_batch({"normals": target}, {"normals": [True, True]})])
    records = by_method(score_trivial(data, tasks_of("normals")))
    # The mean direction of two perpendicular vectors lies 45 degrees from each.
    assert records["constant"].metric("normals", "mErr") == pytest.approx(45.0, abs=1e-3)
    assert records["constant"].metrics[0].unit == "degrees"


def test_sums_do_not_depend_on_batches():
    tasks = tasks_of("semseg", "depth", "normals")
    first, second = random_batch(0), random_batch(2)
    together = fit_trivial([first, second], tasks)
    swapped = fit_trivial([second, first], tasks)
    for name in tasks:
        assert torch.allclose(together[name].mean_map, swapped[name].mean_map)


def test_a_task_without_labels_is_named():
    batch = batch_of([[[0, 1]]], [[[1.0, 2.0]]], {"semseg": [True], "depth": [False]})
    with pytest.raises(DataError, match="no training image carries a valid label of depth"):
        fit_trivial([batch], tasks_of("semseg", "depth"))


def test_sizes_must_agree():
    tasks = tasks_of("semseg", "depth", "normals")
    with pytest.raises(DataError, match=r"\(16, 16\) and \(8, 8\)"):
        fit_trivial([random_batch(), random_batch(size=(8, 8))], tasks)
    with pytest.raises(DataError, match="no per-pixel mean"):
        score_trivial(FakeData([random_batch()], [random_batch(size=(8, 8))]), tasks)


def test_the_mean_direction_is_nearly_the_best_constant():
    scenes = ProceduralScenes(size=(48, 64))
    normals = np.stack([scenes.render(3 * i).normals for i in range(30)])
    target = torch.from_numpy(normals).permute(0, 3, 1, 2).contiguous()
    batch = make_batch({"normals": target}, {"normals": [True] * len(target)})
    fitted = fit_trivial([batch], tasks_of("normals"))["normals"].constant.flatten()
    vectors = normals[np.linalg.norm(normals, axis=-1) > 0.5][::11]
    # A spiral of 4000 directions over the sphere, about 3 degrees apart.
    z = np.linspace(-1, 1, 4000)
    turn = np.arange(4000) * np.pi * (3 - 5**0.5)
    ring = np.sqrt(1 - z**2)
    every = np.stack([ring * np.cos(turn), ring * np.sin(turn), z]).astype(np.float32)

    def errors(directions):
        return np.degrees(np.arccos(np.clip(vectors @ directions, -1, 1))).mean(0)

    facing = every[:, every[2] < -0.7]  # normals face the camera
    mean = torch.nn.functional.normalize(fitted, dim=0).numpy()
    assert 1.0 <= errors(mean) / errors(facing).min() < 1.06
