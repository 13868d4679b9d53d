"""Guo-Hall thinning by look-up tables: of one mask, and of all thresholds of an edge map in one go."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mtdense.core.errors import DataError
from mtdense.core.jit import njit

__all__ = ["ThinnedLevels", "thin", "thin_levels", "thin_levels_reference", "thin_reference"]

Array = Any

# Time of deletion of a pixel that stays.
_FOREVER = 1 << 30
# Work of a replay, per pixel set, at which thinning afresh costs less (measured).
_PATIENCE = 4


class ThinnedLevels(NamedTuple):
    """Thinned edges at K thresholds, each as its difference from the level before it; level 0 starts from nothing.

    Pixels are flat indices into (H, W).
    """

    shape: tuple[int, int]
    added: NDArray[np.int32]
    """Pixels that join; those of level k are `added[added_ends[k - 1]:added_ends[k]]`."""
    added_ends: NDArray[np.int64]
    removed: NDArray[np.int32]
    """Pixels that leave, as thinning a larger set may end on other lines."""
    removed_ends: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(K,) int64: number of edge pixels of each level."""
        return self.added_ends - self.removed_ends


def _tables() -> NDArray[np.bool_]:
    """(2, 256) bool: whether a pixel goes in sub-iteration 0 or 1, by its neighbours counter-clockwise from the east.

    Bit i of the index is neighbour x(i+1) of Lam, Lee and Suen, "Thinning methodologies", IEEE PAMI 14(9), 1992, p. 879
    (the two-sub-iteration algorithm of Guo and Hall, 1989), the source that MATLAB's `bwmorph(..., 'thin')` names.
    """
    tables = np.zeros((2, 256), dtype=np.bool_)
    for code in range(256):
        x = [bool(code >> i & 1) for i in range(8)]
        crossings = sum(not x[i] and (x[i + 1] or x[(i + 2) % 8]) for i in (0, 2, 4, 6))
        first = sum(x[i] or x[i + 1] for i in (0, 2, 4, 6))
        second = sum(x[i + 1] or x[(i + 2) % 8] for i in (0, 2, 4, 6))
        if crossings == 1 and 2 <= min(first, second) <= 3:
            tables[0, code] = not ((x[1] or x[2] or not x[7]) and x[0])
            tables[1, code] = not ((x[5] or x[6] or not x[3]) and x[4])
    return tables


_TABLES = _tables()


