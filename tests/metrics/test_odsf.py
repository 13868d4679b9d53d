from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import torch

from mtdense.core.errors import ConfigError, DataError
from mtdense.metrics import OdsF
from mtdense.metrics.functional import average_precision, best_counts, edge_counts, ods, ois, seism_target

SIZES = ((40, 50), (33, 48), (40, 50), (24, 31), (36, 36))


def images(number: int = 5, annotators: int = 1) -> list[tuple[torch.Tensor, list[torch.Tensor]]]:
    """(prediction, target of each annotator) of boxes on a ground, predictions blurred and noisy."""
    made = []
    for i in range(number):
        rng = np.random.default_rng(i)
        h, w = SIZES[i % len(SIZES)]
        labels = np.zeros((h, w), dtype=np.int64)
        for k in range(4):
            y, x = rng.integers(2, h - 14), rng.integers(2, w - 14)
            labels[y : y + rng.integers(6, 12), x : x + rng.integers(6, 12)] = k + 1
        edges = seism_target(labels)
        targets = [torch.from_numpy(np.roll(edges, k, axis=1).copy()) for k in range(annotators)]
        strength = np.clip(0.7 * edges + 0.5 * rng.random((h, w)) ** 4, 0, 1).astype(np.float32)
        made.append((torch.from_numpy(strength), targets))
    return made


def scored(made, **options) -> OdsF:
    metric = OdsF(**options)
    metric.update([pred for pred, _ in made], [targets for _, targets in made])
    return metric


def plain(made, **options) -> np.ndarray:
    return np.stack([edge_counts(pred.numpy(), [t.numpy() for t in targets], **options) for pred, targets in made])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("annotators", [1, 3])
def test_adds_up_what_the_pure_functions_count(annotators, workers):
    made = images(annotators=annotators)
    counts = plain(made, max_dist=0.02)
    metric = scored(made, max_dist=0.02, workers=workers)
    assert metric.counts.tolist() == counts.sum(0).tolist()
    assert metric.compute().item() == ods(counts.sum(0))
    assert metric.ois.item() == ois(np.sum([best_counts(image) for image in counts], axis=0))
    assert metric.average_precision.item() == average_precision(counts.sum(0))
    assert 0.3 < metric.compute() < metric.ois < 1


def test_a_batch_of_one_size_may_be_a_tensor():
    made = [pair for pair in images() if pair[0].shape == (40, 50)]
    metric = OdsF()
    metric.update(torch.stack([pred for pred, _ in made]), torch.stack([targets[0] for _, targets in made]))
    assert torch.equal(metric.counts, scored(made).counts)


def test_annotators_may_be_a_tensor():
    pred, targets = images(1, annotators=3)[0]
    metric = OdsF()
    metric.update([pred], [torch.stack(targets)])
    assert torch.equal(metric.counts, scored([(pred, targets)]).counts)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.bool])
def test_types_of_predictions(dtype):
    pred, targets = images(1)[0]
    pred = (pred * 255).to(dtype) if dtype == torch.uint8 else pred > 0.5 if dtype == torch.bool else pred.to(dtype)
    expected = pred if dtype == torch.uint8 else pred.float()
    assert scored([(pred, targets)], nms=False).counts.tolist() == plain([(expected, targets)], nms=False)[0].tolist()


def test_options_reach_the_engine():
    made = images(2)
    metric = scored(made, max_dist=0.04, thresholds=11, nms=False)
    thresholds = np.array([0.001, *np.arange(1, 10) / 10, 0.999])
    counts = plain(made, max_dist=0.04, thresholds=thresholds, nms=False).sum(0)
    assert metric.counts.tolist() == counts.tolist()
    assert metric.protocol == "max_dist=0.04, 11 thresholds, no NMS, targets=edges"


def test_published_protocols():
    labels = torch.zeros(60, 60, dtype=torch.int64)
    labels[20:40, 10:30] = 255  # a class of PASCAL-Context's 459
    labels[30:50, 35:55] = 458
    edges = torch.from_numpy(seism_target(labels.numpy()))
    pred = (edges * 0.8 + 0.1).float()
    pascal, nyud = OdsF.pascal_context(), OdsF.nyud(thresholds=51)
    pascal.update([pred], [labels])
    assert pascal.protocol == "max_dist=0.0075, 101 thresholds, targets=labels"
    assert pascal.counts.tolist() == plain([(pred, [edges])], max_dist=0.0075)[0].tolist()
    # NYUD-v2: the edge map is itself treated like a map of regions.
    nyud.update([pred], [edges])
    again = torch.from_numpy(seism_target(edges.numpy()))
    assert nyud.protocol == "max_dist=0.011, 51 thresholds, targets=labels"
    expected = plain([(pred, [again])], max_dist=0.011, thresholds=nyud.thresholds)[0]
    assert nyud.counts.tolist() == expected.tolist()


