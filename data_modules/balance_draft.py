"""Dealing out label patterns to batches, so that every batch serves every task."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

__all__ = ["Draft"]

_Bools = npt.NDArray[np.bool_]
_Ints = npt.NDArray[np.int64]

_MAX = np.iinfo(np.int64).max

_PARTNERS = 128
"""Batches that are looked through for an exchange: those with most labels to spare."""


class Draft:
    """A plan in the making: how many images of each pattern stand in each batch.

    All decisions are taken in whole numbers or single divisions: each rank makes the plan for itself, and all must come
    to the same.

    Args:
        patterns: (patterns, tasks) bool.
        stock: (patterns,) images of each.
        minimum: Images of every task per batch.
        number: Batches.
    """

    def __init__(self, patterns: _Bools, stock: _Ints, minimum: int, number: int) -> None:
        self.labels = patterns.astype(np.int64)
        self.stock = stock.astype(np.int64)
        self.minimum = minimum
        self.wanted = self.stock.copy()
        self.added = np.zeros(self.labels.T.shape, dtype=np.int64)  # top-ups: (tasks, patterns)
        self.counts = np.zeros((number, len(stock)), dtype=np.int64)
        self.rarest_first = np.argsort(self.stock @ self.labels, kind="stable")

    @classmethod
    def of_sets(cls, patterns: _Bools, stock: _Ints, minimum: int, capacity: int, sets: _Ints) -> Self:
        """The last resort of all: for each image left a batch that serves every task, filled up with others that are.

        Args:
            patterns: (patterns, tasks) bool.
            stock: (patterns,) images of each.
            minimum: Images of every task per batch.
            capacity: Most images of a batch.
            sets: (patterns, patterns) for each pattern a batch that holds it and serves every task.
        """
        batches = []
        left = stock.astype(np.int64)
        while left.any():
            batch = sets[np.argmax(left)].copy()
            while batch.sum() < capacity and (left > batch).any():
                batch[np.argmax(left - batch)] += 1
            batches.append(batch)
            left = np.maximum(left - batch, 0)
        draft = cls(patterns, stock, minimum, len(batches))
        draft._take(np.array(batches))
        draft.prune()
        draft.level()
        return draft

    def _take(self, counts: _Ints) -> None:
        """Takes over a whole plan; what it repeats is laid to the account of the rarest task served."""
        self.counts[:] = counts
        self.wanted = self.counts.sum(axis=0)
        for pattern in np.flatnonzero(self.wanted > self.stock):
            task = next(t for t in self.rarest_first if self.labels[pattern, t])
            self.added[task, pattern] = self.wanted[pattern] - self.stock[pattern]

    @property
    def sizes(self) -> _Ints:
        """Images per batch."""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def short(self) -> _Ints:
        """(batches, tasks) labelled images that are lacking."""
        return np.asarray(np.maximum(self.minimum - self.counts @ self.labels, 0))

    def places(self) -> _Ints:
        """(batches, largest batch) patterns; -1: no image."""
        sizes = self.sizes
        table = np.full((len(sizes), int(sizes.max())), -1, dtype=np.int64)
        table[np.arange(table.shape[1]) < sizes[:, None]] = np.repeat(
            np.tile(np.arange(len(self.stock)), len(sizes)), self.counts.ravel()
        )
        return table

    # ---- repeats ----------------------------------------------------------------------------------------------------
    def add_top_ups(self, slack: int) -> None:
        """Wants repeats until every task has enough images for all batches together, and `slack` images to spare."""
        number = len(self.counts)
        goal = np.minimum(self.minimum * number + slack, number * (self.stock @ self.labels))
        missing = np.maximum(goal - self.wanted @ self.labels, 0)
        for task in self.rarest_first:
            while missing[task] > 0:
                room = number * self.stock - self.wanted
                pattern = self._best_repeat(task, missing > 0, room > 0)
                step = min(-(-int(missing[task]) // 32), int(room[pattern]))
                self.wanted[pattern] += step
                self.added[task, pattern] += step
                missing = np.maximum(missing - step * self.labels[pattern], 0)

    def _best_repeat(self, task: int, missing: _Bools, possible: _Bools) -> int:
        """The pattern that serves most of the missing tasks, weighed against how often its images come already.

        One that serves two tasks may come four times as often as one that serves one: few repeats, but not all of them
        of a few images.
        """
        worth = (self.labels @ missing) ** 2 * self.stock / self.wanted
        return int(np.argmax(np.where(possible & (self.labels[:, task] > 0), worth, -1.0)))

    def repeat_core(self, core: _Ints) -> None:
        """The last resort: the same patterns in every batch, and all other images spread evenly."""
        number = len(self.counts)
        self.counts[:] = core
        rest = np.maximum(self.stock - number * core, 0)
        sizes = self.sizes
        for pattern in np.repeat(np.arange(len(rest)), rest):
            batch = np.argmin(sizes)
            self.counts[batch, pattern] += 1
            sizes[batch] += 1
        self._take(self.counts)

    def fill(self, smallest: int) -> int:
        """Adds repeats to batches with fewer images than ranks; returns how many."""
        fills = 0
        for batch in np.flatnonzero(self.sizes < smallest):
            for _ in range(smallest - int(self.counts[batch].sum())):
                rate = np.where(self.counts[batch] < self.stock, self.counts.sum(axis=0) / self.stock, np.inf)
                self.counts[batch, np.argmin(rate)] += 1
                fills += 1
        return fills

    # ---- dealing out ------------------------------------------------------------------------------------------------
    def complete(self) -> None:
        """Deals out the places that are wanted and mends the batches until each serves every task."""
        self.spread()
        self.exchange()
        self.top_up()
        self.prune()
        self.level()

    def spread(self) -> None:
        """Deals out patterns, those first that weigh most, each to the batch that lags behind most in its labels."""
        number, total = len(self.counts), int(self.wanted.sum())
        supply = self.wanted @ self.labels
        self.counts[:] = self.wanted // number
        rest = self.wanted % number
        sizes = self.sizes
        room = np.full(number, total // number)
        room[: total % number] += 1
        weights = self.labels * total - supply
        lead = (self.counts @ self.labels) * total - supply * sizes[:, None]
        for pattern in np.argsort(-(weights * weights).sum(axis=1), kind="stable"):
            score = lead @ weights[pattern]
            gain = weights[pattern] @ weights[pattern]
            for _ in range(int(rest[pattern])):
                possible = self.counts[:, pattern] < self.stock[pattern]
                open_ = possible & (sizes < room)
                choice, order = (open_, score) if open_.any() else (possible, sizes)
                batch = int(np.argmin(np.where(choice, order, _MAX)))
                self.counts[batch, pattern] += 1
                sizes[batch] += 1
                score[batch] += gain
                lead[batch] += weights[pattern]

    def exchange(self) -> None:
        """Exchanges places of batches that lack a label for better ones of others, as long as that serves more."""
        places = self.places()
        have = self.counts @ self.labels
        for batch in np.flatnonzero(self.short.any(axis=1)):
            while (have[batch] < self.minimum).any():
                if not self._exchange_once(int(batch), places, have):
                    break

    def _exchange_once(self, batch: int, places: _Ints, have: _Ints) -> bool:
        missing = have[batch] < self.minimum
        surplus = np.maximum(have[:, missing] - self.minimum, 0).sum(axis=1)
        surplus[batch] = -1
        others = np.argsort(-surplus, kind="stable")[:_PARTNERS]
        mine = np.flatnonzero(self.counts[batch])
        theirs = places[others]
        change = self.labels[theirs][None] - self.labels[mine][:, None, None]
        lack_mine = np.maximum(self.minimum - have[batch] - change, 0).sum(axis=-1)
        lack_theirs = np.maximum(self.minimum - have[others][None, :, None] + change, 0).sum(axis=-1)
        before = np.maximum(self.minimum - have[others], 0).sum(axis=1)[None, :, None]
        after = lack_mine + lack_theirs - before
        forbidden = (theirs < 0) | (self.counts[batch, theirs] >= self.stock[theirs])
        forbidden = forbidden[None] | (self.counts[others][:, mine] >= self.stock[mine]).T[:, :, None]
        after = np.where(forbidden, _MAX, after)
        best = np.unravel_index(int(np.argmin(after)), after.shape)
        if after[best] >= np.maximum(self.minimum - have[batch], 0).sum():
            return False
        give, other, take = int(mine[best[0]]), int(others[best[1]]), int(theirs[best[1], best[2]])
        places[batch, np.flatnonzero(places[batch] == give)[0]] = take
        places[other, best[2]] = give
        for where, gone, come in ((batch, give, take), (other, take, give)):
            self.counts[where, gone] -= 1
            self.counts[where, come] += 1
            have[where] += self.labels[come] - self.labels[gone]
        return True

    def top_up(self) -> None:
        """Adds repeats to the batches that still lack labels."""
        for batch in np.flatnonzero(self.short.any(axis=1)):
            for task in self.rarest_first:
                while (have := self.counts[batch] @ self.labels)[task] < self.minimum:
                    possible = self.counts[batch] < self.stock
                    pattern = self._best_repeat(task, have < self.minimum, possible)
                    self.counts[batch, pattern] += 1
                    self.wanted[pattern] += 1
                    self.added[task, pattern] += 1

    def prune(self) -> None:
        """Takes repeats away from batches, large ones first, that have enough without them."""
        have = self.counts @ self.labels
        for pattern in np.flatnonzero(self.wanted > self.stock):
            needs = self.labels[pattern] * (self.minimum + 1)
            while self.wanted[pattern] > self.stock[pattern]:
                spare = (self.counts[:, pattern] > 0) & (have >= needs).all(axis=1)
                if not spare.any():
                    break
                batch = int(np.argmax(np.where(spare, self.sizes, -1)))
                self.counts[batch, pattern] -= 1
                have[batch] -= self.labels[pattern]
                self.wanted[pattern] -= 1
                self.added[int(np.argmax(self.added[:, pattern])), pattern] -= 1

    def level(self) -> None:
        """Moves places from large batches to small ones until sizes differ by one at most, where labels allow it."""
        have = self.counts @ self.labels
        sizes = self.sizes
        while True:
            for batch in np.argsort(-sizes, kind="stable"):
                small = int(np.argmin(sizes))
                if sizes[batch] <= sizes[small] + 1:
                    return
                loose = (have[batch] >= self.labels * (self.minimum + 1)).all(axis=1) & (self.counts[batch] > 0)
                loose &= self.counts[small] < self.stock
                if loose.any():
                    pattern = int(np.argmax(loose))
                    for where, step in ((int(batch), -1), (small, 1)):
                        self.counts[where, pattern] += step
                        have[where] += step * self.labels[pattern]
                        sizes[where] += step
                    break
            else:
                return
