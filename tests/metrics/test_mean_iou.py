from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from mtdense.core.errors import ConfigError, DataError
from mtdense.metrics import MeanIoU

CASES = ("absent_gt_and_pred", "absent_gt_pred_false_positives", "all_ignored_image", "preds_in_ignored", "random21")
PEERS = {"zero": ("invpt", "atrc"), "skip": ("torchmetrics_macro", "mean_over_present_union")}


@pytest.mark.parametrize("absent", ["zero", "skip"])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_published_evaluators(oracle, case, absent):
    batches, expected = oracle("miou", case)
    metric = MeanIoU(expected["num_classes"], ignore_index=255, absent=absent)
    for preds, target in batches:
        metric.update(preds, target)
    for peer in PEERS[absent]:
        assert metric.compute().item() == pytest.approx(expected[peer], rel=1e-5), peer
    if absent == "zero":
        assert 100 * metric.compute().item() == pytest.approx(expected["diffusionmtl"], rel=1e-5)


@pytest.mark.parametrize("absent", ["zero", "skip"])
def test_nothing_scored_is_nan_with_a_warning(oracle, absent):
    batches, expected = oracle("miou", "all_ignored_only")
    metric = MeanIoU(expected["num_classes"], ignore_index=255, absent=absent)
    for preds, target in batches:
        metric.update(preds, target)
    with pytest.warns(UserWarning, match="scored no valid pixel"):
        assert metric.compute().isnan()


def test_by_hand():
    # Class 0: hit 1, in target 2, in preds 1 -> 1/2. Class 1: hit 1, target 1, preds 2 -> 1/2. Class 2: 1/1. 3: absent.
    target = torch.tensor([[[0, 0, 1, 2, 9]]])
    preds = torch.tensor([[[0, 1, 1, 2, 0]]])
    valid = target != 9
    metric = MeanIoU(4)
    metric.update(preds, target, valid)
    assert metric.compute().item() == pytest.approx((0.5 + 0.5 + 1 + 0) / 4)
    assert metric.per_class().tolist()[:3] == [0.5, 0.5, 1.0]
    assert metric.per_class()[3].isnan()
    metric = MeanIoU(4, absent="skip")
    metric.update(preds, target, valid)
    assert metric.compute().item() == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert metric.confusion.tolist()[0] == [1, 1, 0, 0], "targets stand in rows"


def test_scores_and_labels_agree():
    scores = torch.randn(2, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    target = torch.randint(0, 5, (2, 6, 7), generator=torch.Generator().manual_seed(1))
    by_scores, by_labels, reference = MeanIoU(5), MeanIoU(5), MulticlassJaccardIndex(5)
    by_scores.update(scores, target)
    by_labels.update(scores.argmax(1), target)
    reference.update(scores, target)
    assert torch.equal(by_scores.confusion, by_labels.confusion)
    assert by_scores.compute().item() == pytest.approx(reference.compute().item(), rel=1e-6)


def test_uint8_ids_do_not_overflow():
    # 20 * 21 + 20 = 440 would wrap around in uint8.
    ids = torch.full((1, 2, 2), 20, dtype=torch.uint8)
    metric = MeanIoU(21)
    metric.update(ids, ids)
    assert metric.confusion[20, 20] == 4


def test_ids_beyond_32_bits_do_not_wrap():
    # 2^32 + 1 would be class 1 as int32.
    huge, ids = torch.tensor([[[2**32 + 1, 1]]]), torch.tensor([[[1, 1]]])
    with pytest.raises(DataError, match="4294967297"):
        MeanIoU(3).update(ids, huge)
    metric = MeanIoU(3)
    metric.update(huge, huge, torch.tensor([[[False, True]]]))
    assert metric.confusion.sum() == 1


def test_255_is_ignored_unless_told_otherwise():
    ids = torch.full((1, 2, 2), 255)
    metric = MeanIoU(300)
    metric.update(ids, ids)
    assert metric.confusion.sum() == 0
    metric = MeanIoU(300, ignore_index=None)
    metric.update(ids, ids)
    assert metric.confusion[255, 255] == 4


def test_two_ranks_equal_one(oracle, merged):
    batches, expected = oracle("miou", "random21")
    one = MeanIoU(expected["num_classes"], ignore_index=255)
    for preds, target in batches:
        one.update(preds, target)
    two = merged(MeanIoU(expected["num_classes"], ignore_index=255), batches)
    assert torch.equal(one.confusion, two.confusion)
    assert torch.equal(one.compute(), two.compute())


@pytest.mark.parametrize(
    ("preds", "target", "message"),
    [
        (torch.zeros(1, 2, 2, dtype=torch.int64), torch.full((1, 2, 2), 77), "target holds class 77"),
        (torch.full((1, 2, 2), 5), torch.zeros(1, 2, 2, dtype=torch.int64), "prediction holds class 5"),
        (torch.zeros(1, 2, 2, dtype=torch.int64), torch.full((1, 2, 2), -1), "class -1"),
        (torch.zeros(1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64), "class ids are expected"),
        (torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64), "4 score channels for 3 classes"),
        (torch.zeros(1, 2, 3, dtype=torch.int64), torch.zeros(1, 2, 2, dtype=torch.int64), "(1, 2, 3)"),
    ],
)
def test_bad_input_is_named(preds, target, message):
    with pytest.raises(DataError) as error:
        MeanIoU(3).update(preds, target)
    assert message in str(error.value)
    assert error.value.mend


def test_out_of_range_is_fine_where_it_does_not_count():
    metric = MeanIoU(3)
    metric.update(torch.tensor([[[0, 99]]]), torch.tensor([[[0, 77]]]), torch.tensor([[[True, False]]]))
    assert metric.confusion.sum() == 1


@pytest.mark.parametrize("options", [{"num_classes": 1}, {"num_classes": True}, {"num_classes": 3, "absent": "nan"}])
def test_bad_options(options):
    with pytest.raises(ConfigError):
        MeanIoU(**options)


def test_mask_shape_and_type():
    ids = torch.zeros(1, 2, 2, dtype=torch.int64)
    with pytest.raises(DataError, match="boolean"):
        MeanIoU(3).update(ids, ids, torch.ones(1, 2, 2))
    with pytest.raises(DataError, match="does not fit"):
        MeanIoU(3).update(ids, ids, torch.ones(1, 2, dtype=torch.bool))


def test_streaming_equals_all_at_once():
    rng = np.random.default_rng(0)
    preds, target = (torch.from_numpy(rng.integers(0, 4, (6, 5, 5))) for _ in range(2))
    whole, parts = MeanIoU(4), MeanIoU(4)
    whole.update(preds, target)
    for k in range(6):
        parts.update(preds[k : k + 1], target[k : k + 1])
    assert torch.equal(whole.compute(), parts.compute())
