"""Figures 6 and 7: distances in numbers, tables and maps as pictures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from mtdense.models import TIF
from mtdense.models.diagnosis import draw_tables
from mtdense.models.tif import attention_divergence, task_distance
from mtdense.models.tif.distances import places_inside
from mtdense.models.tif.figures import draw_maps, principal_colours
from tests.models.helpers import SPECS, make_batch


def build(**options: Any) -> TIF:
    torch.manual_seed(0)
    return TIF(**{"tasks": SPECS, "backbone": "tiny", "preset": "tiny", **options}).eval()


# ---- distances -----------------------------------------------------------------------------------------------------
def two_places(first: tuple[float, float], second: tuple[float, float]) -> torch.Tensor:
    """A map of one image, two channels and two places."""
    return torch.tensor([first, second]).T[None, :, None]


A = two_places((1.0, 0.0), (0.0, 2.0))
B = two_places((3.0, 0.0), (2.0, 0.0))


def test_cosine_distance_by_hand() -> None:
    # Places: the same direction, then a right angle; lengths do not count.
    assert task_distance([A, B, -A])[0].tolist() == [[0.0, 0.5, 2.0], [0.5, 0.0, 1.5], [2.0, 1.5, 0.0]]


def test_l2_distance_by_hand() -> None:
    # (1, 0, 0, 2) / sqrt 5 and (3, 0, 2, 0) / sqrt 13.
    expected = math.sqrt(2 - 2 * 3 / math.sqrt(65))
    assert task_distance([A, B], "l2")[0, 0, 1].item() == pytest.approx(expected)


def test_cka_knows_rotations_and_scales() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, 4, 5, generator=generator)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    turned = torch.einsum("ij,bjhw->bihw", rotation, x) * 3 + 7
    distances = task_distance([x, turned, torch.randn(2, 6, 4, 5, generator=generator)], "cka")
    assert distances[:, 0, 1].abs().max() < 1e-5
    assert distances[:, 0, 2].min() > 0.3
    # Two places: centred features of A are +-(0.5, -1), those of B +-(0.5, 0): both of rank one, so alike.
    assert task_distance([A, B], "cka")[0, 0, 1].item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "l2", "cka"])
def test_places_outside_do_not_count(metric: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, 4, 5, generator=generator) for _ in range(3)]
    places = torch.zeros(2, 4, 5, dtype=torch.bool)
    places[:, 1:3, 1:4] = True
    inner = task_distance([x[..., 1:3, 1:4] for x in maps], metric)
    assert torch.allclose(task_distance(maps, metric, places.flatten(1)), inner, atol=1e-6)
    assert not torch.allclose(task_distance(maps, metric), inner, atol=1e-2)
    places[0] = False
    assert task_distance(maps, metric, places.flatten(1)).isnan().flatten(1).all(1).tolist() == [True, False]


def test_attention_divergence_by_hand() -> None:
    even = torch.zeros(1, 1, 2, 2)
    tilted = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])[None, None]
    # First query: (1/2, 1/2) and (1/4, 3/4): sum of (p - q) log(p / q) = log 3 / 4, halved; the second has none.
    expected = math.log(3) / 8
    assert attention_divergence([even, tilted])[0, 0, 1].item() == pytest.approx(expected / 2)
    first = torch.tensor([[True, False]])
    assert attention_divergence([even, tilted], first)[0, 0, 1].item() == pytest.approx(expected)


def test_places_by_their_centres() -> None:
    content = torch.tensor([[0, 0, 32, 40], [8, 10, 16, 20]])
    inside = places_inside(content, (32, 40), (4, 4)).unflatten(1, (4, 4))
    assert inside[0].all()
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[1:3, 1:3] = True
    assert torch.equal(inside[1], expected)


@pytest.mark.parametrize("features", ["refined", "input"])
def test_distances_of_a_network(features: Any) -> None:
    model = build(distance_features=features)
    batch = make_batch(SPECS)
    with torch.no_grad():
        outputs = model.run_network(batch)
    distances = model.task_distances(batch, outputs)
    assert sorted(distances) == [2, 3]
    name = {"refined": "refined", "input": "task_maps"}[features]
    for scale, table in distances.items():
        assert table.shape == (2, 3, 3)
        maps = [maps[scale] for maps in outputs.features[name].values()]
        assert torch.equal(table, task_distance(maps))
        # Without a projection tasks enter SFD with the same map.
        assert (table.max().item() < 1e-5) is (features == "input")


def test_diagnostics_of_a_network() -> None:
    """Each distance at each scale, and LTHD's change from the kept maps; the option of the network is no matter."""
    model = build(distance_metric="l2")
    batch = make_batch(SPECS)
    # The second image fills half of its canvas.
    batch["meta"]["content"][1] = torch.tensor([0, 0, 32, 20])
    with torch.no_grad():
        outputs = model.run_network(batch)
    numbers = model.diagnostics(batch, outputs)
    metrics = ("cosine", "l2", "cka", "attention")
    expected = [f"task_distance/{metric}/scale_{i}" for metric in metrics for i in (2, 3)]
    assert sorted(numbers) == sorted([*expected, "lthd_change/scale_0", "lthd_change/scale_1"])
    cosine = numbers["task_distance/cosine/scale_2"]
    assert torch.equal(cosine.values, model.task_distances(batch, outputs, "cosine")[2])
    assert "behind SFD" in cosine.about
    change = numbers["lthd_change/scale_0"].values
    assert change.shape == (2, 3)
    for t, name in enumerate(model.tasks):
        before, after = (outputs.features[key][name][0][1:, :, :, :5] for key in ("task_maps", "refined"))
        by_hand = 1 - torch.nn.functional.cosine_similarity(before, after).mean()
        assert change[1, t].item() == pytest.approx(by_hand.item(), rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"task_proj": "conv1x1", "distillation": "cross"}], ids=str)
