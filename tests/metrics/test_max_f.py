from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.classification import BinaryPrecisionRecallCurve

from mtdense.core.errors import ConfigError, DataError
from mtdense.metrics import MaxF
from mtdense.metrics.functional import max_f_thresholds, max_f_update
from mtdense.metrics.functional.max_f import _cuts

CASES = (
    "mixed_empty_image",
    "no_positive_pred",
    "no_positives",
    "random",
    "random_ignore",
    "sharp",
    "ties_on_thresholds",
)
PEERS = {"clean": ("atrc",), "invpt": ("invpt", "diffusionmtl"), "astmt": ("mti_beta1_perimage",)}


def scored(batches, *args, **options) -> MaxF:
    metric = MaxF(*args, **options)
    for preds, target in batches:
        metric.update(preds, target)
    return metric


@pytest.mark.parametrize("convention", PEERS)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_published_evaluators(oracle, case, convention):
    batches, expected = oracle("maxf", case)
    for peer in PEERS[convention]:
        if isinstance(expected[peer], str):
            assert (case, peer) == ("random_ignore", "mti_beta1_perimage"), "the only one that has no figure"
            continue
        assert scored(batches, convention).compute().item() == pytest.approx(expected[peer], rel=1e-6), peer


@pytest.mark.parametrize("convention", PEERS)
def test_nothing_scored_is_nan_with_a_warning(oracle, convention):
    metric = scored(oracle("maxf", "all_ignored")[0], convention)
    with pytest.warns(UserWarning, match="scored no valid pixel"):
        assert metric.compute().isnan()


def test_by_hand():
    # At .5: 1 of 2 predicted is right, 1 of 2 found. At .3: 2 of 3, all found: the best for b = 1.
    preds = torch.tensor([[[0.9, 0.5, 0.3, 0.0, 1.0]]])
    target = torch.tensor([[[1, 0, 1, 0, 255]]])
    metric = MaxF(beta_squared=1.0)
    metric.update(preds, target)
    assert metric.compute().item() == pytest.approx(2 * (2 / 3) / (1 + 2 / 3))
    precision, recall, thresholds = metric.curve()
    at = {round(t, 2): (p, r) for p, r, t in zip(*(x.tolist() for x in (precision, recall, thresholds)), strict=True)}
    assert at[0.5] == (0.5, 0.5)
    assert at[0.3] == (2 / 3, 1.0)
    assert at[0.95] == (0.0, 0.0)


def test_counts_are_those_of_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    preds, target = torch.rand(2, 9, 9, generator=generator), torch.rand(2, 9, 9, generator=generator) > 0.6
    curve = BinaryPrecisionRecallCurve(thresholds=max_f_thresholds("clean"))
    curve.update(preds, target.long())
    metric = scored([(preds, target)])
    for ours, theirs in zip(metric.curve(), curve.compute(), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs[:19].numpy(), rtol=1e-6)


def test_the_second_sigmoid_is_the_real_one():
    preds = torch.linspace(0, 1, 4001).view(1, 1, -1)
    target = torch.ones_like(preds, dtype=torch.bool)
    counts = max_f_update(preds, target, "invpt")[0]
    for threshold, hits in zip(max_f_thresholds("invpt"), counts[:, 0], strict=True):
        assert int(hits) == int((preds.double().sigmoid() >= threshold.double()).sum())


@pytest.mark.parametrize("convention", ["clean", "invpt"])
def test_thresholds_are_monotone(oracle, convention):
    for preds, target in oracle("maxf", "random_ignore")[0]:
        counts = max_f_update(preds, target, convention, target != 255)
        assert (counts[:, 1:, :2] <= counts[:, :-1, :2]).all()


def test_an_image_without_labels_does_not_count_in_a_mean_over_images(oracle):
    batches, _ = oracle("maxf", "random")
    preds, target = batches[0]
    nothing = (torch.rand(preds.shape), torch.full_like(target, 255))
    assert scored([*batches, nothing], "astmt").compute() == scored(batches, "astmt").compute()


def test_ignored_pixels_do_not_matter():
    metric = MaxF()
    preds, target = torch.tensor([[[0.7, float("nan"), 9.0]]]), torch.tensor([[[1, 77, 255]]])
    metric.update(preds, target, torch.tensor([[[True, False, True]]]))
    assert metric.compute() == 1.0
    assert metric.counts[0, 3] == 1


@pytest.mark.parametrize("convention", PEERS)
def test_two_ranks_equal_one(oracle, merged, convention):
    batches, _ = oracle("maxf", "random")
    assert merged(MaxF(convention), batches).compute() == scored(batches, convention).compute()


@pytest.mark.parametrize(
    ("preds", "target", "message"),
    [
        (torch.full((1, 2, 2), 1.5), torch.ones(1, 2, 2), "lies in 1.5..1.5"),
        (torch.full((1, 2, 2), float("nan")), torch.ones(1, 2, 2), "nan"),
        (torch.ones(1, 2, 2, dtype=torch.uint8), torch.ones(1, 2, 2), "uint8"),
        (torch.ones(1, 2, 2), torch.full((1, 2, 2), 2), "holds 2"),
        (torch.ones(1, 1, 2, 2), torch.ones(1, 2, 2), "(1, 1, 2, 2)"),
    ],
)
def test_bad_input_is_named(preds, target, message):
    with pytest.raises(DataError) as error:
        MaxF().update(preds, target)
    assert message in str(error.value)
    assert error.value.mend


@pytest.mark.parametrize("options", [{"convention": "atrc"}, {"beta_squared": 0.0}, {"beta_squared": float("nan")}])
def test_bad_options(options):
    with pytest.raises(ConfigError):
        MaxF(**options)


def test_the_protocol_names_the_convention():
    assert MaxF().protocol == "convention=clean, beta_squared=0.3"
    assert MaxF("astmt").protocol == "convention=astmt, beta_squared=1"


def test_plot(oracle):
    pytest.importorskip("matplotlib").use("agg")
    metric = scored(oracle("maxf", "random")[0])
    _, ax = metric.plot()
    precision, recall, _ = metric.curve()
    assert ax.lines[0].get_xydata().tolist() == torch.stack([recall, precision], dim=1).tolist()
    assert ax.lines[1].get_xydata().tolist()[0] in ax.lines[0].get_xydata().tolist()


@pytest.mark.parametrize("convention", PEERS)
def test_cuts_are_exact_to_the_last_bit(convention):
    # The floats at, just below and just above every cut and every 32nd of the range.
    cuts = np.float32(
        [c for c in _cuts(max_f_thresholds(convention), convention) if c <= 1] + [k / 32 for k in range(33)]
    )
    near = np.concatenate([cuts, np.nextafter(cuts, np.float32(-1)), np.nextafter(cuts, np.float32(2))])
    preds = torch.from_numpy(near[(near >= 0) & (near <= 1)]).view(1, 1, -1)
    if convention == "invpt":
        expected = [[bool(p >= c) for p in preds.flatten()] for c in _cuts(max_f_thresholds(convention), convention)]
    elif convention == "astmt":
        expected = [[bool(p > t) for p in preds.flatten()] for t in max_f_thresholds(convention)]
    else:
        expected = [[bool(p >= t) for p in preds.flatten()] for t in max_f_thresholds(convention)]
    for i in range(preds.numel()):
        counts = max_f_update(preds[..., i : i + 1], torch.ones(1, 1, 1), convention)[0]
        assert counts[:, 1].tolist() == [int(row[i]) for row in expected]