@pytest.mark.parametrize("make", [OdsF, OdsF.nyud])
@pytest.mark.parametrize("kind", [torch.int64, torch.float32, torch.uint8])
def test_padding_is_cut_off(make, kind):
    pred, (target,) = images(1)[0]
    bare, padded = make(), make()
    bare.update([pred], [target])
    wide = torch.full((64, 64), 255, dtype=kind)
    wide[5:45, 3:53] = target.to(kind)
    guess = torch.rand(64, 64)
    guess[5:45, 3:53] = pred
    padded.update([guess], [wide])
    assert torch.equal(padded.counts, bare.counts)
    masked = make()
    masked.update([guess], [torch.where(wide == 255, 0, wide)], [wide != 255])
    assert torch.equal(masked.counts, bare.counts)


@pytest.mark.parametrize("make", [OdsF, OdsF.nyud])
def test_an_image_without_labels_is_left_out(make):
    pred, (target,) = images(1)[0]
    metric, other = make(), make()
    metric.update([pred, pred], [torch.full_like(target, 255, dtype=torch.uint8), target])
    other.update([pred], [target])
    assert torch.equal(metric.counts, other.counts)
    other.update([pred], [target], [torch.zeros_like(target)])
    other.update([], [])
    assert torch.equal(metric.counts, other.counts)


def test_ignored_pixels_inside_are_neither_edges_nor_predicted():
    pred, (target,) = images(1)[0]
    hole = torch.zeros_like(target)
    hole[10:20, 10:20] = True
    metric = OdsF()
    metric.update([pred], [torch.where(hole, 255, target.long())])
    expected = plain([(torch.where(hole, 0.0, pred), [target & ~hole])])[0]
    assert metric.counts.tolist() == expected.tolist()


@pytest.mark.parametrize("label", [0, 5])
def test_a_hole_in_a_label_map_has_no_boundary(label):
    labels = torch.full((1, 40, 40), label)
    labels[:, :, 30:] = 7
    valid = torch.ones(1, 40, 40, dtype=torch.bool)
    valid[:, 10:20, 10:20] = False
    whole, holed, marked = (OdsF(target_kind="labels", ignore_index=255) for _ in range(3))
    whole.update(torch.zeros(1, 40, 40), labels)
    holed.update(torch.zeros(1, 40, 40), labels, valid)
    marked.update(torch.zeros(1, 40, 40), torch.where(valid, labels, 255))
    assert whole.counts[50].tolist() == [0, 40, 0, 0]
    assert torch.equal(holed.counts, whole.counts)
    assert torch.equal(marked.counts, whole.counts)
    # A hole on the boundary interrupts it.
    across = torch.roll(valid, 15, dims=2)
    holed.reset()
    holed.update(torch.zeros(1, 40, 40), labels, across)
    assert 28 <= holed.counts[50, 1] <= 30


@pytest.mark.parametrize("make", [OdsF, OdsF.nyud])
@pytest.mark.parametrize("where", [(5, slice(None)), (slice(None), 5), (5, 5)])
def test_an_image_of_one_row_or_column_is_left_out(make, where):
    pred, (target,) = images(1)[0]
    valid = torch.zeros(2, *pred.shape, dtype=torch.bool)
    valid[0][where] = True
    valid[1] = True
    metric, other = make(), make()
    metric.update([pred, pred], [target, target], list(valid))
    other.update([pred], [target])
    assert torch.equal(metric.counts, other.counts)


def test_a_target_of_0_and_255_is_scored_with_one_warning():
    pred, (target,) = images(1)[0]
    plain = torch.zeros_like(target, dtype=torch.uint8)
    plain[10:20, 10:20] = 255
    metric = OdsF()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")
        metric.update([pred] * 3, [plain, target, plain])
    assert [str(warning.message)[:29] for warning in found] == ["a target holds 0 and 255 only"]
    assert metric.counts[50, 1] == target.sum()
    assert metric.counts[0, 3] > scored([(pred, [target])]).counts[0, 3], "what is predicted there is wrong"


