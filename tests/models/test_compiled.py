"""Networks under `torch.compile`."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from mtdense.core.errors import ConfigError
from mtdense.models import BridgeNet, DenseModule, MTLBaseline
from mtdense.models.compiled import compile_network
from tests.models.helpers import SPECS, make_batch


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MTLBaseline(tasks=SPECS, backbone="tiny", preset="tiny")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"(?s)no C\+\+ compiler \(no-such-compiler\).*--model.compile false"):
        compile_network(model.network, True, torch.device("cpu"))
    compile_network(model.network, False, torch.device("cpu"))


class Step(NamedTuple):
    """What a step leaves: loss, gradients and running statistics; and the size of what the backward pass was kept."""

    values: list[Tensor | None]
    kept: int


def step(module_class: type[DenseModule], mode: bool, **options: Any) -> Step:
    """In float64: statistics of maps of one pixel magnify rounding."""
    torch.manual_seed(0)
    model = module_class(backbone="tiny", preset="tiny", **options).double().train()
    for module in model.modules():
        if hasattr(module, "rate"):
            module.rate = 0.0
    names = list(model.state_dict())
    compile_network(model.network, mode, torch.device("cpu"))
    batch: Any = make_batch({name: SPECS[name] for name in model.tasks})
    batch["image"] = batch["image"].double()
    kept: list[int] = []

    def keep(value: Tensor) -> Tensor:
        kept.append(value.nbytes)
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        total, _ = model.training_loss(batch)
    total.backward()
    assert list(model.state_dict()) == names
    return Step([total.detach(), *(p.grad for p in model.parameters()), *model.buffers()], sum(kept))


def assert_close(found: Step, plain: Step) -> None:
    for one, other in zip(found.values, plain.values, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_compiled_is_the_same() -> None:
    """One task is enough: kernels in C++ take a second or two each."""
    tasks = {"depth": SPECS["depth"]}
    assert_close(step(MTLBaseline, True, tasks=tasks), step(MTLBaseline, False, tasks=tasks))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a compiler does but write kernels: trace, differentiate, choose what to keep or compute again."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager_decomp_partition"))


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_traced_is_the_same() -> None:
    assert_close(step(BridgeNet, True, tasks=SPECS), step(BridgeNet, False, tasks=SPECS))


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_traced_blocks_are_computed_again_and_statistics_count_once() -> None:
    plain = step(MTLBaseline, False, tasks=SPECS)
    whole, again = (step(MTLBaseline, True, tasks=SPECS, checkpoint_encoder=value) for value in (False, True))
    assert_close(whole, plain)
    assert_close(again, plain)
    assert again.kept < whole.kept < plain.kept