def thin(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Thins a mask until nothing changes, as MATLAB's `bwmorph(mask, 'thin', Inf)` and scikit-image's `thin`.

    Outside of the image counts as empty.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool, a subset of `mask` with its components and holes (8-connected) and lines one pixel wide.

    Raises:
        DataError: `mask` is not a two-dimensional boolean array.
    """
    mask = _checked(mask)
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), dtype=np.uint8)
    padded[1:-1, 1:-1] = mask
    pixels = np.flatnonzero(padded).astype(np.int32)
    mark, scratch = np.zeros(padded.size, dtype=np.int64), np.empty((2, padded.size), dtype=np.int32)
    _thin(padded.reshape(-1), padded.shape[1], pixels, _TABLES, mark, 0, scratch)
    return padded[1:-1, 1:-1].astype(np.bool_)


def thin_reference(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`thin` in plain NumPy and SciPy: slow, its oracle."""
    mask = _checked(mask).copy()
    weights = np.array([[8, 4, 2], [16, 0, 1], [32, 64, 128]])
    while True:
        before = mask.copy()
        for table in _TABLES:
            mask &= ~table[ndimage.correlate(mask.astype(np.int64), weights, mode="constant")]
        if np.array_equal(mask, before):
            return mask


def thin_levels(pixels: NDArray[np.int32], ends: NDArray[np.int64], shape: tuple[int, int]) -> ThinnedLevels:
    """Thins K growing sets of pixels.

    Equal to `thin` of each set. Between two levels only what differs is worked out: each pixel's time of deletion is
    kept, and a pixel is looked at again when the past of its neighbourhood has changed.

    Args:
        pixels: (N,) int32 flat indices, without repetition, by the level at which they appear.
        ends: (K,) int64, ascending: set k is `pixels[:ends[k]]`.
        shape: (H, W).
    """
    added, removed, added_ends, removed_ends = _thin_levels(pixels, ends, shape[0], shape[1], _TABLES, _PATIENCE)
    return ThinnedLevels(shape, added, added_ends, removed, removed_ends)


def thin_levels_reference(pixels: NDArray[np.int32], ends: NDArray[np.int64], shape: tuple[int, int]) -> ThinnedLevels:
    """`thin_levels` by `thin_reference` of every set: slow, its oracle; pixels of a level may be in another order."""
    added: list[NDArray[np.int32]] = []
    removed: list[NDArray[np.int32]] = []
    before = np.zeros(shape[0] * shape[1], dtype=np.bool_)
    for end in ends:
        mask = np.zeros(shape[0] * shape[1], dtype=np.bool_)
        mask[pixels[:end]] = True
        now = thin_reference(mask.reshape(shape)).ravel()
        added.append(np.flatnonzero(now & ~before).astype(np.int32))
        removed.append(np.flatnonzero(before & ~now).astype(np.int32))
        before = now
    empty = np.zeros(0, dtype=np.int32)
    return ThinnedLevels(
        shape,
        np.concatenate([empty, *added]),
        np.cumsum([len(part) for part in added], dtype=np.int64),
        np.concatenate([empty, *removed]),
        np.cumsum([len(part) for part in removed], dtype=np.int64),
    )


def _checked(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.size == 0:
        raise DataError(f"an edge mask has shape {mask.shape}", "Give one (H, W) mask with at least one pixel.")
    if mask.dtype != np.bool_:
        raise DataError(f"an edge mask holds {mask.dtype} values", "Compare them, such as `mask > 0`.")
    return mask


@njit
def _code(times: Array, time: int, width: int, p: int) -> int:
    """Index into the tables: which neighbours of p are set at `time`, counter-clockwise from the east."""
    code: int = (
        (times[p + 1] >= time)
        | ((times[p - width + 1] >= time) << 1)
        | ((times[p - width] >= time) << 2)
        | ((times[p - width - 1] >= time) << 3)
        | ((times[p - 1] >= time) << 4)
        | ((times[p + width - 1] >= time) << 5)
        | ((times[p + width] >= time) << 6)
        | ((times[p + width + 1] >= time) << 7)
    )
    return code


@njit
def _thin(alive: Array, width: int, pixels: Array, tables: Array, mark: Array, clock: int, scratch: Array) -> int:
    """Thins the flat padded image `alive`, in which `pixels` are set, in place.

    After a first look at all, only those are looked at whose neighbourhood has changed since their last look with the
    same table.

    mark, clock: `mark` is nowhere above `clock`; the clock is returned.
    scratch: (2, pixels of the image) int32: all deletions in order, and candidates.
    """
    deleted, candidates = scratch[0], scratch[1]
    # deleted[early:late] are those of the sub-iteration before last, deleted[late:end] those of the last.
    early, late, end, time = 0, 0, 0, 0
    while time < 2 or early < end:
        found = 0
        clock += 1
        if time < 2:
            for i in range(len(pixels)):
                if alive[pixels[i]]:
                    candidates[found] = pixels[i]
                    found += 1
        for i in range(early, end if time >= 2 else early):
            for dy in (-width, 0, width):
                for dx in (-1, 0, 1):
                    q = deleted[i] + dy + dx
                    if alive[q] and mark[q] != clock:
                        mark[q] = clock
                        candidates[found] = q
                        found += 1
        early, late = late, end
        for i in range(found):
            if tables[time & 1, _code(alive, 1, width, candidates[i])]:
                deleted[end] = candidates[i]
                end += 1
        for i in range(late, end):
            alive[deleted[i]] = 0
        time += 1
    return clock


@njit
def _put(values: Array, where: Array, value: int) -> None:
    # Assignments of arrays to arrays take numba seconds to compile.
    for i in where:
        values[i] = value


@njit
def _push(items: Array, count: int, item: int) -> Array:
    """Writes items[count], in a copy twice as long where there is no room."""
    if count == len(items):
        longer = np.empty(2 * count, items.dtype)
        for i in range(count):
            longer[i] = items[i]
        items = longer
    items[count] = item
    return items


@njit
def _rethin(
    fresh: Array,
    old: Array,
    new: Array,
    width: int,
    horizon: int,
    tables: Array,
    mark: Array,
    clock: int,
    scratch: Array,
    patience: int,
) -> tuple[int, int, int]:
    """Replays thinning after the pixels `fresh` have appeared, looking only where the past has changed.

    old, new: Sub-iteration in which each pixel of the padded image is deleted, before and now; -1 where it never was
        set. They are equal at first, but for `fresh`, where `old` is -1 and `new` is `_FOREVER`.
    horizon: No pixel of `old` is deleted later than this, save those that stay.
    scratch: (3, pixels of the image): pixels whose state differs, candidates, and those whose time was changed.
    Returns the number of the latter (some twice), -1 if more than `patience` candidates came up; horizon; clock.
    """
    differing, candidates, changed = scratch[0], scratch[1], scratch[2]
    count, changes, time = len(fresh), 0, 0
    for i in range(count):
        differing[i] = fresh[i]
    # Two sub-iterations without a deletion are the end.
    while count and time <= horizon + 2:
        clock += 1
        found = 0
        for i in range(count):
            for dy in (-width, 0, width):
                for dx in (-1, 0, 1):
                    q = differing[i] + dy + dx
                    if mark[q] != clock and (new[q] >= time or (dy == 0 and dx == 0)):
                        mark[q] = clock
                        candidates[found] = q
                        found += 1
        patience -= found
        if patience < 0:
            return -1, horizon, clock
        count = 0
        for i in range(found):
            q = candidates[i]
            if new[q] >= time:
                # All states are those before this sub-iteration: who goes now still has new == time.
                if tables[time & 1, _code(new, time, width, q)]:
                    horizon = max(horizon, time)
                    if new[q] != time:
                        new[q] = time
                        changed[changes] = q
                        changes += 1
                elif new[q] == time:
                    new[q] = _FOREVER
                    changed[changes] = q
                    changes += 1
            if (old[q] > time) != (new[q] > time):
                differing[count] = q
                count += 1
        time += 1
    return changes, horizon, clock


@njit
def _thin_levels(
    pixels: Array, ends: Array, height: int, width: int, tables: Array, patience: int
) -> tuple[Array, Array, Array, Array]:
    wide = width + 2
    old = np.full((height + 2) * wide, -1, np.int32)
    new = old.copy()
    alive = np.zeros(len(old), np.uint8)
    mark = np.zeros(len(old), np.int64)
    # A pixel's time changes at most twice in a replay: set to stay, and deleted after that.
    scratch = np.empty((3, 2 * len(old)), np.int32)
    padded = np.empty(len(pixels), np.int32)
    for i in range(len(pixels)):
        padded[i] = (pixels[i] // width + 1) * wide + pixels[i] % width + 1
    added, removed = np.empty(len(pixels) + 16, np.int32), np.empty(1024, np.int32)
    added_ends, removed_ends = np.zeros(len(ends), np.int64), np.zeros(len(ends), np.int64)
    plus, minus, start, horizon, clock, changes = 0, 0, 0, 0, 0, 0
    for level in range(len(ends)):
        fresh = padded[start : ends[level]]
        start = ends[level]
        if len(fresh) == 0:
            added_ends[level], removed_ends[level] = plus, minus
            continue
        if changes >= 0:
            _put(new, fresh, _FOREVER)
            changes, horizon, clock = _rethin(
                fresh, old, new, wide, horizon, tables, mark, clock, scratch, patience * start
            )
        if changes < 0:
            # Thick regions: a pixel more on their rim changes the past of all, and lower thresholds make it worse.
            _put(alive, padded[:start], 1)
            clock = _thin(alive, wide, padded[:start], tables, mark, clock, scratch)
            for i in range(start):
                new[padded[i]] = _FOREVER if alive[padded[i]] else 0
        for group in range(2):
            touched = scratch[2][: max(changes, 0)] if group else fresh if changes >= 0 else padded[:start]
            for p in touched:
                was, stays = old[p] == _FOREVER, new[p] == _FOREVER
                old[p] = new[p]
                if was == stays:
                    continue
                flat = (p // wide - 1) * width + p % wide - 1
                if stays:
                    added = _push(added, plus, flat)
                    plus += 1
                else:
                    removed = _push(removed, minus, flat)
                    minus += 1
        added_ends[level], removed_ends[level] = plus, minus
    return added[:plus].copy(), removed[:minus].copy(), added_ends, removed_ends
