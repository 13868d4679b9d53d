"""What every task must keep, whatever it predicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdense.core.errors import ConfigError, DataError
from mtdense.tasks import (
    Depth,
    Edges,
    HumanParts,
    LossTerms,
    Saliency,
    SemanticSegmentation,
    SurfaceNormals,
    Task,
    task_names,
)
from tests.tasks.conftest import TASKS, random_label

EVERY = pytest.mark.parametrize("name", list(TASKS))


def poisoned(task, logits, target, valid):
    """The same batch with the worst values wherever nothing counts."""
    logits, target = logits.clone(), target.clone()
    awful = torch.tensor([float("inf"), float("-inf"), float("nan"), 1e38])
    shape = logits.movedim(1, -1)[~valid].shape
    logits.movedim(1, -1)[~valid] = awful[torch.arange(shape[0]) % 4][:, None].expand(shape)
    if target.is_floating_point():
        vectors = target.movedim(1, -1) if target.ndim == 4 else target.unsqueeze(-1)
        vectors[~valid] = float("nan")
    else:
        target[~valid] = 77
    return logits, target


def test_specification_rebuilds_the_task(task):
    again = type(task)(**task.spec)
    assert again == task
    assert hash(again) == hash(task)
    assert repr(again) == repr(task)
    assert eval(repr(task), {type(task).__name__: type(task)}) == task
    assert task != object()


def test_other_specification_other_task():
    assert Depth() != Depth(unit="disparity")
    assert Depth() != SurfaceNormals()


def test_invalid_label_has_no_valid_pixel(task):
    label = task.invalid_label(4, 5)
    assert label.shape == ((4, 5) if task.label_channels == 1 else (4, 5, 3))
    assert label.dtype == task.label_dtype
    assert not task.valid(task.to_target(label)[None]).any()
    for unchanged in (task.check_label(label, "x"), task.flip_label(label), task.finish_label(label)):
        np.testing.assert_array_equal(unchanged, label)
    np.testing.assert_array_equal(task.zoom_label(label, 1.5), label)


def test_target_layout(task, label_of):
    label = label_of(task, np.random.default_rng(0), 4, 5)
    target = task.to_target(label)
    assert target.shape == ((4, 5) if task.label_channels == 1 else (3, 4, 5))
    assert target.dtype == torch.from_numpy(label).dtype
    if task.label_channels == 3:
        assert torch.equal(target[:, 2, 3], torch.from_numpy(label[2, 3]))


def test_loss_is_blind_to_invalid_pixels(task, batch_of):
    logits, target, valid = batch_of(task)
    clean, dirty = logits.clone().requires_grad_(), None
    first = task.loss_terms(clean, target, valid)
    task.loss_value(first).sum().backward()
    bad_logits, bad_target = poisoned(task, logits, target, valid)
    dirty = bad_logits.requires_grad_()
    second = task.loss_terms(dirty, bad_target, valid)
    task.loss_value(second).sum().backward()
    assert torch.equal(first.sums, second.sums)
    assert torch.equal(first.counts, second.counts)
    assert torch.equal(clean.grad, dirty.grad)
    assert not clean.grad.movedim(1, -1)[~valid].any()
    assert clean.grad.abs().sum() > 0


def test_no_valid_pixel_gives_an_exact_zero_that_keeps_the_graph(task, batch_of):
    logits, target, valid = batch_of(task)
    nothing = torch.zeros_like(valid)
    logits, target = poisoned(task, logits, target, nothing)
    logits.requires_grad_()
    value = task.loss_value(task.loss_terms(logits, target, nothing))
    assert value.shape == (3,)
    assert (value == 0).all()
    value.sum().backward()
    assert (logits.grad == 0).all()


def test_one_image_without_labels_leaves_the_others_alone(task, batch_of):
    logits, target, valid = batch_of(task)
    valid[1] = False
    values = task.loss_value(task.loss_terms(logits, target, valid))
    for k in (0, 2):
        alone = task.loss_value(task.loss_terms(logits[k : k + 1], target[k : k + 1], valid[k : k + 1]))
        assert values[k].item() == pytest.approx(alone.item(), rel=1e-6)
    assert values[1] == 0


def test_terms_have_one_row_per_image_and_no_gradient_in_counts(task, batch_of):
    logits, target, valid = batch_of(task)
    terms = task.loss_terms(logits.requires_grad_(), target, valid)
    assert terms.sums.shape[0] == terms.counts.shape[0] == 3
    assert terms.sums.requires_grad
    assert not terms.counts.requires_grad
    assert torch.equal(terms.counts.sum(1), valid.flatten(1).sum(1))


def test_adding_rows_pools_the_pixels(task, batch_of):
    # Rows added over a batch give what one image made of all the pixels gives.
    logits, target, valid = batch_of(task)
    terms = task.loss_terms(logits, target, valid)
    pooled = task.loss_value(LossTerms(terms.sums.sum(0, keepdim=True), terms.counts.sum(0, keepdim=True)))
    tall = [torch.cat(list(part), dim=-2)[None] for part in (logits, target, valid)]
    assert pooled.item() == pytest.approx(task.loss_value(task.loss_terms(*tall)).item(), rel=1e-5)


def test_value_is_linear_in_the_sums(task, batch_of):
    terms = task.loss_terms(*batch_of(task))
    value = task.loss_value(terms)
    assert torch.allclose(task.loss_value(LossTerms(3 * terms.sums, terms.counts)), 3 * value)


def test_gradient_equals_finite_differences(task, batch_of):
    logits, target, valid = (part[:1, ..., :3, :3] for part in batch_of(task, seed=1))
    logits = logits.double().requires_grad_()
    target = target.double() if target.is_floating_point() else target

    def loss(values):
        return task.loss_value(task.loss_terms(values, target, valid))

    assert valid.any()
    assert torch.autograd.gradcheck(loss, (logits,))


def test_half_precision_logits_are_summed_in_float32(task, batch_of):
    logits, target, valid = batch_of(task)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = task.loss_terms(logits.bfloat16(), target, valid)
        value = task.loss_value(terms)
    assert terms.sums.dtype == value.dtype == torch.float32
    rounded = task.loss_value(task.loss_terms(logits.bfloat16().float(), target, valid))
    assert torch.allclose(value, rounded)


def test_prediction_shape_and_finish(task, batch_of):
    logits, target, _ = batch_of(task)
    prediction = task.predict(logits)
    assert prediction.shape == target.shape
    assert prediction.dtype in (torch.int64, torch.float32)
    assert task.predict(logits.bfloat16()).dtype == prediction.dtype


@EVERY
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 6), width=st.integers(1, 6))
def test_ideal_logits_predict_the_target(name, seed, height, width):
    task = TASKS[name]
    target = task.to_target(random_label(task, np.random.default_rng(seed), height, width))[None]
    valid = task.valid(target)
    logits = task.ideal_logits(target)
    assert logits.shape == (1, task.num_outputs, height, width)
    assert logits.dtype == torch.float32
    assert not logits.movedim(1, -1)[~valid].any()
    prediction = task.predict(logits)
    if task.name in ("edges", "saliency"):
        assert torch.equal((prediction >= 0.5)[valid], (target > 0)[valid])
        assert ((prediction > 0) & (prediction < 1)).all()
    else:
        torch.testing.assert_close(
            prediction.movedim(1, -1)[valid] if target.ndim == 4 else prediction[valid],
            target.movedim(1, -1)[valid] if target.ndim == 4 else target[valid],
        )


@EVERY
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 6), width=st.integers(1, 6))
def test_two_flips_are_none(name, seed, height, width):
    task = TASKS[name]
    label = random_label(task, np.random.default_rng(seed), height, width)
    kept = label.copy()
    once = task.flip_label(label)
    assert once.flags["C_CONTIGUOUS"]
    assert once.dtype == label.dtype
    np.testing.assert_array_equal(task.flip_label(once), label)
    np.testing.assert_array_equal(label, kept, err_msg="a label is never changed in place")


def test_perfect_predictions_score_perfectly(task, batch_of):
    if task.name == "edges":
        pytest.skip("non-maximum suppression takes random pixels for no edges; lines are tested in test_edges.py")
    _, target, valid = batch_of(task)
    metrics = task.metrics()
    assert task.primary_metric in metrics
    assert task.metrics()[task.primary_metric] is not metrics[task.primary_metric], "metrics are fresh"
    for metric in metrics.values():
        task.update_metric(metric, task.predict(task.ideal_logits(target)), target, valid)
        assert metric.compute().item() == pytest.approx(1.0 if metric.higher_is_better else 0.0, abs=1e-4)


def test_metrics_are_blind_to_invalid_pixels(task, batch_of):
    logits, target, valid = batch_of(task)
    _, bad_target = poisoned(task, logits, target, valid)
    bad_logits = torch.where(valid.unsqueeze(1), logits, 1e6)
    for clean, dirty in zip(task.metrics().values(), task.metrics().values(), strict=True):
        task.update_metric(clean, task.predict(logits), target, valid)
        task.update_metric(dirty, task.predict(bad_logits), bad_target, valid)
        assert torch.equal(clean.compute(), dirty.compute())


def test_pictures(task, label_of, batch_of):
    label = label_of(task, np.random.default_rng(3), 8, 9)
    picture = task.draw(label)
    assert picture.shape == (8, 9, 3)
    assert picture.dtype == np.uint8
    valid = task.valid(task.to_target(label)[None])[0].numpy()
    if task.name != "depth":  # out-of-range depth is still worth seeing
        assert (picture[~valid] == 128).all()
    assert (task.draw(task.invalid_label(3, 4)) == 128).all()
    logits, target, _ = batch_of(task)
    prediction = task.predict(logits)[0].numpy()
    shown = np.moveaxis(prediction, 0, -1) if task.label_channels == 3 else prediction
    assert task.draw(shown, like=label).shape == (*target.shape[-2:], 3)


def test_shape_errors_name_the_file(task):
    shape = (4, 5, 2) if task.label_channels == 3 else (4, 5, 3)
    for wrong in (np.zeros(shape, dtype=np.float32), np.zeros(7), np.zeros((0, 4))):
        with pytest.raises(DataError, match=r"^a/b\.png: .*shape") as error:
            task.check_label(wrong, "a/b.png")
        assert error.value.mend


def test_labels_must_be_numbers(task):
    shape = (2, 2) if task.label_channels == 1 else (2, 2, 3)
    with pytest.raises(DataError, match=r"a/b\.png: .*numbers"):
        task.check_label(np.full(shape, "x"), "a/b.png")


def test_meaning_is_what_an_output_means_and_not_how_it_is_trained_or_drawn():
    names = ["sky", "rest"]
    semseg = SemanticSegmentation(2, class_names=names, palette=[[0, 0, 0], [1, 1, 1]])
    assert semseg.meaning == {"num_classes": 2, "class_names": names}
    assert HumanParts().meaning["num_classes"] == 7
    assert Depth(max_depth=3.0).meaning == Depth().meaning == {"unit": "metres"} != Depth(unit="disparity").meaning
    assert SurfaceNormals(loss="cosine").meaning == Edges(positive_weight=None).meaning == Saliency().meaning == {}
    for known in TASKS.values():
        assert set(known.meaning_keys) <= set(known.spec)


def test_default_loss_weights_are_those_of_the_papers():
    weights = {name: Task.registered[name].default_loss_weight for name in task_names()}
    assert weights == {
        "semseg": 1.0,
        "human_parts": 2.0,
        "saliency": 5.0,
        "normals": 10.0,
        "edges": 50.0,
        "depth": 1.0,
        "detection_3d": 1.0,
    }


def test_how_labels_are_stored():
    assert {name: Task.registered[name].stored_as for name in task_names()} == {
        "semseg": "classes",
        "human_parts": "classes",
        "saliency": "binary",
        "normals": "vectors",
        "edges": "binary",
        "depth": "values",
        "detection_3d": "boxes",
    }
    assert [name for name in task_names() if Task.registered[name].content_dependent] == ["human_parts"]


def test_two_tasks_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="'semseg'"):
        type("Another", (Task,), {"name": "semseg"})
