"""How far apart tasks are: distances between their features, or between their attention (figure 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DISTANCES", "attention_divergence", "places_inside", "task_distance"]

DISTANCES = {
    "cosine": "1 - cosine of two tasks' features, mean over places",
    "l2": "length of the difference of two tasks' maps, each scaled to length 1",
    "cka": "1 - linear centred kernel alignment of two tasks' maps over places",
    "attention": "symmetric Kullback-Leibler divergence of two tasks' attention in SFD, nats",
}
"""What each distance is, in words; see `task_distance` and `attention_divergence`."""


def places_inside(content: Tensor, canvas: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """(B, h * w) bool: places of a grid over the canvas whose centre lies in the image.

    Args:
        content: (B, 4), see `SampleMeta`.
        canvas: Height and width of the batch's images.
        grid: Rows and columns.
    """
    y = (torch.arange(grid[0], device=content.device) + 0.5) * canvas[0] / grid[0]
    x = (torch.arange(grid[1], device=content.device) + 0.5) * canvas[1] / grid[1]
    top, left, height, width = (content[:, i, None] for i in range(4))
    rows, columns = (y >= top) & (y < top + height), (x >= left) & (x < left + width)
    return (rows[:, :, None] & columns[:, None]).flatten(1)


def task_distance(
    maps: Sequence[Tensor], metric: Literal["cosine", "l2", "cka"] = "cosine", places: Tensor | None = None
) -> Tensor:
    """Distance between each two tasks' maps, image by image, in float32.

    * `cosine`: mean over places of 1 - cos of the two features, 0 to 2;
    * `l2`: length of the difference of the two maps, each scaled to length 1 as a whole, 0 to 2;
    * `cka`: 1 - linear centred kernel alignment over the places (Kornblith et al., 2019), 0 to 1.

    Args:
        maps: (B, C, h, w) of each of T tasks.
        metric: See above.
        places: (B, h * w) bool, which places count; null: all.

    Returns:
        (B, T, T), symmetric, with zeros on the diagonal; NaN for an image without a place that counts.
    """
    tokens = [x.float().flatten(2).transpose(1, 2) for x in maps]
    counted = torch.ones_like(tokens[0][..., 0]) if places is None else places.to(tokens[0])
    number = counted.sum(1)
    count, weights = len(tokens), counted[..., None]
    if metric == "cosine":
        tokens = [F.normalize(x, dim=-1) for x in tokens]
    elif metric == "l2":
        tokens = [F.normalize((x * weights).flatten(1), dim=-1) for x in tokens]
    else:
        means = [(x * weights).sum(1, keepdim=True) / number[:, None, None] for x in tokens]
        tokens = [(x - mean) * weights for x, mean in zip(tokens, means, strict=True)]
    result = tokens[0].new_zeros(len(number), count, count)
    for t in range(count):
        for u in range(t):
            value = _pair(tokens[t], tokens[u], metric, counted, number)
            result[:, t, u] = result[:, u, t] = value
    return result.masked_fill((number == 0)[:, None, None], float("nan"))


def _pair(a: Tensor, b: Tensor, metric: str, counted: Tensor, number: Tensor) -> Tensor:
    if metric == "cosine":
        # Rounding may leave the cosine of equal features a little above 1.
        return ((1 - (a * b).sum(-1)).clamp(min=0) * counted).sum(1) / number
    if metric == "l2":
        length: Tensor = torch.linalg.vector_norm(a - b, dim=-1)
        return length
    shared = (a.transpose(1, 2) @ b).pow(2).sum((1, 2))
    own = [torch.linalg.matrix_norm(x.transpose(1, 2) @ x) for x in (a, b)]
    alignment: Tensor = shared / (own[0] * own[1])
    return 1 - alignment


def attention_divergence(scores: Sequence[Tensor], places: Tensor | None = None) -> Tensor:
    """Symmetric Kullback-Leibler divergence of tasks' attention, mean over heads and queries, in nats.

    Args:
        scores: (B, heads, N, N) of each of T tasks, before the softmax.
        places: (B, N) bool, which queries count; null: all.

    Returns:
        (B, T, T): (KL(t, u) + KL(u, t)) / 2; NaN for an image without a query that counts.
    """
    logs = [x.float().log_softmax(-1) for x in scores]
    counted = torch.ones_like(logs[0][:, 0, :, 0]) if places is None else places.to(logs[0])
    count = len(logs)
    result = logs[0].new_zeros(len(counted), count, count)
    for t in range(count):
        for u in range(t):
            rows = ((logs[t].exp() - logs[u].exp()) * (logs[t] - logs[u])).sum(-1).mean(1) / 2
            result[:, t, u] = result[:, u, t] = (rows * counted).sum(1) / counted.sum(1)
    return result.masked_fill((counted.sum(1) == 0)[:, None, None], float("nan"))
