"""Networks under `torch.compile`."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtdense.core.errors import ConfigError
from mtdense.models import BridgeNet, MTLBaseline
from mtdense.models.compiled import compile_network
from tests.models.helpers import SPECS, make_batch


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MTLBaseline(tasks=SPECS, backbone="tiny", preset="tiny")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"(?s)no C\+\+ compiler \(no-such-compiler\).*--model.compile false"):
        compile_network(model.network, True, torch.device("cpu"))
    compile_network(model.network, False, torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module_class", "options"), [(MTLBaseline, {}), (MTLBaseline, {"checkpoint_encoder": True}), (BridgeNet, {})]
)
def test_compiled_is_the_same(module_class: type[MTLBaseline], options: dict[str, Any]) -> None:
    """Losses, gradients and running statistics; a compiler that recomputes blocks counts statistics once, too."""
    batch = make_batch(SPECS)
    found = []
    for mode in (False, True):
        torch.manual_seed(0)
        model = module_class(tasks=SPECS, backbone="tiny", preset="tiny", **(options if mode else {})).train()
        for module in model.modules():
            if hasattr(module, "rate"):
                module.rate = 0.0
        names = list(model.state_dict())
        compile_network(model.network, mode, torch.device("cpu"))
        total, _ = model.training_loss(batch)
        total.backward()
        assert list(model.state_dict()) == names
        found.append([total.detach(), *(p.grad for p in model.parameters()), *model.buffers()])
    for compiled, plain in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-3, atol=1e-4)
