"""One-to-one matching of edge pixels within a distance: the largest possible number of pairs, at every threshold.

The BSDS benchmark solves an assignment problem of lowest cost in which an unmatched pixel costs as much as a hundred of
the longest pairs, over a graph with random outlier edges. But for that randomness, which loses up to 8 pairs an image
and makes its results vary from run to run, its number of pairs is that of a maximum matching, and this is what we
count. With one annotator nothing but the number of pairs enters the score. With several, precision counts the predicted
pixels matched to any of them, so that it matters which pixels are paired: there pairs are made nearest first and then
augmented to the maximum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree

from mtdense.core.jit import njit
from mtdense.metrics.functional.thinning import ThinnedLevels

__all__ = ["match_levels", "match_levels_nearest_first", "matched_pixels_reference"]

Array = Any


def match_levels(levels: ThinnedLevels, target: NDArray[np.bool_], radius: float) -> NDArray[np.int64]:
    """Number of pairs of a maximum matching at every level.

    One matching is carried from level to level. A pixel that joins looks for an augmenting path; where there is none,
    the target pixels it has seen are dead ends for all that join later (a closed Hungarian tree). A pixel that leaves
    frees its target pixel, which looks back for a free prediction; where there is none, the target pixels seen may lead
    to a free one again.

    Args:
        levels: Thinned predictions.
        target: (H, W) bool, edges of one annotator.
        radius: Largest distance of a pair in pixels, from centre to centre.

    Returns:
        (K,) int64.
    """
    dy, dx = _offsets(radius, target.shape)
    height, width = target.shape
    pixels = np.flatnonzero(target).astype(np.int32)
    pairs: NDArray[np.int64] = _sweep(*levels[1:], pixels, dy, dx, height, width)
    return pairs


def match_levels_nearest_first(
    levels: ThinnedLevels, targets: Sequence[NDArray[np.bool_]], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of near-lowest total distance among the maximum matchings, with each of several annotators.

    Every level is matched from scratch: target pixels take free predictions in order of distance, then augmenting paths
    add what is missing.

    Args:
        levels: Thinned predictions.
        targets: (H, W) bool edges, one map per annotator.
        radius: Largest distance of a pair in pixels, from centre to centre.

    Returns:
        (K,) int64 pairs, summed over annotators, and (K,) int64 predicted pixels that are in a pair of at least one.
    """
    dy, dx = _offsets(radius, levels.shape)
    height, width = levels.shape
    maps = [np.flatnonzero(target).astype(np.int32) for target in targets]
    ends = np.cumsum([len(pixels) for pixels in maps], dtype=np.int64)
    pairs, union = _nearest_first(*levels[1:], np.concatenate(maps), ends, dy, dx, height, width)
    return pairs, union


