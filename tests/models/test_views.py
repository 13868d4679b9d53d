"""The second view: where it looks, and what becomes of images, targets and predictions there."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdense.core.errors import ConfigError
from mtdense.models import SemiSupervised
from mtdense.models.canvas import inside
from mtdense.models.views import SecondView, ViewBox
from mtdense.tasks import Depth, HumanParts, SemanticSegmentation, SurfaceNormals, Task, build_tasks
from tests.models.helpers import ALL_SPECS, SPECS, make_batch

SCALES = (1.0, 1.2, 1.5)
YES = [True]


def view(*box, size=(4, 6)) -> SecondView:
    return SecondView(size, (ViewBox(*box),))


def test_draws_are_those_of_random_scale_crop():
    ids = [f"image{i}" for i in range(300)]
    drawn = SecondView.draw(ids, (288, 384), SCALES, 0.5, 0, "view", 7)
    sizes = [(box.height, box.width) for box in drawn.boxes]
    assert set(sizes) == {(288, 384), (240, 320), (192, 256)}
    assert all(70 < sizes.count(size) < 130 for size in set(sizes))
    assert 120 < sum(box.flip for box in drawn.boxes) < 180
    tops = [box.top for box in drawn.boxes if box.height == 192]
    assert min(tops) < 10 and max(tops) > 86 and all(0 <= top <= 96 for top in tops)
    assert [drawn.zoom(i) for i, size in enumerate(sizes) if size == (240, 320)] == pytest.approx(
        [1.2] * sizes.count((240, 320))
    )


def test_a_draw_belongs_to_the_sample():
    def boxes(ids, *purpose):
        return SecondView.draw(ids, (288, 384), SCALES, 0.5, *purpose).boxes

    ids = [f"image{i}" for i in range(20)]
    assert boxes(ids[3:5], 0, "view", 7) == boxes(ids, 0, "view", 7)[3:5]
    assert boxes(ids, 0, "view", 8) != boxes(ids, 0, "view", 7) != boxes(ids, 1, "view", 7)


def test_pixels_by_hand():
    target = torch.arange(24).view(1, 4, 6)
    task = SemanticSegmentation(24)
    # Rows 1 and 2, columns 2 to 4, each shown twice.
    shown = view(1, 2, 2, 3).move_targets(task, target, YES)[0]
    rows = [[8, 8, 9, 9, 10, 10], [14, 14, 15, 15, 16, 16]]
    assert shown.tolist() == [rows[0], rows[0], rows[1], rows[1]]
    mirrored = view(1, 2, 2, 3, True).move_targets(task, target, YES)[0]
    assert torch.equal(mirrored, shown.flip(1))
    assert torch.equal(view(0, 0, 4, 6).move_targets(task, target, YES), target)


def test_images_are_bilinear_and_agree_with_targets():
    # A ramp: half-pixel centres put row y of the view at 1 + (y + 0.5) / 2 - 0.5, held at the crop's border.
    image = torch.arange(4.0).view(1, 1, 4, 1).expand(1, 3, 4, 6)
    assert view(1, 2, 2, 3).move_images(image)[0, 0, :, 0].tolist() == [1.0, 1.25, 1.75, 2.0]
    image = torch.arange(6.0).expand(1, 3, 4, 6)
    assert view(1, 2, 2, 3, True).move_images(image)[0, 0, 0].tolist() == [4.0, 3.75, 3.25, 2.75, 2.25, 2.0]
    assert torch.equal(view(0, 0, 4, 6).move_images(image), image)


def test_values_move_as_the_task_says():
    near = view(0, 0, 2, 3, True)
    metres = torch.tensor([3.0, -1.0]).repeat(3).expand(1, 4, 6).contiguous()
    assert near.move_targets(Depth(), metres, YES)[0, 0].tolist() == [1.5, 1.5, -1, -1, 1.5, 1.5]
    disparity, legacy = Depth(unit="disparity"), Depth(unit="disparity", legacy_zoom=True)
    assert near.move_targets(disparity, metres, YES)[0, 0, 0] == 6.0
    assert near.move_targets(legacy, metres, YES)[0, 0, 0] == 1.5
    assert near.move_predictions(Depth(), metres)[0, 0, 0] == 1.5
    normals = torch.tensor([0.6, 0.0, -0.8]).view(1, 3, 1, 1).expand(1, 3, 4, 6)
    for moved in (
        near.move_targets(SurfaceNormals(), normals, YES),
        near.move_predictions(SurfaceNormals(), normals),
    ):
        assert moved.shape == (1, 3, 4, 6)
        assert moved[0, :, 2, 2].tolist() == pytest.approx([-0.6, 0.0, -0.8])
    assert near.move_maps(metres)[0, 0].tolist() == [3, 3, -1, -1, 3, 3]


def test_a_crop_without_a_part_has_no_label():
    target = torch.zeros(1, 4, 6, dtype=torch.int64)
    target[0, 3, 5] = 2
    task = HumanParts()
    assert (view(0, 0, 2, 3).move_targets(task, target, YES) == 255).all()
    assert (view(2, 3, 2, 3).move_targets(task, target, YES) == 2).sum() == 4
    assert not view(0, 0, 2, 3).move_predictions(task, target).any(), "a prediction of background stays one"


def test_unused_targets_come_out_invalid():
    targets = torch.ones(2, 4, 6, dtype=torch.int64)
    boxes = SecondView((4, 6), (ViewBox(0, 0, 2, 3), ViewBox(0, 0, 2, 3)))
    moved = boxes.move_targets(SemanticSegmentation(5), targets, [False, True])
    assert (moved[0] == 255).all() and (moved[1] == 1).all()


TASKS = [*build_tasks(ALL_SPECS).values(), *(Depth(unit=unit) for unit in ("metres", "disparity"))]
TASKS.append(Depth(unit="disparity", legacy_zoom=True))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.name} {task.spec.get('unit', '')}")
@given(seed=st.integers(0, 10_000), flip=st.booleans(), height=st.integers(1, 8), width=st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_targets_move_as_labels_do(task: Task, seed: int, flip: bool, height: int, width: int) -> None:
    """The tensor forms of what a task does to a moved label are its NumPy forms, but for a rounding of unit lengths."""
    generator = torch.Generator().manual_seed(seed)
    target = make_batch({task.name: task.spec}, size=(8, 9))["targets"][task.name][0]
    if task.label_channels == 3:
        # Not of unit length any more: a blend of directions.
        target = target * torch.rand(8, 9, generator=generator)
    elif task.content_dependent and seed % 2:
        target = torch.zeros_like(target)
    hole = torch.rand(8, 9, generator=generator) < 0.3
    target = torch.where(hole, torch.tensor(task.invalid, dtype=target.dtype), target)
    box = SecondView((8, 9), (ViewBox(8 - height, 9 - width, height, width, flip),))
    label = target.numpy() if task.label_channels == 1 else target.permute(1, 2, 0).contiguous().numpy()
    label = label[box.rows(0).numpy()][:, box.columns(0).numpy()]
    label = task.zoom_label(task.flip_label(label) if flip else label, box.zoom(0))
    predicted = box.move_predictions(task, target[None])[0]
    assert predicted.numpy().tobytes() == task.to_target(label).numpy().tobytes()
    moved = box.move_targets(task, target[None], [True])[0]
    assert moved.dtype == target.dtype
    torch.testing.assert_close(moved, task.to_target(task.finish_label(label)), rtol=3e-7, atol=0)


def test_a_task_of_numpy_alone_moves_too(monkeypatch):
    """A task that says how labels move, and not how targets do, is moved by way of its label."""
    for name in ("flip_target", "zoom_target", "finish_target"):
        monkeypatch.setattr(SurfaceNormals, name, getattr(Task, name))
        monkeypatch.setattr(Depth, name, getattr(Task, name))
    test_values_move_as_the_task_says()


def test_indices_are_made_once(monkeypatch):
    made = []
    rows = SecondView.rows
    monkeypatch.setattr(SecondView, "rows", lambda self, i: made.append(i) or rows(self, i))
    boxes = SecondView((4, 6), (ViewBox(0, 0, 2, 3), ViewBox(1, 1, 2, 3)))
    for _ in range(3):
        boxes.move_maps(torch.rand(2, 3, 4, 6))
        boxes.move_targets(Depth(), torch.rand(2, 4, 6), [True, True])
    assert sorted(made) == [0, 1]
    assert boxes == SecondView((4, 6), boxes.boxes)


@given(st.integers(0, 10_000), st.integers(0, 20), st.integers(0, 20), st.integers(1, 33), st.integers(1, 21))
@settings(max_examples=60, deadline=None)
def test_content_is_where_the_nearest_pixel_shows_image(seed, top, left, height, width):
    size = (32, 40)
    content = torch.tensor([[top, left, min(height, 32 - top), min(width, 40 - left)]])
    drawn = SecondView.draw([str(seed)], size, SCALES, 0.5, seed)
    moved = inside(drawn.move_content(content), *size)
    assert torch.equal(moved, drawn.move_maps(inside(content, *size)))


def build(**kwargs):
    torch.manual_seed(0)
    return SemiSupervised(tasks=SPECS, backbone="tiny", preset="tiny", **kwargs)


def test_training_runs_both_views_at_once_and_evaluation_one():
    model = build(view_scales=[1.0])
    batch = make_batch()
    outputs = model.run_network(batch)
    second = outputs.features["second"]
    for name in SPECS:
        assert outputs.final[name].shape == second.final[name].shape
        torch.testing.assert_close(outputs.final[name], second.final[name], atol=1e-5, rtol=1e-5)
    evaluated = model.eval().run_network(batch)
    assert "second" not in evaluated.features


def test_views_change_with_the_step(monkeypatch):
    model, batch = build(), make_batch()
    first = model.run_network(batch).features["view"]
    assert model.run_network(batch).features["view"] == first
    monkeypatch.setattr(SemiSupervised, "global_step", 1)
    assert model.run_network(batch).features["view"] != first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"view_scales": [0.5]}, r"view_scales is \[0.5\]"),
        ({"view_scales": []}, r"view_scales is \[\]"),
        ({"view_flip_probability": 1.5}, "view_flip_probability is 1.5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        build(**options)