def test_attention_recomputed_from_kept_maps_is_that_of_the_pass(options: dict[str, Any]) -> None:
    model = build(distance_metric="attention", **options)
    batch = make_batch(SPECS)
    seen: dict[str, torch.Tensor] = {}
    for name, decoder in model.network.decoders.items():
        decoder.sfd["2"].register_forward_hook(lambda m, x, y, name=name: seen.__setitem__(name, y[1]))
    with torch.no_grad():
        outputs = model.run_network(batch)
    assert torch.equal(model.task_distances(batch, outputs)[2], attention_divergence(list(seen.values())))


# ---- pictures ------------------------------------------------------------------------------------------------------
def test_maps_stand_in_rows() -> None:
    x = torch.zeros(2, 2, 3)
    x[:, 1, 2] = torch.tensor([3.0, -4.0])
    picture = draw_maps([{"norm": [x], "share": [x]}, {"norm": [torch.zeros_like(x)], "share": [torch.zeros_like(x)]}])
    assert picture.shape == (64 * 2 + 2, 96 * 2 + 2, 3)
    bright = picture.astype(int).sum(-1) > 500
    gaps = np.zeros_like(bright)
    gaps[64:66], gaps[:, 96:98] = True, True
    assert bright[32:64, 64:96].all()
    assert (bright & ~gaps).sum() == 2 * 32 * 32


def test_principal_colours_are_main_directions() -> None:
    """Red is the direction of the largest spread; a map along one line has no other colour."""
    steps = torch.linspace(0, 1, 6).reshape(2, 3)
    picture = principal_colours(torch.stack([steps * 2, steps, torch.zeros(2, 3), torch.zeros(2, 3)]))
    assert picture[..., 0].flatten().tolist() == [0, 51, 102, 153, 204, 255]
    assert principal_colours(torch.ones(2, 2, 2)).tolist() == [[[0, 0, 0]] * 2] * 2


def test_figures_of_a_network() -> None:
    model = build()
    batch = make_batch(SPECS)
    with torch.no_grad():
        outputs = model.run_network(batch)
    figures = model.figures(batch, outputs)
    assert sorted(figures) == ["lthd", "lthd_attention", "task_distance"]
    assert all(p.dtype == np.uint8 and p.ndim == 3 and p.shape[2] == 3 for p in figures.values())
    tables = {f"scale {i}": model.task_distances(batch, outputs)[i].mean(0).numpy() for i in (3, 2)}
    assert np.array_equal(figures["task_distance"], draw_tables(tables, ["semseg", "depth", "normals"]))
    # Scale 0 is 8 x 10, 8 times as large: before and after as norms, before and after as colours.
    assert figures["lthd"].shape == (3 * 64 + 4, 4 * 80 + 6, 3)
    before, after = outputs.features["task_maps"]["semseg"][0][0], outputs.features["refined"]["semseg"][0][0]
    first = draw_maps([{"norm": [before, after], "pca": [before, after]}])
    assert np.array_equal(figures["lthd"][:64], first)
    assert not np.array_equal(first[:, :80], first[:, 82:162])
    # Scale 2 is 2 x 3.
    assert figures["lthd_attention"].shape == (3 * 64 + 4, 3 * 96 + 4, 3)


def test_attention_of_the_centre() -> None:
    """The third picture is the softmax of the sum of what the first two are the softmax of."""
    model = build()
    batch = make_batch(SPECS, {name: [True] for name in SPECS}, (64, 96))
    with torch.no_grad():
        outputs = model.run_network(batch)
    rows = model._attention_of_centre(batch, outputs)
    assert len(rows) == 3
    for row in rows:
        assert [tuple(x.shape) for x in row] == [(1, 4, 6)] * 3
        assert [x.sum().item() for x in row] == pytest.approx([1.0] * 3)
    scores = model.network.attention(2, outputs.features["task_maps"])["semseg"]
    assert torch.allclose(rows[0][1].flatten(), scores[0, :, 2 * 6 + 3].softmax(-1).mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"sfd_scales": [], "lthd": "keep"}, []),
        ({"lthd": "drop"}, ["task_distance"]),
        ({"sfd_scales": [3], "lthd_scales": [1]}, ["lthd", "lthd_attention", "task_distance"]),
    ],
    ids=str,
)
def test_figures_of_ablations(options: dict[str, Any], names: list[str]) -> None:
    model = build(**options).train()
    batch = make_batch(SPECS)
    figures = model.figures(batch, model.run_network(batch))
    assert sorted(figures) == names
    if "lthd" in names:
        # One scale with SFD: there is nothing to add; scale 1 is 4 x 5.
        assert figures["lthd_attention"].shape == (3 * 64 + 4, 96, 3)
        assert figures["lthd"].shape == (3 * 64 + 4, 4 * 80 + 6, 3)
