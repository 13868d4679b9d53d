"""Pictures of BridgeNet's features (figures 3, 9 and 10 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

from mtdense.tasks.colours import beside, draw_scale

__all__ = ["draw_stages", "draw_tasks", "draw_tpp"]

Picture = npt.NDArray[np.uint8]

_GAP = 2
_HEIGHT = 112


def draw_tpp(attention: Tensor, before: Tensor, after: Tensor, tasks: int) -> Picture:
    """Figure 3: a column per task; rows are TPP's attention over the image, the feature before and the feature after.

    Args:
        attention: (T, heads, queries, h', w'); shown as the mean over heads and queries.
        before: (T * C, h, w).
        after: (T * C, h, w).
        tasks: Number of tasks.
    """
    rows = [
        [_draw(x) for x in attention.float().mean((1, 2))],
        [_draw(x) for x in _strengths(before, tasks)],
        [_draw(x) for x in _strengths(after, tasks)],
    ]
    return _stack([beside(row) for row in rows])


def draw_tasks(x: Tensor, tasks: int) -> Picture:
    """Figure 9: the strength of each task's feature, (T * C, h, w), side by side."""
    return beside([_draw(strength) for strength in _strengths(x, tasks)])


def draw_stages(stages: Sequence[Sequence[Tensor | None]], tasks: int) -> Picture:
    """Figure 10: a row per stage with the generic feature, the bridge feature and each task's.

    Args:
        stages: (generic (C, H, W), bridge (C, H, W), tasks (T * C, h, w)) of each stage; the first two may be missing.
        tasks: Number of tasks.
    """
    rows = []
    for generic, bridge, x in stages:
        shown = [strength for part in (generic, bridge) if part is not None for strength in _strengths(part, 1)]
        if x is not None:
            shown += _strengths(x, tasks)
        rows.append(beside([_draw(strength) for strength in shown]))
    return _stack(rows)


def _strengths(x: Tensor, tasks: int) -> list[Tensor]:
    """The length of the feature vector at each place, for each task."""
    return list(x.detach().float().unflatten(0, (tasks, -1)).norm(dim=1))


def _draw(values: Tensor) -> Picture:
    """A map (h, w) from its lowest value, dark, to its highest, bright, enlarged to one height."""
    values = values.detach().float().cpu()
    low, high = values.min(), values.max()
    scaled = (values - low) / (high - low).clamp_min(1e-12)
    height, width = scaled.shape
    size = (_HEIGHT, max(1, round(_HEIGHT * width / height)))
    grown = F.interpolate(scaled[None, None], size=size, mode="nearest")[0, 0].numpy()
    return draw_scale(grown, np.ones(grown.shape, dtype=bool))


def _stack(rows: Sequence[Picture]) -> Picture:
    """Rows, one below the other; narrower ones are filled up with white."""
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded, axis=0)[:-_GAP]
