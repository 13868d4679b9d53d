"""Boundaries between the regions of a label map, as the SEISM evaluator draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtdense.core.errors import DataError

__all__ = ["label_boundaries"]


def label_boundaries(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Marks every pixel whose label differs from that of its right, lower or lower-right neighbour.

    This is the rule of `seg2bmap` in the BSDS benchmark, which SEISM applies to the class map of PASCAL-Context and, as
    if it were a label map, to the edge map of NYUD-v2. In the last row only the right neighbour is asked, in the last
    column only the lower one.

    Args:
        labels: (H, W) integers or booleans.

    Returns:
        (H, W) bool; lines are up to two pixels wide, `thin` makes them one pixel wide.

    Raises:
        DataError: `labels` is not a two-dimensional array of integers or booleans.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.size == 0:
        raise DataError(f"a label map has shape {labels.shape}", "Give one (H, W) map with at least one pixel.")
    if labels.dtype.kind not in "iub":
        raise DataError(f"a label map holds {labels.dtype} values", "Give class ids as integers.")
    marked = np.zeros(labels.shape, dtype=np.bool_)
    marked[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    marked[:-1, :] |= labels[:-1, :] != labels[1:, :]
    marked[:-1, :-1] |= labels[:-1, :-1] != labels[1:, 1:]
    return marked
