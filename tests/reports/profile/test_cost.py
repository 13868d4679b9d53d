"""Counts of whole architectures, and a measurement."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.models import MTLBaseline
from mtdense.reports.profile import count_cost, full_macs, image_batch, measure
from tests.models.helpers import SPECS
from tests.reports.profile.every_layer import EveryLayer


def baseline(**options: Any) -> MTLBaseline:
    return MTLBaseline(tasks=SPECS, backbone="tiny", preset="tiny", **options)


def test_parts_add_up_to_the_whole() -> None:
    with torch.device("meta"):
        model = baseline()
    cost = count_cost(model, (32, 40), depth=1)
    whole, parts = cost.modules[0], cost.modules[1:]
    assert [part.name for part in parts] == ["backbone", "neck", "decoders", "heads"]
    assert whole.params == sum(p.numel() for p in model.network.parameters()) == sum(part.params for part in parts)
    assert whole.macs == sum(part.macs for part in parts) > 0
    # The neck: 3x3, 60 channels of the pyramid to 16, on 4x5 pixels.
    assert parts[1].macs == 4 * 5 * 9 * 60 * 16


def test_attention_products_count_only_in_full() -> None:
    class Attends(MTLBaseline):
        def build_network(self) -> nn.Module:
            return EveryLayer()

        def run_network(self, batch: Any) -> Any:
            return self.network(batch["image"])

    model = Attends(tasks=SPECS, backbone="tiny", preset="tiny")
    macs = full_macs(model.eval(), lambda: model.run_network(image_batch((16, 24), "cpu")))
    tokens, width = 24, 16
    # Projections in and out, and the products of queries, keys and values.
    assert macs["attention"] == 4 * tokens * width * width + 2 * tokens * tokens * width
    convolutions_and_layers = sum(macs[name] for name in ("stem", "grouped", "down", "up", "attention", "mlp"))
    assert macs[""] - convolutions_and_layers == 2 * tokens * tokens * width


def test_training_only_parameters_do_not_count() -> None:
    class Helped(MTLBaseline):
        training_only = ("heads.depth",)

    cost = count_cost(Helped(tasks=SPECS, backbone="tiny", preset="tiny"), (32, 40))
    plain = count_cost(baseline(), (32, 40))
    assert cost.training_only == 17
    assert plain.modules[0].params - cost.modules[0].params == 17
    assert plain.conventions["ptflops"][0] - cost.conventions["ptflops"][0] == 17


def test_a_size_that_does_not_fit_is_an_error() -> None:
    class Picky(MTLBaseline):
        def run_network(self, batch: Any) -> Any:
            raise RuntimeError("height must be divisible by 3")

    with pytest.raises(ConfigError, match="image of 32x40: height must be divisible by 3"):
        count_cost(Picky(tasks=SPECS, backbone="tiny", preset="tiny"), (32, 40))


def test_measure() -> None:
    model = baseline()
    found = measure(model, (32, 40), warmup=1, runs=4)
    assert found.runs == 4 and 0 < found.latency < 5
    weights = sum(p.numel() * 4 for p in model.network.parameters())
    assert found.peak_memory is None or found.peak_memory >= weights
    assert measure(model, (32, 40), warmup=1, runs=50, seconds=0).runs == 3
