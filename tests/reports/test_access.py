from __future__ import annotations

import torch

from mtdense.models.mtl_baseline import MTLBaseline
from mtdense.reports import array_of, tasks_of
from tests.reports.helpers import SPECS


def test_vectors_come_last():
    vectors = torch.arange(24.0, requires_grad=True).reshape(3, 2, 4)
    assert array_of(vectors).shape == (2, 4, 3)
    assert array_of(vectors)[1, 2].tolist() == vectors[:, 1, 2].tolist()
    assert array_of(vectors[0]).shape == (2, 4)


def test_tasks_of_a_module():
    model = MTLBaseline(tasks=SPECS, backbone="tiny", preset="tiny")
    assert list(tasks_of(model)) == list(SPECS)
