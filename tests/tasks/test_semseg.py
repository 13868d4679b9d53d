from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mtdense.core.errors import DataError
from mtdense.tasks import LossTerms, SemanticSegmentation

LN2 = math.log(2)


def test_loss_by_hand_in_both_families():
    # Probabilities as logits' softmax. Image 1: -log 1/2 and -log 1/4. Image 2: -log 1/8, one pixel ignored.
    half, quarter, eighth = ([1 / 2, 1 / 4, 1 / 4], [1 / 2, 1 / 4, 1 / 4], [1 / 8, 5 / 8, 2 / 8])
    logits = torch.tensor([[half, quarter], [eighth, half]]).log().movedim(-1, 1).unsqueeze(2)
    target = torch.tensor([[[0, 2]], [[0, 255]]])
    task = SemanticSegmentation(3)
    terms = task.loss_terms(logits, target, task.valid(target))
    assert terms.counts.tolist() == [[2], [1]]
    # One value per image: (1 + 2) / 2 = 1.5 and 3 times log 2.
    assert task.loss_value(terms).tolist() == pytest.approx([1.5 * LN2, 3 * LN2])
    # One pool of pixels: (1 + 2 + 3) / 3 = 2 times log 2.
    pool = LossTerms(terms.sums.sum(0, keepdim=True), terms.counts.sum(0, keepdim=True))
    assert task.loss_value(pool).item() == pytest.approx(2 * LN2)


def test_label_77_of_13_classes_is_named():
    label = np.zeros((4, 5), dtype=np.uint8)
    label[1, 1:3] = 77
    label[2, 2] = 255
    with pytest.raises(DataError) as error:
        SemanticSegmentation(13).check_label(label, "labels/0007.png")
    assert "labels/0007.png: label 77 (2 px) in a 13-class semseg map (allowed: 0..12" in error.value.problem
    for option in ("num_classes", "map the class", "ignore_values"):
        assert option in error.value.mend


@pytest.mark.parametrize("value", [-1, 13, 254, 256, 70000])
def test_other_ids_out_of_range(value):
    with pytest.raises(DataError, match=f"label {value} "):
        SemanticSegmentation(13).check_label(np.array([[0, value]]), "x")


def test_huge_unsigned_ids_do_not_wrap_around():
    with pytest.raises(DataError, match="18446744073709551615"):
        SemanticSegmentation(13).check_label(np.array([[0, 2**64 - 1]], dtype=np.uint64), "x")


def test_many_wrong_values_are_cut_short():
    with pytest.raises(DataError, match=r"and 95 more values"):
        SemanticSegmentation(13).check_label(np.arange(13, 113)[None], "x")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_any_number_type_becomes_int64(dtype):
    label = np.array([[0, 12], [255, 3]]).astype(dtype)
    checked = SemanticSegmentation(13).check_label(label, "x")
    assert checked.dtype == np.int64
    assert checked.tolist() == [[0, 12], [255, 3]]


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf")])
def test_fractions_are_refused(value):
    with pytest.raises(DataError, match="whole numbers"):
        SemanticSegmentation(13).check_label(np.array([[1.0, value]]), "x")


def test_dominant_share():
    task = SemanticSegmentation(3)
    assert task.dominant_share(np.array([[0, 0, 0, 1], [255, 255, 255, 255]])) == 0.75
    assert task.dominant_share(np.array([[2, 2, 255]])) == 1.0, "one class only"
    assert task.dominant_share(np.array([[255, 255]])) == 1.0, "no class at all"


def test_average_of_ideal_logits_is_a_class_frequency():
    task = SemanticSegmentation(3)
    target = torch.tensor([[[0, 1]], [[2, 1]], [[2, 255]]])
    average = task.ideal_logits(target).mean(0, keepdim=True)
    assert average[0, :, 0, 0].tolist() == pytest.approx([1 / 3, 0, 2 / 3])
    assert task.predict(average).tolist() == [[[2, 1]]]


def test_pictures_use_the_palette():
    task = SemanticSegmentation(2, palette=[[1, 2, 3], [4, 5, 6]])
    assert task.draw(np.array([[0, 1, 255]])).tolist() == [[[1, 2, 3], [4, 5, 6], [128, 128, 128]]]


def test_an_image_alone_is_not_blamed_for_classes_that_it_lacks():
    task = SemanticSegmentation(num_classes=21)
    target = torch.tensor([[[3, 3, 7, 255]]])
    for metrics, expected in ((task.metrics(), 2 / 21), (task.image_metrics(), 1.0)):
        task.update_metric(metrics["mIoU"], target % 21, target, task.valid(target))
        assert metrics["mIoU"].compute().item() == pytest.approx(expected)
