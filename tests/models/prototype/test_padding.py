"""Prototype: padding enters no loss and no mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mtdense.models import Prototype
from mtdense.models.prototype.region import grid_weights, mean_weights
from tests.models.helpers import SPECS, make_batch
from tests.models.prototype.common import FLAGS, build

CHOICES: list[dict[str, Any]] = [
    {"commitment_weight": 0.25, "codebook_weight": 1.0},
    {"tc_mean": "image", "reconstruction_distance": "l1", "tke_images": "all"},
    {"affinity": "pooled", "tc_form": "anchor"},
    {"affinity": "tokens", "tc_form": "infonce", "attention_downsample": 2},
]


def padded(batch: Any, outputs: Any, model: Prototype) -> tuple[Any, Any]:
    """The batch on a canvas with 32 more columns, and the same features there with noise in the padding."""
    torch.manual_seed(1)

    def wider(x: torch.Tensor, columns: int) -> torch.Tensor:
        return torch.cat([x, 50 * torch.rand(*x.shape[:-1], columns).to(x.dtype)], -1)

    batch = {**batch, "image": wider(batch["image"], 32)}
    network, old = model.network, outputs.features
    shown = model._shown(batch["image"], batch["meta"]["content"])
    encoded = wider(old["encoded"], 4)
    features = {**old, "encoded": encoded, "integrated": wider(old["integrated"], 4)}
    features["indices"] = torch.cat([old["indices"], old["indices"].new_full((2, old["indices"].shape[1], 4), 7)], -1)
    features["shown"] = None if shown is None else grid_weights(shown, encoded.shape[-2:])
    small = None if shown is None else network._reduce(features["shown"][:, None])
    features["weights"] = None if small is None else mean_weights(small)
    height, width = old["grid"]
    wide = {
        n: wider(x.transpose(1, 2).unflatten(2, (height, width)), 4 // network._shrink)
        for n, x in old["tokens"].items()
    }
    features["tokens"] = {n: x.flatten(2).transpose(1, 2) for n, x in wide.items()}
    scores = {n: network.prototype.scores(x, features["weights"])[0] for n, x in features["tokens"].items()}
    return batch, replace(outputs, features={**features, "scores": scores})


@pytest.mark.parametrize("options", CHOICES, ids=str)
@pytest.mark.parametrize("region", ["content", "canvas"])
def test_padding_enters_no_loss(options: dict[str, Any], region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With features as they are, losses of an image on a larger canvas are those of the image alone."""
    model = build(**options, loss_region=region)
    batch = make_batch(SPECS, FLAGS, (32, 32))
    outputs = model.run_network(batch)
    guess = torch.rand(2, 3, 32, 64)
    monkeypatch.setattr(model.network, "reconstruct", lambda integrated, size: guess[..., : size[1]])
    narrow = model.extra_losses(outputs, batch)
    wide_batch, wide_outputs = padded(batch, outputs, model)
    wide = model.extra_losses(wide_outputs, wide_batch)
    assert narrow.keys() == wide.keys()
    for name, value in narrow.items():
        assert (wide[name].item() == pytest.approx(value.item(), rel=1e-5, abs=1e-7)) is (region == "content"), name


def test_padding_is_not_in_the_affinity_of_a_mean() -> None:
    for affinity in ("pooled", "tokens"):
        model = build(affinity=affinity).eval()
        tokens = torch.randn(1, 6, 16)
        weights = torch.tensor([[0.25, 0.25, 0.5, 0, 0, 0]])
        scores = model.network.prototype.scores(tokens, weights)[0]
        expected = (tokens[:, 0] + tokens[:, 1] + 2 * tokens[:, 2]) / 4
        torch.testing.assert_close(scores, model.network.prototype.scores(expected[:, None])[0])


def test_weights_on_the_grid() -> None:
    model = build(attention_downsample=2)
    batch = make_batch(SPECS)
    batch["meta"]["content"] = torch.tensor([[0, 0, 32, 40], [0, 12, 16, 8]])
    features = model.run_network(batch).features
    assert features["shown"][0].tolist() == [[1.0] * 5] * 4
    assert features["shown"][1].tolist() == [[0, 0.5, 0.5, 0, 0]] * 2 + [[0.0] * 5] * 2
    # Cells of 2 x 2 positions, of which the last column of cells has one column.
    assert features["weights"].tolist() == [pytest.approx([1 / 6] * 6), [0.5, 0.5, 0, 0, 0, 0]]
    assert build(loss_region="canvas").run_network(batch).features["weights"] is None


def test_dead_slots_move_onto_content_alone() -> None:
    for region, clean in (("content", True), ("canvas", False)):
        model = build(dead_code_steps=1, codebook_size=64, loss_region=region)
        model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
        model.network.quantizer.codebook.data[8:] = 1e3
        batch = make_batch(SPECS, size=(64, 64))
        batch["meta"]["content"] = torch.tensor([[0, 0, 64, 16]] * 2)
        model.training_step(batch, 0)
        encoded = build(dead_code_steps=1, codebook_size=64).run_network(batch).features["encoded"]
        padding = encoded[..., 2:].movedim(1, -1).flatten(0, 2)
        moved = model.network.quantizer.codebook[8:]
        assert moved.abs().max() < 1e2
        near = torch.cdist(moved, padding).min(1).values < 1e-5
        assert (not near.any()) is clean, region
