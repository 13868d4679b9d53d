"""What holds for every metric, whatever the images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtdense.metrics import (
    AbsoluteError,
    MaxF,
    MeanAngularError,
    MeanIoU,
    OdsF,
    RootMeanSquaredError,
    StreamingMetric,
)
from mtdense.metrics.functional import (
    exact_value,
    max_f_update,
    pooled_precision_recall,
    precision_recall,
    thin,
)
from mtdense.metrics.functional.exact_sum import LIMBS

MAKERS: dict[str, Callable[[], StreamingMetric]] = {
    "miou": lambda: MeanIoU(3),
    "maxf": MaxF,
    "maxf_invpt": lambda: MaxF("invpt"),
    "maxf_astmt": lambda: MaxF("astmt"),
    "merr": MeanAngularError,
    "rmse": RootMeanSquaredError,
    "rmse_per_image": lambda: RootMeanSquaredError(per_image=True),
    "abserr": AbsoluteError,
    "odsf": lambda: OdsF(max_dist=0.05, thresholds=11),
    "odsf_labels": lambda: OdsF.pascal_context(thresholds=11),
    "odsf_threads": lambda: OdsF(thresholds=11, workers=2),
}
OPTIMUM = {"merr": 0.0, "rmse": 0.0, "rmse_per_image": 0.0, "abserr": 0.0}
H, W = 18, 22
SEEDS = st.integers(0, 2**32 - 1)


def maps(name: str, seed: int, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, targets and masks of some images; all-invalid ones may be among them, but not only such."""
    g = torch.Generator().manual_seed(seed)
    valid = (torch.rand(number, H, W, generator=g) > 0.2) & (torch.rand(number, 1, 1, generator=g) > 0.2)
    valid[0, :2] = True
    preds, target = torch.rand(2, number, H, W, generator=g)
    if name == "miou" or name == "odsf_labels":
        target = torch.randint(0, 3, (number, H // 6, W // 6 + 1), generator=g)
        target = target.repeat_interleave(6, dim=1).repeat_interleave(6, dim=2)[:, :, :W]
        return (torch.randint(0, 3, (number, H, W), generator=g) if name == "miou" else preds), target, valid
    if name.startswith("maxf"):
        return preds, target > 0.6, valid
    if name.startswith("odsf"):
        return preds, torch.from_numpy(thin(target.reshape(-1, W).numpy() > 0.7)).reshape(target.shape), valid
    if name == "merr":
        preds, target = torch.randn(2, number, 3, H, W, generator=g)
        return preds, target, valid
    return preds * 9, target * 9, valid


def scored(name: str, *batches: tuple[Tensor, Tensor, Tensor]) -> StreamingMetric:
    metric = MAKERS[name]()
    for batch in batches:
        metric.update(*batch)
    return metric


def sums(metric: StreamingMetric) -> dict[str, list[float]]:
    """Every state as a number; digits of the same sum may differ by what is carried."""
    states = {name: getattr(metric, name) for name in metric._defaults}
    exact = {name: state.shape[-1:] == (LIMBS,) for name, state in states.items()}
    return {name: (exact_value(state) if exact[name] else state).tolist() for name, state in states.items()}


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, order=st.permutations(range(5)), cuts=st.sets(st.integers(1, 4)))
def test_order_and_batches_change_nothing(name, seed, order, cuts):
    images = maps(name, seed, 5)
    whole = scored(name, images)
    bounds = [0, *sorted(cuts), 5]
    batches = [tuple(part[order[a:b]] for part in images) for a, b in pairwise(bounds)]
    parts = scored(name, *batches)
    assert sums(whole) == sums(parts)
    assert torch.equal(whole.compute(), parts.compute())


@pytest.mark.parametrize("name", [name for name in MAKERS if not name.startswith("odsf")])
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_a_perfect_prediction_is_the_optimum(name, seed):
    preds, target, valid = maps(name, seed, 3)
    target[0, ..., 0, :3] = torch.arange(3) if name == "miou" else target[0, ..., 0, :3]
    if name.startswith("maxf"):
        target[:, 0, 0] = valid[:, 0, 0] = True  # without anything salient in an image its recall is 0
    perfect = target.float() if name.startswith("maxf") else target
    best, other = scored(name, (perfect, target, valid)).compute(), scored(name, (preds, target, valid)).compute()
    assert best.item() == pytest.approx(OPTIMUM.get(name, 1.0), abs=1e-6)
    assert (best >= other) if MAKERS[name]().higher_is_better else (best <= other)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_the_target_s_own_edges_are_the_optimum(seed):
    preds, target, valid = maps("odsf", seed, 2)
    target[0, 5, 3:9] = True
    everywhere = torch.ones_like(valid)
    target = torch.stack([torch.from_numpy(thin(image.numpy())) for image in target])
    best, other = (OdsF(max_dist=0.02, thresholds=11, nms=False) for _ in range(2))
    best.update(target.float(), target, everywhere)
    other.update(preds, target, everywhere)
    assert best.compute() == best.ois == 1.0
    assert other.compute() <= 1.0


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, strength=st.floats(0, 1))
def test_false_positives_never_raise_precision_of_saliency(seed, strength):
    preds, target, valid = maps("maxf", seed, 2)
    worse = torch.where(target, preds, preds.clamp(min=strength))
    for convention in ("clean", "invpt"):
        before, after = (max_f_update(p, target, convention, valid).sum(0) for p in (preds, worse))
        assert (pooled_precision_recall(after)[0] <= pooled_precision_recall(before)[0])[before[:, 1] > 0].all()
        assert torch.equal(pooled_precision_recall(after)[1], pooled_precision_recall(before)[1])


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, strength=st.floats(0.1, 1))
def test_false_positives_never_raise_precision_of_edges(seed, strength):
    # On the left, edges and guesses; on the right, further off than any match, a line that is not there.
    g = torch.Generator().manual_seed(seed)
    target = torch.zeros(1, 30, 60, dtype=torch.bool)
    target[0, 3:27, 5 + seed % 20] = True
    preds = torch.where(torch.roll(target, 1, dims=2), torch.rand(1, 30, 60, generator=g), 0.0)
    worse = preds.clone()
    worse[0, 4:26, 50] = strength
    before, after = OdsF(max_dist=0.03, nms=False), OdsF(max_dist=0.03, nms=False)
    before.update(preds, target)
    after.update(worse, target)
    (p0, r0, _), (p1, r1, _) = (precision_recall(metric.counts.numpy()) for metric in (before, after))
    assert (p1 <= p0).all()
    assert (p1 < p0).any()
    assert (r0 == r1)[before.counts[:, 3].numpy() > 0].all()


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_thresholds_are_monotone(seed):
    preds, target, valid = maps("maxf", seed, 2)
    for convention in ("clean", "invpt", "astmt"):
        counts = max_f_update(preds, target, convention, valid)
        assert (counts[:, 1:, :2] <= counts[:, :-1, :2]).all()
        assert (counts[:, 1:, 2:] == counts[:, :-1, 2:]).all()
    # Single pixels, which thinning leaves alone, so that the sets of edges are nested.
    dots = torch.zeros_like(preds)
    dots[:, ::2, ::2] = preds[:, ::2, ::2]
    metric = OdsF(max_dist=0.1, nms=False)
    metric.update(dots, target)
    counts = metric.counts
    assert (counts[1:, [0, 2, 3]] <= counts[:-1, [0, 2, 3]]).all()
    assert (counts[:, 1] == counts[0, 1]).all()
