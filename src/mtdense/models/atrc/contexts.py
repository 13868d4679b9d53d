"""The four contexts that a task can take from another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.models.layers import conv_norm_relu

__all__ = ["GlobalContext", "LabelContext", "LocalContext", "gather_labels", "local_attention"]


class _Projections(nn.Module):
    """Queries of the target's feature, keys and values of the source's; Glorot's uniform distribution for all weights.

    Args:
        channels: Channels of a task's feature.
        width: Channels of queries, keys and values.
        soft: Queries and keys end in a softplus and not in a ReLU.
    """

    def __init__(self, channels: int, width: int, soft: bool = False) -> None:
        super().__init__()
        self.query = _two_layers(channels, width, soft)
        self.key = _two_layers(channels, width, soft)
        self.value = conv_norm_relu(channels, width)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)


class GlobalContext(_Projections):
    """Linear attention to all places of the source; see `_Projections`."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, soft=True)

    def forward(self, target: Tensor, source: Tensor, probability: Tensor | None = None) -> Tensor:
        """Two maps (B, channels, H, W) to (B, width, H, W)."""
        query, key, value = self.query(target), self.key(source), self.value(source)
        q, k, v = (x.flatten(2) for x in (query, key, value))
        # Means over the places in place of sums: the same quotient, and half precision holds them.
        k = k / k.shape[2]
        total = (k.sum(2).unsqueeze(1) @ q).float().clamp(min=1e-12)
        out = ((v @ k.transpose(1, 2)) @ q).float() / total
        mixed: Tensor = out.unflatten(2, target.shape[-2:]).to(value.dtype)
        return mixed


class LocalContext(_Projections):
    """Attention to a window of the source around each place; see `_Projections`.

    Args:
        channels: Channels of a task's feature.
        width: Channels of queries, keys and values.
        window: Side of the window, odd.
    """

    def __init__(self, channels: int, width: int, window: int = 9) -> None:
        super().__init__(channels, width)
        self.window = window

    def forward(self, target: Tensor, source: Tensor, probability: Tensor | None = None) -> Tensor:
        """Two maps (B, channels, H, W) to (B, width, H, W)."""
        return local_attention(self.query(target), self.key(source), self.value(source), self.window)


class LabelContext(_Projections):
    """Attention to one mean of the source's feature per class; see `_Projections`.

    Whose classes: the target's (`t_label`) or the source's (`s_label`), as the caller hands them in.
    """

    def forward(self, target: Tensor, source: Tensor, probability: Tensor | None = None) -> Tensor:
        """Maps (B, channels, H, W), and for K classes weights (B, K, H * W) of the places, to (B, width, H, W)."""
        assert probability is not None
        means = gather_labels(source, probability)
        query = self.query(target).flatten(2).transpose(1, 2)
        key, value = self.key(means).flatten(2), self.value(means).flatten(2).transpose(1, 2)
        scores = query @ key / query.shape[-1] ** 0.5
        out = scores.softmax(dim=-1) @ value
        mixed: Tensor = out.transpose(1, 2).unflatten(2, target.shape[-2:])
        return mixed


def gather_labels(source: Tensor, probability: Tensor) -> Tensor:
    """Map (B, C, H, W) and weights (B, K, H * W) to weighted sums over the places, (B, C, K, 1)."""
    sums = probability.to(source.dtype) @ source.flatten(2).transpose(1, 2)
    return sums.transpose(1, 2).unsqueeze(3)


def local_attention(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """Scaled dot-product attention to the `window` x `window` places around each: (B, C, H, W) each, and out.

    As in ATRC's operator, places outside the map take part with score 0 and value 0. Window by window, so that nothing
    of the size of all windows of keys or values is ever held.
    """
    height, width = query.shape[-2:]
    reach = window // 2
    keys, values = (F.pad(x, (reach, reach, reach, reach)) for x in (key, value))
    offsets = [(row, column) for row in range(window) for column in range(window)]

    def shifted(x: Tensor, row: int, column: int) -> Tensor:
        return x[..., row : row + height, column : column + width]

    scores = torch.stack([(query * shifted(keys, *offset)).sum(1) for offset in offsets], dim=1)
    weights = (scores / query.shape[1] ** 0.5).softmax(dim=1)
    out = torch.zeros_like(value)
    for i, offset in enumerate(offsets):
        out = out + weights[:, i, None] * shifted(values, *offset)
    return out


def _two_layers(channels: int, width: int, soft: bool) -> nn.Sequential:
    first = conv_norm_relu(channels, width)
    if not soft:
        return nn.Sequential(first, conv_norm_relu(width, width))
    return nn.Sequential(first, conv_norm_relu(width, width, activation=False), nn.Softplus())
