"""Batch norm, activation and convolution that keep one map for the backward pass, not three."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["norm_act_conv"]

_Which = Literal["normed", "active"]


def norm_act_conv(norm: nn.BatchNorm2d, act: nn.Module, conv: nn.Conv2d, x: Tensor) -> Tensor:
    """`conv(act(norm(x)))`; what lies between is made again when the backward pass asks for it.

    Norm and activation are cheap beside the convolutions around them, and their results are as large as `x`. Values
    and gradients are those of the plain way. It is the plain way without gradients, for other activations than GELU
    and ReLU, where statistics are not those of `x` (`SyncBatchNorm`), and under `torch.compile`, which chooses what to
    keep by itself.

    Args:
        norm: Batch norm.
        act: Activation.
        conv: What reads the result.
        x: (B, C, H, W).
    """
    y: Tensor = norm(x)
    known = type(norm) is nn.BatchNorm2d and type(act) in (nn.GELU, nn.ReLU)
    if not known or not y.requires_grad or torch.compiler.is_compiling():
        plainly: Tensor = conv(act(y))
        return plainly
    between = _Between(norm, act, x, y)
    with torch.autograd.graph.saved_tensors_hooks(between.pack, between.unpack):
        between.active = z = act(y)
        out: Tensor = conv(z)
    between.normed = between.active = None
    return out


class _Between:
    """The results of a norm and of an activation: told from other tensors by their place in memory, then made again."""

    def __init__(self, norm: nn.BatchNorm2d, act: nn.Module, x: Tensor, normed: Tensor) -> None:
        self.norm, self.act, self.x = norm, act, x.detach()
        self.training = norm.training
        self.normed: Tensor | None = normed
        self.active: Tensor | None = None
        self.made: dict[_Which, Tensor] = {}

    def pack(self, saved: Tensor) -> Tensor | _Which:
        """What autograd keeps of a tensor."""
        if self.active is None and isinstance(self.act, nn.ReLU):
            # It keeps what it gives, if need be in the place of what it got.
            return "active"
        if self.active is None:
            return "normed" if _same(saved, self.normed) else saved
        return "active" if _same(saved, self.active) else saved

    def unpack(self, kept: Tensor | _Which) -> Tensor:
        """The tensor again."""
        if isinstance(kept, Tensor):
            return kept
        if kept in self.made:
            return self.made.pop(kept)
        norm = self.norm
        statistics = (None, None) if self.training else (norm.running_mean, norm.running_var)
        with torch.no_grad():
            normed = F.batch_norm(self.x, *statistics, norm.weight, norm.bias, self.training, 0.0, norm.eps)
            if kept == "normed":
                return normed
            active: Tensor = self.act(normed)
        # The convolution asks first, the activation next.
        self.made = {"active": active} if isinstance(self.act, nn.ReLU) else {"normed": normed}
        return active


def _same(saved: Tensor, other: Tensor | None) -> bool:
    # Autograd hands over another object of the same memory.
    return other is not None and saved.data_ptr() == other.data_ptr() and saved.shape == other.shape
