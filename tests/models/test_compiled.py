"""Networks under `torch.compile`."""

from __future__ import annotations

from functools import partial
from typing import Any

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


def values(module_class: type[DenseModule], mode: bool, **options: Any) -> list[Tensor | None]:
    """Loss, gradients and running statistics of a step, in float64: statistics of maps of one pixel magnify rounding."""
    torch.manual_seed(0)
    model = module_class(backbone="tiny", preset="tiny", **options).double().train()
    for module in model.modules():
        if hasattr(module, "rate"):
            module.rate = 0.0
    names = list(model.state_dict())
    compile_network(model.network, mode, torch.device("cpu"))
    batch: Any = make_batch({name: SPECS[name] for name in model.tasks})
    batch["image"] = batch["image"].double()
    total, _ = model.training_loss(batch)
    total.backward()
    assert list(model.state_dict()) == names
    return [total.detach(), *(p.grad for p in model.parameters()), *model.buffers()]


def assert_close(found: list[Tensor | None], plain: list[Tensor | None]) -> None:
    for one, other in zip(found, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_compiled_is_the_same() -> None:
    """One task is enough: kernels in C++ take a second or two each."""
    tasks = {"depth": SPECS["depth"]}
    assert_close(values(MTLBaseline, True, tasks=tasks), values(MTLBaseline, False, tasks=tasks))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module_class", "options"), [(MTLBaseline, {}), (MTLBaseline, {"checkpoint_encoder": True}), (BridgeNet, {})]
)
def test_traced_is_the_same(
    monkeypatch: pytest.MonkeyPatch, module_class: type[DenseModule], options: dict[str, Any]
) -> None:
    """All that a compiler does but write kernels: trace, differentiate, and choose what to keep or compute again.

    Where blocks are computed again, statistics count once.
    """
    plain = values(module_class, False, tasks=SPECS)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager_decomp_partition"))
    assert_close(values(module_class, True, tasks=SPECS, **options), plain)
