"""Threads that score images while the caller goes on."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, Generic, TypeVar

from torch import distributed

from mtdense.core.errors import MTDenseError

__all__ = ["JobQueue", "usable_workers"]

R = TypeVar("R")


def usable_workers(workers: int) -> int:
    """How many of the wanted threads this process may use, so that all ranks of a machine stay within its cores.

    Ranks of this machine are counted by LOCAL_WORLD_SIZE, which torchrun sets; without it, all ranks of the run.
    """
    return min(workers, _cores() // _ranks())


class JobQueue(Generic[R]):
    """Runs one function per image in threads; for functions that let go of Python's interpreter lock.

    All queues of a process together never run more jobs at once than its share of the machine's cores.

    Args:
        workers: Number of threads, within `usable_workers`; with none left, jobs run in the caller.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ThreadPoolExecutor | None = None
        self._pending: deque[tuple[int, Future[R]]] = deque()

    @property
    def threaded(self) -> bool:
        """Whether jobs have been handed to threads."""
        return self._pool is not None

    def submit(self, index: int, job: Callable[..., R], *args: Any) -> list[R]:
        """Hands over a job; waits while two jobs per thread are under way, so that memory stays bounded.

        Args:
            index: Which image it is, for error messages.
            job: What to call; must not change its arguments, which must not change either.
            *args: Its arguments.

        Returns:
            Results that came in since the last call, in the order of submission.

        Raises:
            MTDenseError: What a job raised, naming the image.
        """
        if self._pool is None:
            usable = usable_workers(self.workers)
            if usable < 1:
                return [_named(index, lambda: job(*args))]
            self._pool = ThreadPoolExecutor(usable, thread_name_prefix="mtdense-score")
        self._pending.append((index, self._pool.submit(_within, _slots(_cores() // _ranks()), job, *args)))
        return self._take(lambda: len(self._pending) > 2 * self.workers or self._pending[0][1].done())

    def join(self) -> list[R]:
        """Waits for all jobs.

        Returns:
            Results that came in since the last call, in the order of submission.

        Raises:
            MTDenseError: What a job raised, naming the image.
        """
        return self._take(lambda: True)

    def discard(self) -> None:
        """Drops all jobs and their results and errors; waits for those that run."""
        for _, future in self._pending:
            future.cancel()
        while self._pending:
            future = self._pending.popleft()[1]
            if not future.cancelled():
                future.exception()

    def _take(self, ready: Callable[[], bool]) -> list[R]:
        results = []
        while self._pending and ready():
            index, future = self._pending[0]
            try:
                results.append(_named(index, future.result))
            except Exception:
                self.discard()
                raise
            self._pending.popleft()
        return results

    def __getstate__(self) -> dict[str, Any]:
        if self._pending:
            raise RuntimeError("a queue with jobs under way cannot be copied; join it first")
        return {"workers": self.workers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["workers"])  # type: ignore[misc]


def _named(index: int, call: Callable[[], R]) -> R:
    try:
        return call()
    except MTDenseError as error:
        raise type(error)(f"image {index}: {error.problem}", error.mend) from error
    except Exception as error:
        error.add_note(f"while scoring image {index}")
        raise


def _within(slots: threading.Semaphore, job: Callable[..., R], *args: Any) -> R:
    with slots:
        return job(*args)


def _cores() -> int:
    # A container or `taskset` may leave the process fewer cores than the machine has.
    affinity = getattr(os, "sched_getaffinity", None)
    return (len(affinity(0)) if affinity else os.cpu_count()) or 1


def _ranks() -> int:
    local = os.environ.get("LOCAL_WORLD_SIZE", "")
    if local.isdigit() and int(local) > 0:
        return int(local)
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


@cache
def _slots(number: int) -> threading.Semaphore:
    return threading.Semaphore(number)
