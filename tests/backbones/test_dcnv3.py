"""DCNv3: the definition written out, the published operator's figures, memory, and the choice of the operator."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtdense.backbones import dcnv3 as operator
from mtdense.backbones.dcnv3 import DCNv3
from mtdense.core.errors import ConfigError
from tests.backbones.golden import GOLDEN, upper

module = sys.modules["mtdense.backbones.dcnv3"]


def plain(value: Tensor, offset: Tensor, mask: Tensor, groups: int, kernel: int, scale: float) -> Tensor:
    """Place by place, point by point, corner by corner."""
    batch, height, width, channels = value.shape
    c, reach, points = channels // groups, kernel // 2, kernel**2
    rows: list[Tensor] = []
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                for g in range(groups):
                    # Zero, but of all inputs: a place may see nothing.
                    total = 0 * (value[b, i, j, :c] + offset[b, i, j].sum() + mask[b, i, j].sum())
                    for k in range(points):
                        a, r = k // kernel - reach, k % kernel - reach
                        at = 2 * (g * points + k)
                        x = j + scale * (a + offset[b, i, j, at])
                        y = i + scale * (r + offset[b, i, j, at + 1])
                        top, left = math.floor(y.item()), math.floor(x.item())
                        for row in (top, top + 1):
                            for column in (left, left + 1):
                                if 0 <= row < height and 0 <= column < width:
                                    near = (1 - (y - row).abs()) * (1 - (x - column).abs())
                                    corner = value[b, row, column, g * c : (g + 1) * c]
                                    total = total + mask[b, i, j, g * points + k] * near * corner
                    rows.append(total)
    return torch.stack(rows).reshape(batch, height, width, channels)


def wave(shape: tuple[int, ...], step: float, size: float) -> Tensor:
    steps = torch.arange(math.prod(shape), dtype=torch.float64)
    return (size * torch.sin(steps * step)).reshape(shape).float()


@given(
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    groups=st.integers(1, 3),
    kernel=st.sampled_from([1, 3]),
    scale=st.sampled_from([1.0, 2.0, 0.5]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=12, deadline=None)
def test_is_its_definition(height: int, width: int, groups: int, kernel: int, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = (groups * 2, groups * kernel**2 * 2, groups * kernel**2)
    inputs = [torch.randn(1, height, width, n, generator=generator, dtype=torch.float64) for n in sizes]
    results = []
    for function in (plain, operator):
        leaves = [x.clone().requires_grad_() for x in inputs]
        out = function(*leaves, groups, kernel, scale)
        (out * upper(out)).sum().backward()
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(b, a, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_figures_of_the_published_operator(scale: float) -> None:
    """OpenGVLab/InternImage, 31c962d, `dcnv3_core_pytorch`."""
    inputs = [wave((2, 5, 7, 12), 0.37, 1.0), wave((2, 5, 7, 54), 0.73, 1.7), wave((2, 5, 7, 27), 0.11, 0.5)]
    leaves = [x.requires_grad_() for x in inputs]
    out = operator(*leaves, 3, 3, scale)
    (out * upper(out)).sum().backward()
    expected = GOLDEN[f"dcnv3_{int(scale)}"]
    got = out.detach().flatten()[::6][:64]
    torch.testing.assert_close(got, torch.tensor(expected["values"]), atol=1e-5, rtol=0.0)
    norms = torch.stack([leaf.grad.norm() for leaf in leaves if leaf.grad is not None])
    torch.testing.assert_close(norms, torch.tensor(expected["gradients"]), atol=0.0, rtol=1e-5)


def test_nothing_but_the_inputs_is_kept() -> None:
    value, offset, mask = torch.randn(1, 8, 8, 32), torch.randn(1, 8, 8, 36), torch.rand(1, 8, 8, 18)
    leaves = [x.requires_grad_() for x in (value, offset, mask)]
    kept: list[Tensor] = []

    def pack(x: Tensor) -> Tensor:
        kept.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        operator(*leaves, 2)
    assert {x.data_ptr() for x in kept} == {x.data_ptr() for x in leaves}


def test_reduced_precision_samples_in_float32() -> None:
    torch.manual_seed(0)
    layer = DCNv3(32, 2)
    torch.nn.init.normal_(layer.offset.weight, std=0.1)
    x = torch.randn(1, 9, 9, 32)
    with torch.no_grad():
        exact = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = layer(x)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.05)


@pytest.mark.slow
def test_compiles_in_one_piece() -> None:
    inputs = _inputs()
    expected = operator(*inputs, 2)
    wanted = torch.autograd.grad(expected.square().sum(), inputs)
    compiled = torch.compile(operator, backend="aot_eager", fullgraph=True)
    got = compiled(*inputs, 2)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got.square().sum(), inputs), wanted)


def test_starts_as_the_mean_of_its_neighbours() -> None:
    layer = DCNv3(16, 1, offset_scale=2.0)
    with torch.no_grad():
        for projection in (layer.input_proj, layer.output_proj):
            projection.weight.copy_(torch.eye(16))
        x = torch.randn(1, 6, 7, 16)
        mean = (
            torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x.permute(0, 3, 1, 2), (2, 2, 2, 2)), 1, stride=1)
            .unfold(2, 5, 1)
            .unfold(3, 5, 1)[..., ::2, ::2]
            .mean((-2, -1))
        )
        torch.testing.assert_close(layer(x), mean.permute(0, 2, 3, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("channels", "groups", "kernel"), [(10, 3, 3), (12, 3, 2)])
def test_impossible_layers(channels: int, groups: int, kernel: int) -> None:
    with pytest.raises(ConfigError, match=f"{channels} channels in {groups} groups and kernel {kernel}"):
        DCNv3(channels, groups, kernel)


class _Extension(types.ModuleType):
    """What the published extension looks like from Python; computed by the definition under test."""

    def __init__(self, error: float = 0.0) -> None:
        super().__init__("DCNv3")
        self.error = error
        self.calls: list[tuple[Any, ...]] = []

    def dcnv3_forward(self, value: Tensor, offset: Tensor, mask: Tensor, *settings: Any) -> Tensor:
        self.calls.append(settings)
        kernel, groups, scale = settings[0], settings[8], settings[10]
        return operator(value, offset, mask, groups, kernel, scale, "torch") + self.error

    def dcnv3_backward(self, value: Tensor, offset: Tensor, mask: Tensor, *settings: Any) -> tuple[Tensor, ...]:
        kernel, groups, scale, gradient = settings[0], settings[8], settings[10], settings[11]
        leaves = [x.detach().requires_grad_() for x in (value, offset, mask)]
        with torch.enable_grad():
            out = operator(*leaves, groups, kernel, scale, "torch")
        return torch.autograd.grad(out, leaves, gradient)


@pytest.fixture
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The extension is looked for anew, and trusted on the CPU."""
    monkeypatch.setattr(module, "_COMPILED_DEVICES", ("cpu",))
    module._compiled_problem.cache_clear()
    yield
    module._compiled_problem.cache_clear()