def test_batches_are_fetched_whole(monkeypatch):
    fetched = []
    fetch = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda values: (fetched.append(values.shape), fetch(values))[1])
    valid = torch.ones(4, 20, 20, dtype=torch.bool)
    OdsF().update(torch.rand(4, 20, 20), torch.zeros(4, 20, 20), valid)
    assert fetched == [(4, 20, 20)] * 3


def test_nothing_scored_is_nan_with_a_warning():
    metric = OdsF()
    metric.update(torch.zeros(1, 20, 20), torch.zeros(1, 20, 20, dtype=torch.bool))
    for value in (metric.compute, lambda: metric.ois, lambda: metric.average_precision):
        with pytest.warns(UserWarning, match="scored no edge"):
            assert value().isnan()
    with pytest.raises(DataError, match="no edge"):
        metric.plot()


def test_no_edge_in_the_target_or_the_prediction_scores_zero():
    edges = torch.zeros(1, 20, 20, dtype=torch.bool)
    edges[:, 10, 4:16] = True
    for pred, target in ((edges.float(), torch.zeros_like(edges)), (torch.zeros(1, 20, 20), edges)):
        metric = OdsF(nms=False)
        metric.update(pred, target)
        assert metric.compute() == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_state_does_not_grow_with_images(workers):
    metric = OdsF(workers=workers)
    sizes = []
    for batch in range(3):
        for pred, targets in images(5):
            metric.update([pred], [targets])
        metric.compute()
        sizes.append(len(pickle.dumps(metric)))
        assert batch == 0 or sizes[-1] <= sizes[0] + 16
    assert sum(state.nbytes for state in metric.metric_state.values()) < 4000


def test_an_error_without_workers_leaves_the_metric_as_it_was():
    made = images(2)
    metric = scored(made[:1])
    before = metric.counts
    with pytest.raises(DataError, match="image 2: "):
        metric.update([made[0][0], made[1][0] + 2], [made[0][1], made[1][1]])
    assert torch.equal(metric.counts, before)


EDGES = torch.eye(20, dtype=torch.bool)


@pytest.mark.parametrize(
    ("preds", "target", "valid", "message"),
    [
        (torch.zeros(2, 20, 20), EDGES[None], None, "2 predictions, 1 targets"),
        (torch.zeros(1, 1, 20, 20), EDGES[None], None, r"image 0: .*\(1, 20, 20\)"),
        ([torch.zeros(20, 20), torch.zeros(19, 20)], [EDGES, EDGES], None, r"image 1: .*\(19, 20\)"),
        (torch.full((1, 20, 20), -0.1), EDGES[None], None, "image 0: .*-0.1"),
        (torch.zeros(1, 20, 20, dtype=torch.int64), EDGES[None], None, "int64"),
        (torch.zeros(1, 20, 20), EDGES[None] * 2, None, "holds 2"),
        (torch.zeros(1, 20, 20), EDGES[None] * 0.5, None, "no whole numbers"),
        (torch.zeros(1, 20, 20), EDGES[None], torch.ones(1, 20, 20), "float32 values"),
        (torch.zeros(1, 20, 20), EDGES[None], torch.ones(1, 20, 19, dtype=torch.bool), r"\(20, 19\)"),
    ],
)
def test_bad_input_is_named(preds, target, valid, message):
    with pytest.raises(DataError, match=message) as error:
        OdsF().update(preds, target, valid)
    assert error.value.mend


@pytest.mark.parametrize(
    "options",
    [
        {"max_dist": 1.0},
        {"max_dist": float("nan")},
        {"thresholds": 2},
        {"target_kind": "boundaries"},
        {"workers": -1},
        {"workers": True},
    ],
)
def test_bad_options(options):
    with pytest.raises(ConfigError) as error:
        OdsF(**options)
    assert error.value.mend


def test_forward_gives_the_batch_and_adds_it():
    made = images(2)
    metric = OdsF()
    for pair in made:
        assert metric([pair[0]], [pair[1]]) == scored([pair]).compute()
    assert torch.equal(metric.counts, scored(made).counts)


def test_two_ranks_equal_one(merged):
    made = [([pred], targets) for pred, targets in images()]
    one = OdsF()
    for batch in made:
        one.update(*batch)
    assert torch.equal(merged(OdsF(), made).counts, one.counts)


def test_plot():
    pytest.importorskip("matplotlib").use("agg")
    metric = scored(images(2))
    _, ax = metric.plot()
    assert len(ax.lines[0].get_xdata()) == 101
    recall, precision = (float(values[0]) for values in ax.lines[1].get_data())
    assert 2 * precision * recall / (precision + recall) == pytest.approx(metric.compute().item())
