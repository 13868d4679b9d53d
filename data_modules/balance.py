"""Batches that all hold labels of every task: which kinds of images share a batch, and which are repeated.

Images that carry the same labels are exchangeable, so the plan is made once, over label patterns, and does not depend
on the seed. Every epoch varies it by exchanges that keep its promises, and draws images for its places.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from data_modules.balance_draft import Draft
from mtdense.core.errors import ConfigError
from mtdense.core.seeds import derive_rng
from mtdense.core.words import counted

__all__ = ["BatchPlan", "plan_batches"]

_Bools = npt.NDArray[np.bool_]
_Ints = npt.NDArray[np.int64]

_ATTEMPTS = 7
"""How often batches are dealt out anew, each time with more repeats to ease it, before the last resorts."""

_NODES = 2000
"""How many partial batches are looked through for one that serves all tasks."""

_DEPTH = 64
"""Images of the largest batches that are looked for in this way."""


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """Which label pattern stands at which place of which batch.

    Args:
        members: Per pattern the images that carry it: rows of the label table, ascending.
        labels: (patterns, tasks) bool.
        places: (batches, largest batch) pattern at each place; -1, at the end of a row: no image.
        minimum: Images labelled for every task in every batch.
        top_ups: Per task, places given to repeated images for its sake.
        fills: Places given to repeated images so that every rank has one.
    """

    members: tuple[_Ints, ...]
    labels: _Bools
    places: _Ints
    minimum: int
    top_ups: tuple[int, ...]
    fills: int

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.places)

    def draw(self, seed: int, epoch: int) -> list[_Ints]:
        """The batches of an epoch, a function of seed and epoch alone.

        Every image is in at least one batch and in none twice. Within a pattern no image is shown more than once more
        often than another, neither in this epoch nor in all epochs up to it.

        Args:
            seed: Seeds the order.
            epoch: Number of the epoch, from 0.

        Returns:
            Per batch the rows of the label table, shuffled.
        """
        rng = derive_rng(seed, "order", epoch)
        places = self._mixed(rng)
        images = np.full(places.shape, -1, dtype=np.int64)
        order = np.argsort(places, axis=None, kind="stable")
        ends = np.cumsum(np.bincount(places.ravel() + 1, minlength=len(self.members) + 1))
        for pattern, (start, end) in enumerate(pairwise(ends)):
            where = order[start:end]
            images.ravel()[where] = self._dealt(pattern, where // places.shape[1], seed, epoch, rng)
        images = np.take_along_axis(images, np.argsort(rng.random(images.shape), axis=1), axis=1)
        return [row[row >= 0] for row in images]

    def _mixed(self, rng: np.random.Generator) -> _Ints:
        """The plan with its batches shuffled, and places exchanged at random between them where labels allow it."""
        places = rng.permutation(self.places)
        sizes = (places >= 0).sum(axis=1)
        stock = np.array([len(rows) for rows in self.members])
        labels = self.labels.astype(np.int64)
        counts = np.zeros((len(places), len(stock)), dtype=np.int64)
        batches, columns = np.nonzero(places >= 0)
        np.add.at(counts, (batches, places[batches, columns]), 1)
        have = counts @ labels
        half = len(places) // 2
        for _ in range(3 * places.shape[1] if half else 0):
            pairs = rng.permutation(len(places))[: 2 * half].reshape(2, half)
            at = rng.integers(0, sizes[pairs])
            give, take = places[pairs, at]
            change = labels[take] - labels[give]
            fits = (have[pairs[0]] + change >= self.minimum).all(axis=1)
            fits &= (have[pairs[1]] - change >= self.minimum).all(axis=1)
            fits &= (counts[pairs[0], take] < stock[take]) & (counts[pairs[1], give] < stock[give])
            pairs, at, give, take, change = pairs[:, fits], at[:, fits], give[fits], take[fits], change[fits]
            for batch, column, gone, come, sign in (
                (pairs[0], at[0], give, take, 1),
                (pairs[1], at[1], take, give, -1),
            ):
                places[batch, column] = come
                counts[batch, gone] -= 1
                counts[batch, come] += 1
                have[batch] += sign * change
        return places

    def _dealt(self, pattern: int, batches: _Ints, seed: int, epoch: int, rng: np.random.Generator) -> _Ints:
        """Images of a pattern for its places, whose batches are ascending: round after round of all its images."""
        members = self.members[pattern]
        images = np.empty(len(batches), dtype=np.int64)
        done = len(batches) % len(members)
        if done:  # an incomplete round: in each epoch the next images on a fixed circle
            circle = derive_rng(seed, "top-ups", pattern).permutation(members)
            images[:done] = rng.permutation(np.roll(circle, -(epoch * done % len(members)))[:done])
        while done < len(batches):
            images_of_round = rng.permutation(members)
            start, end = np.searchsorted(batches, [batches[done], batches[done] + 1])
            if start < done:  # the batch holds images of the round before; they come later in this round
                new = images_of_round[~np.isin(images_of_round, images[start:done])][: end - done]
                images_of_round = np.concatenate([new, images_of_round[~np.isin(images_of_round, new)]])
            images[done : done + len(members)] = images_of_round
            done += len(members)
        return images


def plan_batches(
    labelled: _Bools, tasks: Sequence[str], minimum: int, *, batch_size: int, world_size: int = 1
) -> BatchPlan:
    """Plans batches in each of which every task has labelled images, with few repeats.

    Each image has one place. Where a task has too few images for all batches, places for repeats are added ("top-ups"):
    of patterns that serve several scarce tasks, unless their images come much more often than others already. Places
    are dealt out so that labels and sizes are even; exchanges between batches then serve those that lack a label, and
    what still lacks is topped up in place. If all that does not fit, there are more batches, or more top-ups to choose
    from.

    The search ends: at N batches for N images, or after `_ATTEMPTS` deals. As a last resort every batch gets the same
    small set of patterns that serves all tasks; with c images in that set, N / (capacity - c) batches hold all images
    for certain. Where c is the capacity itself, there is a plan if each pattern has a set of its own with it (`_sets`).

    Args:
        labelled: (images, tasks) bool.
        tasks: Names of the tasks.
        minimum: Different images labelled for every task that each batch is to hold, 1 or more.
        batch_size: Most images per batch and rank.
        world_size: Number of ranks; a batch holds an image for each, and `batch_size * world_size` at most.

    Raises:
        ConfigError: A task with fewer labelled images than `minimum`, or batches too small for all tasks.
    """
    patterns, row_of, stock = np.unique(labelled, axis=0, return_inverse=True, return_counts=True)
    capacity = batch_size * world_size
    for task, count in zip(tasks, labelled.sum(axis=0), strict=True):
        if count < minimum:
            raise ConfigError(
                f"min_labelled is {minimum}, but {count} of {len(labelled)} training images are labelled for {task!r}",
                f"Use min_labelled {_largest(patterns, stock, minimum - 1, capacity)} at most with batches of "
                f"{capacity} images, label more images for {task!r}, or leave the task out.",
            )
    core = _core(patterns, stock, minimum)
    draft = _search(patterns, stock, minimum, capacity) if core.sum() <= capacity else None
    if draft is None and (room := capacity - int(core.sum())) > 0:
        draft = Draft(patterns, stock, minimum, -(-len(labelled) // room))
        draft.repeat_core(core)
    if draft is None:
        sets = _sets(patterns, stock, minimum, capacity)
        if sets is None:
            raise _too_small(patterns, stock, minimum, batch_size, world_size)
        draft = Draft.of_sets(patterns, stock, minimum, capacity, sets)
    fills = draft.fill(world_size)
    members = tuple(np.split(np.argsort(row_of.ravel(), kind="stable"), np.cumsum(stock)[:-1]))
    top_ups = tuple(int(n) for n in draft.added.sum(axis=1))
    return BatchPlan(members, patterns, draft.places(), minimum, top_ups, fills)


def _core(patterns: _Bools, stock: _Ints, minimum: int, first: int | None = None) -> _Ints:
    """(patterns,) images of each that together serve every task: a small set, found greedily, with `first` in it."""
    labels = patterns.astype(np.int64)
    core = np.zeros(len(stock), dtype=np.int64)
    if first is not None:
        core[first] = 1
    while (missing := np.maximum(minimum - core @ labels, 0)).any():
        core[np.argmax(np.where(core < stock, labels @ missing, -1))] += 1
    return core


def _sets(patterns: _Bools, stock: _Ints, minimum: int, capacity: int) -> _Ints | None:
    """For each pattern one batch that holds it and serves every task: (patterns, patterns) images; None: not found.

    Without such a batch for a pattern there is no plan, and with all of them there is one.
    """
    sets = []
    for first in range(len(stock)):
        found: _Ints | None = _core(patterns, stock, minimum, first)
        if found is not None and found.sum() > capacity:
            found = _smaller(patterns, stock, minimum, capacity, first)
        if found is None:
            return None
        sets.append(found)
    return np.array(sets)


def _smaller(patterns: _Bools, stock: _Ints, minimum: int, capacity: int, first: int) -> _Ints | None:
    """A batch as `_core` makes it, of `capacity` images at most: looked for exhaustively, up to `_NODES`."""
    labels = patterns.astype(np.int64)
    most = int(labels.sum(axis=1).max())
    batch = np.zeros(len(stock), dtype=np.int64)
    nodes = 0

    def complete(pattern: int, missing: _Ints, room: int) -> bool:
        nonlocal nodes
        nodes += 1
        batch[pattern] += 1
        missing, room = np.maximum(missing - labels[pattern], 0), room - 1
        if not missing.any():
            return True
        if missing.max() <= room and missing.sum() <= room * most:
            useful = (batch < stock) & (labels[:, np.argmax(missing)] > 0)
            for following in np.argsort(-(labels @ (missing > 0)), kind="stable"):
                if useful[following] and nodes < _NODES and complete(int(following), missing, room):
                    return True
        batch[pattern] -= 1
        return False

    possible = 0 < capacity <= _DEPTH and complete(first, np.full(labels.shape[1], minimum), capacity)
    return batch if possible else None


def _largest(patterns: _Bools, stock: _Ints, start: int, capacity: int) -> int:
    """The largest `minimum`, `start` or less, for which there is a plan; 0: none."""
    start = min(start, int((stock @ patterns.astype(np.int64)).min()), capacity)
    steps = range(1, start + 1)
    return bisect_left(steps, True, key=lambda minimum: _sets(patterns, stock, minimum, capacity) is None)


def _too_small(patterns: _Bools, stock: _Ints, minimum: int, batch_size: int, world_size: int) -> ConfigError:
    capacity = batch_size * world_size
    sizes = range(capacity + 1, int(_core(patterns, stock, minimum).sum()) + 1)  # one more is enough for certain
    needed = capacity + 1
    needed += bisect_left(sizes, True, key=lambda size: _sets(patterns, stock, minimum, size) is not None)
    fitting = _largest(patterns, stock, minimum - 1, capacity)
    lower = f"lower min_labelled to {fitting}" if fitting else "leave min_labelled at 0"
    return ConfigError(
        f"min_labelled {minimum} for each of {patterns.shape[1]} tasks takes batches of {counted(needed, 'image')}, "
        f"but batch_size {batch_size} on {counted(world_size, 'device')} makes {capacity}",
        f"Raise batch_size to {-(-needed // world_size)} or more, or {lower}.",
    )


def _search(patterns: _Bools, stock: _Ints, minimum: int, capacity: int) -> Draft | None:
    """The plan with the fewest batches that is found; None: nothing fits."""
    number, attempt = -(-int(stock.sum()) // capacity), 0
    while number <= stock.sum() and attempt < _ATTEMPTS:
        draft = Draft(patterns, stock, minimum, number)
        draft.add_top_ups(slack=number * minimum * (2**attempt - 1) // 64)
        total = int(draft.wanted.sum())
        if total > number * capacity:
            number = max(number + 1, -(-total // capacity))
            continue
        draft.complete()
        if draft.sizes.max() <= capacity:
            return draft
        attempt += 1
    return None
