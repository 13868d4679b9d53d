"""`checkpoint_encoder`: less is kept for the backward pass, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import mtdense.models
from mtdense.backbones import recompute
from mtdense.core.errors import ConfigError
from mtdense.models import DenseModule, MTLBaseline
from mtdense.models.encoders import checkpoint_encoders
from tests.models import exact_ranks_worker as worker
from tests.models.helpers import SPECS, make_batch

PARTLY = {"semseg": [True, False], "depth": [False, False], "normals": [True, True]}
# Batch norm; blocks run with prompts; encoders side by side; two passes of one encoder in a step.
FAST = ("MTLBaseline", "TaskPrompter-vit", "CrossStitch", "SemiSupervised")


def build(name: str, **options: Any) -> DenseModule:
    class_name, _, variant = name.partition("-")
    given = {"tasks": SPECS, "backbone": "tiny", "preset": "tiny"}
    given |= worker.VARIANTS.get(class_name, {}).get(variant, {}) | options
    torch.manual_seed(0)
    try:
        model: DenseModule = getattr(mtdense.models, class_name)(**given)
    except ConfigError:  # for networks of one task
        torch.manual_seed(0)
        model = getattr(mtdense.models, class_name)(**given | {"tasks": {"semseg": SPECS["semseg"]}})
    return model


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in worker.architectures()]
)
def test_every_architecture_is_the_same_to_the_last_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        done.append(args[0])
        return checkpoint(*args, **kwargs)

    monkeypatch.setattr(recompute, "checkpoint", counted)
    found = []
    for recomputed in (False, True):
        model = build(name, checkpoint_encoder=recomputed).train()
        batch = make_batch({task: SPECS[task] for task in model.tasks}, {t: PARTLY[t] for t in model.tasks}, (64, 80))
        torch.manual_seed(1)
        # Twice: the second pass sees the buffers that the first one left, and adds to its gradients.
        losses = []
        for _ in range(2):
            loss, _ = model.training_loss(batch)
            loss.backward()
            losses.append(loss.detach())
        assert bool(done) == recomputed
        values: dict[str, Any] = {f"gradient of {n}": p.grad for n, p in model.named_parameters()}
        values |= {f"buffer {n}": b for n, b in model.named_buffers()}
        found.append(values | {"losses": torch.stack(losses), "drawn": torch.rand(1)})
    plain, again = found
    assert plain.keys() == again.keys()
    different = [n for n, a in plain.items() if not (a is again[n] is None or torch.equal(a, again[n]))]
    assert different == []


def test_a_network_without_encoder() -> None:
    with pytest.raises(ConfigError, match="`checkpoint_encoder` on a network without a backbone"):
        checkpoint_encoders(torch.nn.Linear(2, 2))


def test_weights_fit_either_way() -> None:
    plain = MTLBaseline(tasks=SPECS, backbone="tiny", preset="tiny")
    recomputed = MTLBaseline(tasks=SPECS, backbone="tiny", preset="tiny", checkpoint_encoder=True)
    recomputed.load_state_dict(plain.state_dict())
