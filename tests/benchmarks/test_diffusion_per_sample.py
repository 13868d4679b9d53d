"""DiffusionMTL trained pair by pair, and ours beside it."""

from __future__ import annotations

import pytest
import torch

from benchmarks import diffusion_per_sample as published
from mtdense.core.errors import DataError

TASKS = ["semseg", "saliency", "normals", "depth"]


@pytest.mark.parametrize("labels", ["full", "random-label", "one-label"])
def test_grouped_training_is_the_published_loop(labels):
    model = published.make_model("tiny", "tiny", TASKS)
    batch = published.make_batch((64, 72), 4, labels, TASKS)
    results = []
    for loss in (published.loss_per_sample, published.loss_grouped):
        model.zero_grad()
        value = loss(model, batch)
        value.backward()
        results.append((value, {name: p.grad for name, p in model.named_parameters()}))
    (theirs, expected), (ours, gradients) = results
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    for name, gradient in gradients.items():
        if expected[name] is None:  # no image of the batch is labelled for its task
            assert not gradient.any(), name
        else:
            scale = max(expected[name].abs().max().item(), 1e-4)
            torch.testing.assert_close(gradient / scale, expected[name] / scale, rtol=0, atol=1e-3, msg=name)


def test_batches_are_of_the_setting():
    batch = published.make_batch((32, 40), 4, "one-label", TASKS)
    assert torch.stack(list(batch["labelled"].values())).sum(0).tolist() == [1, 1, 1, 1]


def test_measuring_compares_before_it_believes(monkeypatch):
    model, batch = published.make_model("tiny", "tiny", TASKS), published.make_batch((32, 40), 2, "full", TASKS)
    found = published.measure(model, batch, 1)
    assert min(*found.wall, *found.processor) > 0 and found.difference < 1e-3
    ours = published.loss_grouped
    monkeypatch.setattr(published, "loss_grouped", lambda *args: 1.01 * ours(*args))
    with pytest.raises(DataError, match="the times mean nothing"):
        published.measure(model, batch, 1)
