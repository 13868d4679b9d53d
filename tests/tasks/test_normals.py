from __future__ import annotations

import numpy as np
import pytest
import torch

from mtdense.core.errors import DataError
from mtdense.tasks import LossTerms, SurfaceNormals


def vectors(*rows):
    """(1, 3, 1, N) from N vectors."""
    return torch.tensor(rows).T.reshape(1, 3, 1, -1)


def test_losses_by_hand_in_both_families():
    # Unit predictions (1, 0, 0), (0, 0.6, -0.8), and one ignored | (0, 0, -1) and two ignored.
    logits = torch.cat(
        [
            vectors([3.0, 0, 0], [0, 3.0, -4.0], [9.0, 9, 9]),
            vectors([0, 0, -0.1], [9.0, 9, 9], [9.0, 9, 9]),
        ]
    )
    toward, none = [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]
    target = torch.cat([vectors(toward, toward, none), vectors(toward, none, none)])
    # Absolute differences 1 + 1 = 2, 0.6 + 0.2 = 0.8 | 0: images (2.8 / 2, 0), pool 2.8 / 3. Cosine: 1, 0.2 | 0.
    for loss, images, pool in (("l1", [1.4, 0.0], 2.8 / 3), ("cosine", [0.6, 0.0], 1.2 / 3)):
        task = SurfaceNormals(loss=loss)
        terms = task.loss_terms(logits, target, task.valid(target))
        assert terms.counts.tolist() == [[2], [1]], "counted in pixels, not in components"
        assert task.loss_value(terms).tolist() == pytest.approx(images, abs=1e-6)
        rows = LossTerms(terms.sums.sum(0, keepdim=True), terms.counts.sum(0, keepdim=True))
        assert task.loss_value(rows).item() == pytest.approx(pool, abs=1e-6)


@pytest.mark.parametrize("loss", ["l1", "cosine"])
def test_a_zero_prediction_has_a_finite_gradient_toward_the_target(loss):
    task = SurfaceNormals(loss=loss)
    target = vectors([0.6, 0.0, -0.8])
    logits = torch.zeros(1, 3, 1, 1, requires_grad=True)
    task.loss_value(task.loss_terms(logits, target, task.valid(target))).sum().backward()
    assert torch.isfinite(logits.grad).all()
    step = -logits.grad
    assert (step * target).sum() > 0
    assert step.abs().max() <= 1


def test_tiny_predictions_have_a_direction():
    task = SurfaceNormals()
    assert task.predict(vectors([3e-5, 0.0, -4e-5])).flatten().tolist() == pytest.approx([0.6, 0, -0.8])
    assert task.predict(torch.zeros(1, 3, 1, 1)).flatten().tolist() == [0, 0, 0]


def test_flip_negates_x_and_moves_columns():
    label = np.array([[[0.6, 0.0, -0.8], [0.0, 0.0, 0.0]]], dtype=np.float32)
    flipped = SurfaceNormals().flip_label(label)
    np.testing.assert_array_equal(flipped, np.array([[[0, 0, 0], [-0.6, 0, -0.8]]], dtype=np.float32))
    assert not np.signbit(flipped[0, 0]).any(), "an invalid pixel stays a plain zero"


def test_a_zoom_leaves_directions_alone():
    label = np.array([[[0.6, 0.0, -0.8]]], dtype=np.float32)
    np.testing.assert_array_equal(SurfaceNormals().zoom_label(label, 2.0), label)


def test_finish_renormalises_and_drops_blends():
    label = np.array([[[0.3, 0.0, -0.6], [0.1, 0.0, 0.0], [0.0, 0.0, 0.0]]], dtype=np.float32)
    finished = SurfaceNormals().finish_label(label)
    norm = np.sqrt(0.45)
    np.testing.assert_allclose(finished[0], [[0.3 / norm, 0, -0.6 / norm], [0, 0, 0], [0, 0, 0]], rtol=1e-6)
    assert finished.dtype == np.float32


def test_eight_bit_files_pass_and_get_unit_length():
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(9, 9, 3))
    exact /= np.linalg.norm(exact, axis=-1, keepdims=True)
    exact[0, 0] = 0
    decoded = 2 * np.round((exact + 1) * 127.5) / 255 - 1
    assert np.abs(decoded[0, 0]).max() > 0, "8 bits cannot write a zero"
    checked = SurfaceNormals().check_label(decoded, "x")
    assert checked[0, 0].tolist() == [0, 0, 0]
    lengths = np.linalg.norm(checked.reshape(-1, 3)[1:], axis=-1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-6)
    assert np.degrees(np.arccos((checked * exact).sum(-1)[exact[..., 2] != 0].min())) < 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        [[127.0, 127.0, 255.0]],  # bytes that nobody decoded
        [[0.5, 0.5, 1.0]],  # decoded to 0..1 only
        [[0.5, 0.5, 0.0], [0.6, 0.5, 0.1]],  # the same, facing the camera: too short
    ],
)
def test_vectors_that_are_no_unit_vectors(wrong):
    with pytest.raises(DataError, match=r"^n\.png: normals must be unit vectors") as error:
        SurfaceNormals().check_label(np.array([wrong]), "n.png")
    assert "-1..1" in error.value.mend


def test_not_finite_is_refused():
    with pytest.raises(DataError, match="1 normals are not finite"):
        SurfaceNormals().check_label(np.array([[[np.nan, 0, -1], [0, 0, -1]]]), "n.png")


def test_average_of_ideal_logits_is_the_mean_direction():
    target = torch.cat([vectors([0.6, 0.0, -0.8]), vectors([-0.6, 0.0, -0.8])])
    prediction = SurfaceNormals().predict(SurfaceNormals().ideal_logits(target).mean(0, keepdim=True))
    assert prediction.flatten().tolist() == pytest.approx([0, 0, -1])


def test_pictures_have_the_usual_colours():
    # A wall ahead is blue, a floor green, a wall on the left (facing right) red.
    label = np.array([[[0, 0, -1], [0, -1, 0], [1, 0, 0], [0, 0, 0]]], dtype=np.float32)
    ahead, floor, left, none = SurfaceNormals().draw(label)[0]
    assert ahead.argmax() == 2
    assert floor.argmax() == 1
    assert left.argmax() == 0
    assert none.tolist() == [128, 128, 128]
