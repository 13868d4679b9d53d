"""Pictures of BridgeNet's features (figures 3 and 10 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mtdense.models.feature_pictures import draw_map, strengths
from mtdense.tasks.colours import beside

__all__ = ["draw_stages", "draw_tpp"]

Picture = npt.NDArray[np.uint8]

_GAP = 2


def draw_tpp(attention: Tensor, before: Tensor, after: Tensor, tasks: int) -> Picture:
    """Figure 3: a column per task; rows are TPP's attention over the image, the feature before and the feature after.

    Args:
        attention: (T, heads, queries, h', w'); shown as the mean over heads and queries.
        before: (T * C, h, w).
        after: (T * C, h, w).
        tasks: Number of tasks.
    """
    rows = [
        [draw_map(x) for x in attention.float().mean((1, 2))],
        [draw_map(x) for x in strengths(before, tasks)],
        [draw_map(x) for x in strengths(after, tasks)],
    ]
    return _stack([beside(row) for row in rows])


def draw_stages(stages: Sequence[Sequence[Tensor | None]], tasks: int) -> Picture:
    """Figure 10: a row per stage with the generic feature, the bridge feature and each task's.

    Args:
        stages: (generic (C, H, W), bridge (C, H, W), tasks (T * C, h, w)) of each stage; the first two may be missing.
        tasks: Number of tasks.
    """
    rows = []
    for generic, bridge, x in stages:
        shown = [strength for part in (generic, bridge) if part is not None for strength in strengths(part, 1)]
        if x is not None:
            shown += strengths(x, tasks)
        rows.append(beside([draw_map(strength) for strength in shown]))
    return _stack(rows)


def _stack(rows: Sequence[Picture]) -> Picture:
    """Rows, one below the other; narrower ones are filled up with white."""
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded, axis=0)[:-_GAP]
