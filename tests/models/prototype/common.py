"""What the tests of Prototype build."""

from __future__ import annotations

from typing import Any

import torch

from mtdense.models import Prototype
from tests.models.helpers import SPECS, make_batch

NYUD = {"semseg": {"num_classes": 13}, "depth": {}, "normals": {}}
# Rows of Table 3: the baseline, + TAE, + TKE (the first with retrieval), + TC.
TABLE_3: list[dict[str, bool]] = [
    {"vq": False, "loss_tae": False, "loss_tke": False, "loss_tc": False, "retrieval": False},
    {"vq": True, "loss_tae": True, "loss_tke": False, "loss_tc": False, "retrieval": False},
    {"vq": True, "loss_tae": True, "loss_tke": True, "loss_tc": False, "retrieval": True},
    {"vq": True, "loss_tae": True, "loss_tke": True, "loss_tc": True, "retrieval": True},
]
BASELINE = TABLE_3[0]
FLAGS = {"semseg": [True, False], "depth": [False, True], "normals": [False, False]}


def build(**options: Any) -> Prototype:
    torch.manual_seed(0)
    return Prototype(**{"tasks": SPECS, "backbone": "tiny", "preset": "tiny", **options})


def build_meta(**options: Any) -> Prototype:
    with torch.device("meta"):
        return Prototype(**{"tasks": NYUD, "backbone": "resnet18", **options})


def run(model: Prototype, flags: dict[str, list[bool]] | None = None) -> tuple[Any, dict[str, torch.Tensor]]:
    batch = make_batch(SPECS, flags)
    outputs = model.run_network(batch)
    return outputs, {**model.losses(outputs, batch), **model.extra_losses(outputs, batch)}
