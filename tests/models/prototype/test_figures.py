"""Figures 6 and 7 as pictures."""

from __future__ import annotations

import numpy as np
import torch

from mtdense.models import Prototype
from mtdense.models.prototype.figures import draw_affinity, draw_affinity_maps, draw_slots
from tests.models.helpers import SPECS, make_batch


def test_affinity_table_is_brightest_where_affinity_is_highest() -> None:
    picture = draw_affinity(np.array([[0.9, 0.1], [0.3, 0.7]], dtype=np.float32))
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8
    light = picture.astype(int).sum(-1)
    assert light[5, 5] > light[50, 50] > light[50, 5] > light[5, 50]


def test_maps_stand_in_rows_of_tasks_and_columns_of_slots() -> None:
    first = np.zeros((2, 3, 2), dtype=np.float32)
    first[1, 2, 0] = 1
    picture = draw_affinity_maps([first, np.zeros_like(first)], grow=2)
    assert picture.shape == (2 * 4 + 2, 2 * 6 + 2, 3)
    bright = picture.astype(int).sum(-1) > 500
    gaps = np.zeros_like(bright)
    gaps[4:6], gaps[:, 6:8] = True, True
    assert bright[2:4, 4:6].all()
    assert (bright & ~gaps).sum() == 4


def test_slots_are_blue_white_and_red() -> None:
    picture = draw_slots(np.array([[1.0, 0.0], [-1.0, 0.5]], dtype=np.float32), min_width=10)
    assert picture.shape == (24 * 2 + 2, 10, 3)
    assert picture[0, 0].tolist() == [178, 24, 43]
    assert picture[0, 9].tolist() == [247, 247, 247]
    assert picture[-1, 0].tolist() == [33, 102, 172]
    assert draw_slots(np.zeros((2, 4), dtype=np.float32)).min() == 247


def test_figures_of_a_network() -> None:
    torch.manual_seed(0)
    model = Prototype(tasks=SPECS, backbone="tiny", preset="tiny").eval()
    batch = make_batch(SPECS)
    with torch.no_grad():
        outputs = model.run_network(batch)
    figures = model.figures(batch, outputs)
    assert sorted(figures) == ["affinity", "affinity_maps", "slots"]
    assert all(p.dtype == np.uint8 and p.ndim == 3 and p.shape[2] == 3 for p in figures.values())
    # 3 tasks and slots over 4 x 5 positions, each 16 pixels large.
    assert figures["affinity_maps"].shape == (3 * 64 + 4, 3 * 80 + 4, 3)
    table = np.stack([x.softmax(-1).mean((0, 1)).numpy() for x in outputs.features["scores"].values()])
    assert np.abs(figures["affinity"].astype(int) - draw_affinity(table)).max() <= 1
    # What stands over the padding is not in the table.
    batch["meta"]["content"] = torch.tensor([[0, 0, 32, 16]] * 2)
    with torch.no_grad():
        outputs = model.run_network(batch)
    rows = [x.softmax(-1).unflatten(1, (4, 5))[:, :, :2] for x in outputs.features["scores"].values()]
    table = np.stack([x.mean((0, 1, 2)).numpy() for x in rows])
    assert np.abs(model.figures(batch, outputs)["affinity"].astype(int) - draw_affinity(table)).max() <= 1


def test_figures_without_positions_or_prototype() -> None:
    batch = make_batch(SPECS)
    pooled = Prototype(tasks=SPECS, backbone="tiny", preset="tiny", affinity="pooled")
    assert sorted(pooled.figures(batch, pooled.run_network(batch))) == ["affinity", "slots"]
    plain = Prototype(tasks=SPECS, backbone="tiny", preset="tiny", retrieval=False, loss_tke=False, loss_tc=False)
    assert plain.figures(batch, plain.run_network(batch)) == {}
