"""BridgeNet's step beside its public code's: what is refused, and what makes both networks the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import published_bridgenet as published
from mtdense.core.errors import ConfigError, DataError

RUN = {"seconds": [2.0, 4.0, 3.0], "peak_gb": 5.0, "loss": 1.5, "gradient": 7.0}


def test_report() -> None:
    found = {"published": [RUN, {**RUN, "peak_gb": 6.0}], "ours": [{**RUN, "seconds": [1.5], "peak_gb": 3.0}]}
    assert published.report(found, (448, 576), 2).endswith("2.00 times as fast, 50% less memory")


@pytest.mark.parametrize("key", ["loss", "gradient"])
def test_other_networks_are_not_compared(key: str) -> None:
    with pytest.raises(DataError, match=f"{key}: .* there, 1.6 here"):
        published.report({"published": [RUN], "ours": [{**RUN, key: 1.6}]}, (448, 576), 2)


def test_without_the_public_code(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name the folder BridgeNet"):
        published.main(["--code", str(tmp_path)])


def test_a_step_has_no_chance() -> None:
    model = published.build_ours((32, 64), backbone="tiny", preset="tiny")
    batch = published.random_batch(model.tasks, 2, (32, 64))
    first, second = (published.loss_of(model, model.network(model.normalise(batch["image"])), batch) for _ in range(2))
    assert first.item() == second.item() > 0


def test_weights_are_those_of_the_names() -> None:
    shapes = {"a.weight": torch.empty(3, 4), "b.bias": torch.empty(3), "n": torch.empty((), dtype=torch.long)}
    first, second = published.fill(shapes), published.fill(dict(reversed(shapes.items())))
    assert all(torch.equal(first[name], second[name]) for name in shapes)
    assert first["a.weight"].std() > 0.1 and not first["n"].any()