def _install(monkeypatch: pytest.MonkeyPatch, extension: _Extension, version: str = "1.1") -> None:
    real = metadata.version
    monkeypatch.setitem(sys.modules, "DCNv3", extension)
    monkeypatch.setattr(metadata, "version", lambda name: version if name == "DCNv3" else real(name))


def _inputs() -> tuple[Tensor, Tensor, Tensor]:
    value, offset, mask = (torch.randn(2, 4, 5, n, requires_grad=True) for n in (8, 36, 18))
    return value, offset, mask


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize(("version", "last"), [("1.0", (256,)), ("1.1", (256, 0)), ("1.0.post2", (256,))])
def test_a_right_extension_is_used(monkeypatch: pytest.MonkeyPatch, version: str, last: tuple[int, ...]) -> None:
    extension = _Extension()
    _install(monkeypatch, extension, version)
    inputs = _inputs()
    out = operator(*inputs, 2, 3, 2.0)
    out.sum().backward()
    assert extension.calls[-1] == (3, 3, 1, 1, 1, 1, 1, 1, 2, 4, 2.0, *last)
    assert all(x.grad is not None for x in inputs)
    torch.testing.assert_close(out, operator(*inputs, 2, 3, 2.0, "torch"))


@pytest.mark.usefixtures("_fresh")
def test_a_wrong_extension_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, _Extension(error=0.5))
    inputs = _inputs()
    with pytest.warns(UserWarning, match="something else than its definition on cpu"):
        out = operator(*inputs, 2)
    torch.testing.assert_close(out, operator(*inputs, 2, backend="torch"))
    with pytest.raises(ConfigError, match="something else than its definition"):
        operator(*inputs, 2, backend="compiled")


@pytest.mark.usefixtures("_fresh")
def test_a_failing_extension_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    extension = _Extension()
    monkeypatch.setattr(extension, "dcnv3_backward", None, raising=False)
    _install(monkeypatch, extension)
    with pytest.warns(UserWarning, match="it fails on cpu"):
        operator(*_inputs(), 2)


@pytest.mark.usefixtures("_fresh")
def test_an_absent_extension_is_no_news(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    monkeypatch.setitem(sys.modules, "DCNv3", None)
    operator(*_inputs(), 2)
    assert not recwarn.list
    with pytest.raises(ConfigError, match="not installed"):
        operator(*_inputs(), 2, backend="compiled")


def test_the_extension_is_for_cuda() -> None:
    with pytest.raises(ConfigError, match="not on a CUDA device"):
        operator(*_inputs(), 2, backend="compiled")
