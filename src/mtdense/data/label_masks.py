"""Which image carries which task's label: a boolean table, images by tasks."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError, DataError
from mtdense.core.words import counted

__all__ = ["LABEL_SETTINGS", "BoolArray", "LabelMask"]

BoolArray = npt.NDArray[np.bool_]

LABEL_SETTINGS = ("full", "one-label", "random-label")
"""Label settings that can be drawn; `LabelMask.draw` knows them by these names."""


def _rng(seed: int) -> np.random.Generator:
    if seed < 0:
        raise ConfigError(f"label_seed is {seed}", "Give a whole number of 0 or more.")
    return np.random.Generator(np.random.PCG64(seed))


@dataclass(frozen=True, eq=False)
class LabelMask:
    """A label mask.

    Masks are drawn over the *sorted* ids, so they do not depend on the order in which a data set lists its images; the
    rows are then put into the order of `ids`.

    Args:
        ids: Image ids, unique.
        tasks: Task names, unique; the order belongs to the mask.
        labelled: (images, tasks) bool.

    Raises:
        DataError: Repeated ids or tasks, or a table of another shape.
    """

    ids: tuple[str, ...]
    tasks: tuple[str, ...]
    labelled: BoolArray

    def __post_init__(self) -> None:
        for what, values in (("image id", self.ids), ("task", self.tasks)):
            if len(set(values)) != len(values):
                twice = next(value for value in values if values.count(value) > 1)
                raise DataError(f"label mask: {what} {twice!r} occurs twice", f"Make every {what} unique.")
        if self.labelled.shape != (len(self.ids), len(self.tasks)) or self.labelled.dtype != np.bool_:
            raise DataError(
                f"label mask: a table {self.labelled.shape} of {self.labelled.dtype} does not fit "
                f"{counted(len(self.ids), 'image')} and {counted(len(self.tasks), 'task')}",
                "Give one boolean row per image and one column per task.",
            )
        self.labelled.setflags(write=False)

    # ---- drawing ---------------------------------------------------------------------------------------------------
    @classmethod
    def draw(
        cls, setting: str, ids: Sequence[str], tasks: Sequence[str], seed: int, eligible: BoolArray | None = None
    ) -> LabelMask:
        """Draws the mask of a label setting by its name (see `LABEL_SETTINGS`).

        Raises:
            ConfigError: No such setting, or a seed below 0.
        """
        if setting == "full":
            return cls.full(ids, tasks, eligible)
        if setting == "one-label":
            return cls.one_label(ids, tasks, seed, eligible)
        if setting == "random-label":
            return cls.random_label(ids, tasks, seed, eligible)
        raise ConfigError(f"unknown label setting {setting!r}", f"Use one of {', '.join(LABEL_SETTINGS)}.")

    @classmethod
    def full(cls, ids: Sequence[str], tasks: Sequence[str], available: BoolArray | None = None) -> LabelMask:
        """Every label that exists.

        Args:
            ids: Image ids.
            tasks: Task names.
            available: (images, tasks) bool, rows in the order of `ids`; None: all.
        """
        every = np.ones((len(ids), len(tasks)), dtype=np.bool_)
        table = every if available is None else available.copy()
        return cls(tuple(ids), tuple(tasks), table)

    @classmethod
    def one_label(
        cls, ids: Sequence[str], tasks: Sequence[str], seed: int, eligible: BoolArray | None = None
    ) -> LabelMask:
        """Exactly one label per image, as balanced over tasks as eligibility allows.

        With N images and T tasks each task is due floor(N/T) or ceil(N/T) images; the tasks with the most eligible
        images take the ceilings. The scarcest task draws first, uniformly from its eligible images, then the next from
        what is left; ties are broken by the order of `tasks`. Where eligibility does not admit these shares (images
        that each have labels of some tasks only), random images are handed on until no task could be given more at
        the expense of one that has at least two more. An image without any eligible task gets no label.

        Args:
            ids: Image ids.
            tasks: Task names.
            seed: Seeds PCG64; the mask is a function of it, the set of ids, the tasks and the eligibility.
            eligible: (images, tasks) bool, rows in the order of `ids`; None: all.
        """
        order, table, eligible = _sorted_table(ids, tasks, eligible)
        rng = _rng(seed)
        free = np.asarray(eligible.any(axis=1))
        num_eligible = eligible.sum(axis=0)
        base, extra = divmod(int(free.sum()), max(len(tasks), 1))
        capacity = np.full(len(tasks), base)
        capacity[np.argsort(-num_eligible, kind="stable")[:extra]] += 1
        owner = np.full(len(ids), -1)
        for t in np.argsort(num_eligible, kind="stable"):
            chosen = rng.permutation(np.flatnonzero(free & eligible[:, t]))[: capacity[t]]
            owner[chosen] = t
            free[chosen] = False
        for i in rng.permutation(np.flatnonzero(free)):
            owner[i] = np.flatnonzero(eligible[i])[0]
        _balance(owner, eligible, rng)
        given = np.flatnonzero(owner >= 0)
        table[given, owner[given]] = True
        return cls._from_sorted(ids, tasks, order, table)

    @classmethod
    def random_label(
        cls, ids: Sequence[str], tasks: Sequence[str], seed: int, eligible: BoolArray | None = None
    ) -> LabelMask:
        """One to m - 1 labels per image, m being the number of its eligible tasks.

        The number is uniform on 1..m-1 (1 where m is 1), the labels are a uniform subset of the eligible tasks. The
        arguments are those of `one_label`.
        """
        order, table, eligible = _sorted_table(ids, tasks, eligible)
        rng = _rng(seed)
        for i in range(len(ids)):
            candidates = np.flatnonzero(eligible[i])
            m = len(candidates)
            if m == 0:
                continue
            k = 1 if m == 1 else int(rng.integers(1, m))
            table[i, rng.permutation(candidates)[:k]] = True
        return cls._from_sorted(ids, tasks, order, table)

    @classmethod
    def _from_sorted(
        cls, ids: Sequence[str], tasks: Sequence[str], order: npt.NDArray[np.int64], table: BoolArray
    ) -> LabelMask:
        rows = np.empty_like(table)
        rows[order] = table
        return cls(tuple(ids), tuple(tasks), rows)

    # ---- use -------------------------------------------------------------------------------------------------------
    def tasks_of(self, index: int) -> frozenset[str]:
        """Tasks whose label the image may show."""
        return frozenset(task for task, has in zip(self.tasks, self.labelled[index], strict=True) if has)

    def images_with(self, tasks: Iterable[str]) -> list[int]:
        """Indices of images that carry at least one of these tasks' labels, ascending."""
        columns = [self.tasks.index(task) for task in tasks]
        return [int(i) for i in np.flatnonzero(self.labelled[:, columns].any(axis=1))]

    def select(self, ids: Sequence[str]) -> LabelMask:
        """The mask of these images alone, rows in their order.

        Raises:
            DataError: The mask does not know an image, or it is asked for twice.
        """
        row_of = {name: row for row, name in enumerate(self.ids)}
        unknown = [name for name in ids if name not in row_of]
        if unknown:
            raise DataError(
                f"the label mask lacks {len(unknown)} of {counted(len(ids), 'image')} "
                f"({', '.join(map(repr, unknown[:3]))})",
                "Use a mask over all of the data set's published training images.",
            )
        rows = np.array([row_of[name] for name in ids], dtype=np.int64)
        return LabelMask(tuple(ids), self.tasks, self.labelled[rows])

    def counts(self) -> dict[str, int]:
        """Labelled images per task."""
        return {task: int(n) for task, n in zip(self.tasks, self.labelled.sum(axis=0), strict=True)}

    def checksum(self) -> str:
        """SHA-256 of tasks and rows, whatever the order of the rows."""
        rows = {key: [int(value) for value in row] for key, row in zip(self.ids, self.labelled, strict=True)}
        text = json.dumps({"tasks": list(self.tasks), "rows": rows}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _sorted_table(
    ids: Sequence[str], tasks: Sequence[str], eligible: BoolArray | None
) -> tuple[npt.NDArray[np.int64], BoolArray, BoolArray]:
    """Order that sorts the ids, an empty table, and eligibility in sorted order."""
    order = np.array(sorted(range(len(ids)), key=lambda i: ids[i]), dtype=np.int64)
    table = np.zeros((len(ids), len(tasks)), dtype=np.bool_)
    if eligible is None:
        return order, table, np.ones_like(table)
    if eligible.shape != table.shape:
        raise DataError(
            f"label mask: eligibility {eligible.shape} does not fit {counted(len(ids), 'image')} "
            f"and {counted(len(tasks), 'task')}",
            "Give one boolean row per image and one column per task.",
        )
    return order, table, eligible[order]


def _balance(owner: npt.NDArray[np.int64], eligible: BoolArray, rng: np.random.Generator) -> None:
    """Hands images on, in place, until the numbers of images per task are as even as eligibility admits.

    Each round moves one image along every step of a path of tasks, from a task to one with at least two images fewer:
    the sum of squares falls, so it ends, and without such a path the distribution is optimal (a semi-matching).
    """
    num_tasks = eligible.shape[1]
    while True:
        counts = np.bincount(owner[owner >= 0], minlength=num_tasks)
        movable = [eligible[owner == t].any(axis=0) for t in range(num_tasks)]
        path = _uneven_path(counts, movable)
        if path is None:
            return
        for source, goal in pairwise(path):
            owner[rng.choice(np.flatnonzero((owner == source) & eligible[:, goal]))] = goal


def _uneven_path(counts: npt.NDArray[np.int64], movable: Sequence[BoolArray]) -> list[int] | None:
    """A shortest path from the fullest possible task to one with at least two images fewer, if there is any."""
    for start in np.argsort(-counts, kind="stable"):
        paths = {int(start): [int(start)]}
        queue = deque(paths)
        while queue:
            task = queue.popleft()
            if counts[task] <= counts[start] - 2:
                return paths[task]
            for following in np.flatnonzero(movable[task]):
                if int(following) not in paths:
                    paths[int(following)] = [*paths[task], int(following)]
                    queue.append(int(following))
    return None
