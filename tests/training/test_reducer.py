"""The reducer against values worked out by hand, in all modes."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from mtdense.core.errors import ConfigError
from mtdense.tasks import build_tasks
from mtdense.tasks.base import LossTerms
from mtdense.training import PartialLabelReducer
from mtdense.training.reducer import Scale

TASKS = build_tasks({"depth": {}, "normals": {}, "semseg": {"num_classes": 3}})
# Three images. depth: images 0 and 1 (2 and 4 valid pixels, error sums 6 and 4); normals: image 1 (1 pixel, sum 5);
# semseg: nowhere. Labels per image: 1, 2, 0.
TERMS = {
    "depth": LossTerms(torch.tensor([[6.0], [4.0], [0.0]]), torch.tensor([[2.0], [4.0], [0.0]])),
    "normals": LossTerms(torch.tensor([[0.0], [5.0], [0.0]]), torch.tensor([[0.0], [1.0], [0.0]])),
    "semseg": LossTerms(torch.zeros(3, 1), torch.zeros(3, 1)),
}
LABELLED = {
    "depth": torch.tensor([True, True, False]),
    "normals": torch.tensor([False, True, False]),
    "semseg": torch.tensor([False, False, False]),
}


@pytest.mark.parametrize(
    ("pool", "scale", "depth", "normals"),
    [
        # values 3 and 1; ratios T/n = 3/1 and 3/2: (3*3 + 1.5*1) / 3 = 3.5; normals 1.5*5/3 = 2.5
        ("image", "task_count_ratio", 3.5, 2.5),
        # (3 + 1) / 2; 5 / 1
        ("image", "labelled_count", 2.0, 5.0),
        # (6 + 4) / (2 + 4); 5 / 1
        ("batch", "labelled_count", 10 / 6, 5.0),
        # (3*6 + 1.5*4) / 6 * 2/3 = 8/3; 1.5*5/1 * 1/3 = 2.5
        ("batch", "task_count_ratio", 8 / 3, 2.5),
        # (3 + 1) / 3; 5 / 3
        ("image", "image_count", 4 / 3, 5 / 3),
        # (6 + 4) / 6 * 2/3; 5 * 1/3
        ("batch", "image_count", 10 / 9, 5 / 3),
    ],
)
def test_by_hand(pool: str, scale: str, depth: float, normals: float) -> None:
    losses = PartialLabelReducer(pool, scale)(TASKS, TERMS, LABELLED)
    assert losses["depth"].item() == pytest.approx(depth)
    assert losses["normals"].item() == pytest.approx(normals)
    assert losses["semseg"].item() == 0.0


@pytest.mark.parametrize("pool", ["image", "batch"])
def test_full_labels_make_all_scales_equal(pool: str) -> None:
    every = {name: torch.ones(3, dtype=torch.bool) for name in TASKS}
    first, *others = (PartialLabelReducer(pool, scale)(TASKS, TERMS, every) for scale in get_args(Scale))
    for losses in others:
        for name in TASKS:
            torch.testing.assert_close(losses[name], first[name])


@pytest.mark.parametrize("pool", ["image", "batch"])
@pytest.mark.parametrize("scale", get_args(Scale))
def test_without_labels_exact_zero_that_keeps_the_graph(pool: str, scale: str) -> None:
    sums = torch.zeros(2, 1, requires_grad=True)
    terms = {"depth": LossTerms(sums * 1.0, torch.zeros(2, 1))}
    none = {"depth": torch.zeros(2, dtype=torch.bool)}
    loss = PartialLabelReducer(pool, scale)({"depth": TASKS["depth"]}, terms, none)["depth"]
    assert loss.item() == 0.0
    loss.backward()
    assert sums.grad is not None
    assert torch.equal(sums.grad, torch.zeros(2, 1))


def test_unlabelled_rows_cannot_leak() -> None:
    # Even if a task's terms held something for an unlabelled image, the mask takes it out.
    dirty = {name: LossTerms(t.sums.clone(), t.counts.clone()) for name, t in TERMS.items()}
    dirty["depth"].sums[2], dirty["depth"].counts[2] = 1e6, 50.0
    for pool in ("image", "batch"):
        for scale in get_args(Scale):
            reducer = PartialLabelReducer(pool, scale)
            clean = reducer(TASKS, TERMS, LABELLED)
            assert all(torch.equal(clean[k], v) for k, v in reducer(TASKS, dirty, LABELLED).items())


def test_unknown_mode_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown pool 'pixel'[\s\S]*image, batch"):
        PartialLabelReducer("pixel")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown scale 'none'"):
        PartialLabelReducer("image", "none")  # type: ignore[arg-type]
