"""Parameters and multiply-accumulates as the counters of the papers' tables count them.

Both look at modules and at nothing else: attention products written as functions, interpolation and deformable
sampling cost nothing, and what a subclass of a known layer does is not seen. They are for comparison with printed
numbers only; `full_macs` is the number to compare networks by. A class whose attribute `counted_as` names a layer type
is counted as that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["CONVENTIONS", "Convention", "count_by_convention"]

Rule = Callable[[Any, tuple[Any, ...], Any], float]


@dataclass(frozen=True)
class Convention:
    """A counter's rules.

    Args:
        name: The counter.
        rules: {exact layer type: MACs of one call}.
        only_executed: Count parameters of known layers that ran, instead of all.
    """

    name: str
    rules: Mapping[type[nn.Module], Rule]
    only_executed: bool


def _convolution(m: Any, x: tuple[Any, ...], y: Any) -> float:
    return float(y.numel() * (x[0].shape[1] // m.groups) * prod(m.weight.shape[2:]))


def _linear(m: Any, x: tuple[Any, ...], y: Any) -> float:
    return float(m.in_features * y.numel())


def _four_an_element(m: Any, x: tuple[Any, ...], y: Any) -> float:
    affine = getattr(m, "affine", False) or getattr(m, "elementwise_affine", False)
    return float(x[0].numel() * (4 if affine else 2))


def _softmax(m: Any, x: tuple[Any, ...], y: Any) -> float:
    features = x[0].shape[m.dim]
    return float(x[0].numel() // features * (3 * features - 1))


def _thop_adaptive_pool(m: Any, x: tuple[Any, ...], y: Any) -> float:
    window = prod(a / b for a, b in zip(x[0].shape[2:], y.shape[2:], strict=True))
    return float(y.numel() * (window + 1))


def _thop_upsample(m: Any, x: tuple[Any, ...], y: Any) -> float:
    return float(y.numel() * {"nearest": 1, "linear": 5, "bilinear": 11, "bicubic": 259}.get(m.mode, 0))


def _prelu(m: Any, x: tuple[Any, ...], y: Any) -> float:
    return float(x[0].numel())


def _outputs(m: Any, x: tuple[Any, ...], y: Any) -> float:
    return float(y.numel())


def _inputs(m: Any, x: tuple[Any, ...], y: Any) -> float:
    return float(x[0].numel())


def _nothing(m: Any, x: tuple[Any, ...], y: Any) -> float:
    return 0.0


def _two_if_affine(m: Any, x: tuple[Any, ...], y: Any) -> float:
    return float(x[0].numel() * (2 if m.affine else 1))


def _ptflops_convolution(m: Any, x: tuple[Any, ...], y: Any) -> float:
    positions = x[0].shape[0] * prod(y.shape[2:])
    each = prod(m.kernel_size) * m.in_channels * (m.out_channels // m.groups)
    return float(positions * (each + (m.out_channels if m.bias is not None else 0)))


def _ptflops_linear(m: Any, x: tuple[Any, ...], y: Any) -> float:
    # The bias counts once a call, not once a row.
    return float(x[0].numel() * y.shape[-1] + (y.shape[-1] if m.bias is not None else 0))


def _ptflops_attention(m: Any, x: tuple[Any, ...], y: Any) -> float:
    query, key, value = x[:3]
    batch, length = (0, 1) if m.batch_first else (1, 0)
    q, k, v = (t.shape[length] for t in (query, key, value))
    dq, dk, dv = (t.shape[2] for t in (query, key, value))
    projections = q * dq * dq + k * dk * dk + v * dv * dv
    bias = (q + k + v) * dq if m.in_proj_bias is not None else 0
    heads = q * k * (dq // m.num_heads) + q * k + q * k * (dv // m.num_heads)
    # With the batch of the query, whatever the keys have.
    return float(query.shape[batch] * (q * dq + projections + bias + m.num_heads * heads + q * dv * (dv + 1)))


def _each(types: Iterable[type[nn.Module]], rule: Rule) -> dict[type[nn.Module], Rule]:
    return dict.fromkeys(types, rule)


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_AVERAGE_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_ADAPTIVE_MAX = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
_ADAPTIVE_AVERAGE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)

THOP = Convention(
    "thop",
    {
        **_each(_CONVOLUTIONS, _convolution),
        **_each((*_BATCH_NORMS, nn.SyncBatchNorm, nn.LayerNorm, *_INSTANCE_NORMS), _four_an_element),
        **_each((nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Dropout, nn.PixelShuffle, nn.ZeroPad2d), _nothing),
        **_each((*_MAX_POOLS, *_ADAPTIVE_MAX), _nothing),
        **_each(_AVERAGE_POOLS, _outputs),
        **_each(_ADAPTIVE_AVERAGE, _thop_adaptive_pool),
        **_each((nn.Upsample, nn.UpsamplingBilinear2d, nn.UpsamplingNearest2d), _thop_upsample),
        nn.PReLU: _prelu,
        nn.Softmax: _softmax,
        nn.Linear: _linear,
    },
    only_executed=True,
)
"""thop 0.1.1, in evaluation mode: Table IV of BridgeNet."""

PTFLOPS = Convention(
    "ptflops",
    {
        **_each(_CONVOLUTIONS, _ptflops_convolution),
        **_each((nn.ReLU, nn.PReLU, nn.ELU, nn.LeakyReLU, nn.ReLU6, nn.GELU), _outputs),
        **_each((*_MAX_POOLS, *_AVERAGE_POOLS, *_ADAPTIVE_MAX, *_ADAPTIVE_AVERAGE), _inputs),
        **_each((*_BATCH_NORMS, *_INSTANCE_NORMS, nn.GroupNorm), _two_if_affine),
        nn.Linear: _ptflops_linear,
        nn.Upsample: _outputs,
        nn.MultiheadAttention: _ptflops_attention,
    },
    only_executed=False,
)
"""ptflops 0.6.9: the tables of TIF, DeMT and ATRC."""

CONVENTIONS = {convention.name: convention for convention in (THOP, PTFLOPS)}
"""By name."""


@torch.no_grad()
def count_by_convention(convention: Convention, network: nn.Module, run: Callable[[], object]) -> tuple[int, float]:
    """Parameters and MACs of what `run` does with `network`.

    Args:
        convention: Whose rules.
        network: Whose modules are watched.
        run: Makes one forward pass of one image.

    Returns:
        (parameters, MACs). thop's parameters are those of known layers that ran; ptflops' are all.
    """
    macs = 0.0
    executed: set[int] = set()
    handles = []

    def hook(rule: Rule) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def count(m: nn.Module, x: tuple[Any, ...], y: Any) -> None:
            nonlocal macs
            macs += rule(m, x, y if isinstance(y, Tensor) else y[0])
            executed.update(id(p) for p in m.parameters())

        return count

    inside_attention = {
        id(child) for m in network.modules() if type(m) is nn.MultiheadAttention for child in m.children()
    }
    for module in network.modules():
        rule = convention.rules.get(getattr(module, "counted_as", type(module)))
        if rule is not None and not (nn.MultiheadAttention in convention.rules and id(module) in inside_attention):
            handles.append(module.register_forward_hook(hook(rule)))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    counted = [p for p in network.parameters() if not convention.only_executed or id(p) in executed]
    return sum(p.numel() for p in counted), macs
