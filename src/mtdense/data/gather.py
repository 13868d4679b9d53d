"""Compiled copying of rows and columns: what a crop takes of a label."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mtdense.core.jit import njit
from mtdense.tasks.base import ArrayAny

__all__ = ["gather"]

_WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def gather(array: ArrayAny, rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp]) -> ArrayAny:
    """`array[rows[:, None], cols[None, :]]`, several times as fast.

    Args:
        array: (H, W) or (H, W, 3); others are copied by NumPy.
        rows: Rows to take, all in [0, H).
        cols: Columns to take, all in [0, W).

    Returns:
        A new array (rows, columns) or (rows, columns, 3).
    """
    word = _WORDS.get(array.dtype.itemsize)
    if word is None or array.dtype.kind not in "biuf" or not (array.ndim == 2 or array.shape[2:] == (3,)):
        return np.asarray(array[rows[:, None], cols[None, :]])
    # Bits are copied, whatever they mean: so few kinds of loops are compiled.
    source = np.ascontiguousarray(array).view(word)
    result = np.empty((len(rows), len(cols), *array.shape[2:]), dtype=array.dtype)
    copy = _copy_map if array.ndim == 2 else _copy_vectors
    # The loops check no index.
    if len(rows) and len(cols) and (rows.min() < 0 or rows.max() >= len(array)):
        raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(array)}")
    if len(rows) and len(cols) and (cols.min() < 0 or cols.max() >= array.shape[1]):
        raise IndexError(f"columns {cols.min()} to {cols.max()} of {array.shape[1]}")
    copy(source, rows, cols, result.view(word))
    return result


@njit
def _copy_map(source: Any, rows: Any, cols: Any, result: Any) -> None:
    before = -1
    for i in range(len(rows)):
        if i > 0 and rows[i] == before:
            result[i] = result[i - 1]
            continue
        before = rows[i]
        for j in range(len(cols)):
            result[i, j] = source[before, cols[j]]


@njit
def _copy_vectors(source: Any, rows: Any, cols: Any, result: Any) -> None:
    before = -1
    for i in range(len(rows)):
        if i > 0 and rows[i] == before:
            result[i] = result[i - 1]
            continue
        before = rows[i]
        for j in range(len(cols)):
            column = cols[j]
            result[i, j, 0] = source[before, column, 0]
            result[i, j, 1] = source[before, column, 1]
            result[i, j, 2] = source[before, column, 2]