def matched_pixels_reference(pred: NDArray[np.bool_], target: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Predicted pixels in a maximum matching by SciPy's Hopcroft-Karp: slow, the oracle of the others.

    How many there are is unique, which ones is not.

    Args:
        pred: (H, W) bool.
        target: (H, W) bool.
        radius: Largest distance of a pair in pixels, from centre to centre.

    Returns:
        (H, W) bool, a subset of `pred`.
    """
    matched = np.zeros(pred.shape, dtype=np.bool_)
    ours, theirs = np.argwhere(pred), np.argwhere(target)
    if not len(ours) or not len(theirs):
        return matched
    # Squared distances are integers; half a unit keeps rounding from deciding about the last ring.
    reach = math.sqrt(math.floor(radius * radius) + 0.5)
    near = cKDTree(ours).query_ball_tree(cKDTree(theirs), reach)
    indptr = np.cumsum([0, *(len(row) for row in near)])
    indices = np.concatenate([np.asarray(row, dtype=np.int64) for row in near])
    graph = sparse.csr_matrix((np.ones(len(indices)), indices, indptr), shape=(len(ours), len(theirs)))
    partners = maximum_bipartite_matching(graph, perm_type="column")
    matched[tuple(ours[partners >= 0].T)] = True
    return matched


def _offsets(radius: float, shape: tuple[int, ...]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Row and column offsets of all pixels within `radius`, nearest first."""
    reach_y, reach_x = (min(math.floor(radius), size - 1) for size in shape)
    dy, dx = np.mgrid[-reach_y : reach_y + 1, -reach_x : reach_x + 1].astype(np.int32)
    squared = dy**2 + dx**2
    inside = squared <= radius * radius
    order = np.argsort(squared[inside], kind="stable")
    return dy[inside][order], dx[inside][order]


@njit
def _put(values: Array, where: Array, value: Any) -> None:
    # Assignments of arrays to arrays take numba seconds to compile.
    for i in where:
        values[i] = value


@njit
def _rows(pixels: Array, wanted: Array, dy: Array, dx: Array, height: int, width: int) -> tuple[Array, Array]:
    """Neighbours of every wanted pixel among `pixels`, nearest first, as (starts, indices into `pixels`)."""
    starts = np.zeros(height * width + 1, np.int64)
    for i in range(len(pixels)):
        row, column = pixels[i] // width, pixels[i] % width
        for j in range(len(dy)):
            y, x = row + dy[j], column + dx[j]
            if 0 <= y < height and 0 <= x < width and wanted[y * width + x]:
                starts[y * width + x + 1] += 1
    for q in range(height * width):
        starts[q + 1] += starts[q]
    place = starts[:-1].copy()
    neighbours = np.empty(starts[-1], np.int32)
    for j in range(len(dy)):
        for i in range(len(pixels)):
            y, x = pixels[i] // width + dy[j], pixels[i] % width + dx[j]
            if 0 <= y < height and 0 <= x < width and wanted[y * width + x]:
                q = y * width + x
                neighbours[place[q]] = i
                place[q] += 1
    return starts, neighbours


@njit
def _join(
    p: int,
    starts: Array,
    neighbours: Array,
    partner: Array,
    mate: Array,
    dead: Array,
    seen: Array,
    stamp: int,
    parent: Array,
    queue: Array,
) -> int:
    """Matches prediction p along a shortest augmenting path; returns 1, or 0 where there is none.

    partner: Target of each prediction; mate: prediction of each target; -1 for none.
    dead: Targets from which no free target can be reached.
    seen, stamp, parent, queue: Scratch of the search, per target.
    """
    for e in range(starts[p], starts[p + 1]):
        g = neighbours[e]
        if mate[g] < 0:
            mate[g], partner[p] = p, g
            return 1
    head, tail = 0, 0
    for e in range(starts[p], starts[p + 1]):
        g = neighbours[e]
        if not dead[g]:
            seen[g], parent[g], queue[tail] = stamp, p, g
            tail += 1
    while head < tail:
        q = mate[queue[head]]
        head += 1
        for e in range(starts[q], starts[q + 1]):
            g = neighbours[e]
            if mate[g] < 0:
                parent[g] = q
                while True:
                    taker = parent[g]
                    given = partner[taker]
                    mate[g], partner[taker] = taker, g
                    if taker == p:
                        return 1
                    g = given
            if not dead[g] and seen[g] != stamp:
                seen[g], parent[g], queue[tail] = stamp, q, g
                tail += 1
    for i in range(tail):
        dead[queue[i]] = True
    return 0


@njit
def _leave(
    p: int,
    pixels: Array,
    dy: Array,
    dx: Array,
    height: int,
    width: int,
    alive: Array,
    partner: Array,
    mate: Array,
    dead: Array,
    seen: Array,
    stamp: int,
    onward: Array,
    queue: Array,
) -> int:
    """Unmatches prediction p, which is no longer alive; returns the change of the number of pairs, 0 or -1.

    All targets that a free prediction reaches are dead, and dead ones lead only to dead ones. So a target that is not
    dead has no free prediction to wait for, and the way to one leads over dead ones alone.

    seen, stamp: Scratch per prediction; onward, queue: per target. onward[g] is the next target on the way to the one
    that p has freed.
    """
    g = partner[p]
    if g < 0:
        return 0
    partner[p], mate[g] = -1, -1
    if not dead[g]:
        return -1
    head, tail = 0, 1
    queue[0], onward[g] = g, -1
    while head < tail:
        g = queue[head]
        head += 1
        row, column = pixels[g] // width, pixels[g] % width
        for j in range(len(dy)):
            y, x = row + dy[j], column + dx[j]
            if y < 0 or y >= height or x < 0 or x >= width:
                continue
            q = y * width + x
            if not alive[q] or seen[q] == stamp:
                continue
            seen[q] = stamp
            if partner[q] >= 0:
                if dead[partner[q]]:
                    onward[partner[q]], queue[tail] = g, partner[q]
                    tail += 1
                continue
            while g >= 0:
                given = mate[g]
                mate[g], partner[q] = q, g
                q, g = given, onward[g]
            return 0
    for i in range(tail):
        dead[queue[i]] = False
    return -1


@njit
def _sweep(
    added: Array,
    added_ends: Array,
    removed: Array,
    removed_ends: Array,
    pixels: Array,
    dy: Array,
    dx: Array,
    height: int,
    width: int,
) -> Array:
    ever = np.zeros(height * width, np.bool_)
    _put(ever, added, True)
    starts, neighbours = _rows(pixels, ever, dy, dx, height, width)
    alive = np.zeros(height * width, np.bool_)
    partner = np.full(height * width, -1, np.int32)
    seen_pixels = np.zeros(height * width, np.int32)
    mate = np.full(len(pixels), -1, np.int32)
    dead = np.zeros(len(pixels), np.bool_)
    seen = np.zeros(len(pixels), np.int32)
    parent, queue = np.empty(len(pixels), np.int32), np.empty(len(pixels), np.int32)
    pairs = np.zeros(len(added_ends), np.int64)
    count, stamp, out, into = 0, 0, 0, 0
    for level in range(len(added_ends)):
        # All that leave are gone before the first search, so that none of them is taken as a replacement.
        _put(alive, removed[out : removed_ends[level]], False)
        while out < removed_ends[level]:
            stamp += 1
            count += _leave(
                removed[out],
                pixels,
                dy,
                dx,
                height,
                width,
                alive,
                partner,
                mate,
                dead,
                seen_pixels,
                stamp,
                parent,
                queue,
            )
            out += 1
        while into < added_ends[level]:
            p = added[into]
            alive[p] = True
            stamp += 1
            count += _join(p, starts, neighbours, partner, mate, dead, seen, stamp, parent, queue)
            into += 1
        pairs[level] = count
    return pairs


@njit
def _match_afresh(
    here: Array,
    alive: Array,
    pixels: Array,
    starts: Array,
    neighbours: Array,
    dy: Array,
    dx: Array,
    height: int,
    width: int,
    partner: Array,
) -> int:
    """Number of pairs of the predictions `here`, which `alive` marks; `partner` is overwritten where they are."""
    mate = np.full(len(pixels), -1, np.int32)
    _put(partner, here, -1)
    # Targets without a partner, so that each ring visits only those.
    free = np.arange(len(pixels))
    count = len(free)
    for j in range(len(dy)):
        left = 0
        for i in range(count):
            g = free[i]
            y, x = pixels[g] // width + dy[j], pixels[g] % width + dx[j]
            q = y * width + x
            if 0 <= y < height and 0 <= x < width and alive[q] and partner[q] < 0:
                partner[q], mate[g] = g, q
            else:
                free[left] = g
                left += 1
        count = left
    pairs = len(pixels) - count
    dead = np.zeros(len(pixels), np.bool_)
    seen = np.zeros(len(pixels), np.int32)
    parent, queue = np.empty(len(pixels), np.int32), np.empty(len(pixels), np.int32)
    for i in range(len(here)):
        if partner[here[i]] < 0:
            pairs += _join(here[i], starts, neighbours, partner, mate, dead, seen, i + 1, parent, queue)
    return pairs


@njit
def _nearest_first(
    added: Array,
    added_ends: Array,
    removed: Array,
    removed_ends: Array,
    pixels: Array,
    ends: Array,
    dy: Array,
    dx: Array,
    height: int,
    width: int,
) -> tuple[Array, Array]:
    ever = np.zeros(height * width, np.bool_)
    _put(ever, added, True)
    partner = np.full(height * width, -1, np.int32)
    here = np.empty(height * width + 1, np.int32)
    pairs, union = np.zeros(len(added_ends), np.int64), np.zeros(len(added_ends), np.int64)
    # A pixel counts once per level, however many annotators match it.
    matched = np.zeros((len(pairs), height * width), np.bool_)
    first = 0
    for end in ends:
        theirs = pixels[first:end]
        first = end
        starts, neighbours = _rows(theirs, ever, dy, dx, height, width)
        alive = np.zeros(height * width, np.bool_)
        out, into = 0, 0
        for level in range(len(pairs)):
            _put(alive, removed[out : removed_ends[level]], False)
            _put(alive, added[into : added_ends[level]], True)
            out, into = removed_ends[level], added_ends[level]
            count = 0
            for q in range(len(alive)):
                here[count] = q
                count += alive[q]
            pairs[level] += _match_afresh(
                here[:count], alive, theirs, starts, neighbours, dy, dx, height, width, partner
            )
            for i in range(count):
                q = here[i]
                if partner[q] >= 0 and not matched[level, q]:
                    matched[level, q] = True
                    union[level] += 1
    return pairs, union
