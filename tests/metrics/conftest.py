"""Access to the reference figures and a stand-in for two ranks."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics import Metric

FOLDER = Path(__file__).parent / "oracle"


@pytest.fixture
def oracle() -> Callable[[str, str], tuple[list[tuple[Tensor, Tensor]], dict[str, Any]]]:
    """`oracle(metric, case)` gives the batches and {evaluator: figure or word}."""

    def load(metric: str, case: str) -> tuple[list[tuple[Tensor, Tensor]], dict[str, Any]]:
        arrays_of = "rmse" if metric == "abserr" else metric
        with np.load(FOLDER / arrays_of / f"{case}.npz", allow_pickle=False) as arrays:
            batches = []
            given = "prob" if metric == "maxf" else "pred"
            while f"{given}_{len(batches)}" in arrays:
                k = len(batches)
                batches.append((torch.from_numpy(arrays[f"{given}_{k}"]), torch.from_numpy(arrays[f"gt_{k}"])))
            extra = {"num_classes": int(arrays["num_classes"])} if "num_classes" in arrays else {}
        figures = json.loads((FOLDER / metric / f"{case}.json").read_text(encoding="utf-8"))["expected"]
        return batches, figures | extra

    return load


@pytest.fixture
def merged() -> Callable[[Metric, list[tuple[Tensor, ...]]], Metric]:
    """Updates two copies with alternate batches and adds their states, as a sum over two ranks does."""

    def merge(metric: Metric, batches: list[tuple[Tensor, ...]]) -> Metric:
        ranks = [deepcopy(metric), deepcopy(metric)]
        for number, batch in enumerate(batches):
            ranks[number % 2].update(*batch)
        total = deepcopy(metric)
        total.update(*(part[:0] for part in batches[0]))  # marks it as updated, adds nothing
        for state in metric._defaults:
            setattr(total, state, getattr(ranks[0], state) + getattr(ranks[1], state))
        return total

    return merge
