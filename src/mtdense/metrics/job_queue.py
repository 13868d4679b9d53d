"""Threads that score images while the caller goes on."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any, Generic, TypeVar

from torch import distributed

from mtdense.core.errors import MTDenseError

__all__ = ["JobQueue", "usable_workers"]

R = TypeVar("R")


def usable_workers(workers: int) -> int:
    """How many of the wanted threads this process may use, so that all ranks of a machine stay within its cores.

    Ranks of this machine are counted by LOCAL_WORLD_SIZE, which torchrun sets; without it, all ranks of the run.
    """
    return min(workers, _share())


class JobQueue(Generic[R]):
    """Runs one function per image in threads; for functions that let go of Python's interpreter lock.

    All queues of a process together never run more jobs at once than its share of the machine's cores, which a queue
    asks for when it first starts threads. After `os.fork` the child runs jobs under way in threads of its own.

    Args:
        workers: Number of threads, within `usable_workers`; with none left, jobs run in the caller.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0
        self._threads = self._shared = 0
        # A job is kept beside its future, which a forked child cannot use: its threads are the parent's.
        self._pending: deque[tuple[int, Callable[[], R], Future[R]]] = deque()

    @property
    def threaded(self) -> bool:
        """Whether jobs have been handed to threads."""
        return self._pool is not None

    def submit(self, index: int, job: Callable[..., R], *args: Any) -> list[R]:
        """Hands over a job; waits while two jobs per thread in use are under way, so that memory stays bounded.

        Args:
            index: Which image it is, for error messages.
            job: What to call; must not change its arguments, which must not change either.
            *args: Its arguments.

        Returns:
            Results that came in since the last call, in the order of submission.

        Raises:
            MTDenseError: What a job raised, naming the image.
        """
        self._after_fork()
        call = partial(job, *args)
        if self._pool is None:
            self._threads, self._shared = usable_workers(self.workers), max(1, _share())
            if self._threads < 1:
                return [_named(index, call)]
            self._start()
        self._hand_over(index, call)
        return self._take(lambda: len(self._pending) > 2 * self._threads or self._pending[0][-1].done())

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
        if self._process != os.getpid():
            self._pending.clear()
        for *_, future in self._pending:
            future.cancel()
        while self._pending:
            future = self._pending.popleft()[-1]
            if not future.cancelled():
                future.exception()

    def _start(self) -> None:
        self._process = os.getpid()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="mtdense-score")

    def _hand_over(self, index: int, call: Callable[[], R]) -> None:
        assert self._pool is not None
        future = self._pool.submit(_within, _slots(self._shared, self._process), call)
        self._pending.append((index, call, future))

    def _after_fork(self) -> None:
        if self._pool is None or self._process == os.getpid():
            return
        self._start()
        calls = [(index, call) for index, call, _ in self._pending]
        self._pending.clear()
        for index, call in calls:
            self._hand_over(index, call)

    def _take(self, ready: Callable[[], bool]) -> list[R]:
        self._after_fork()
        results = []
        while self._pending and ready():
            index, _, future = self._pending[0]
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


def _within(slots: threading.Semaphore, call: Callable[[], R]) -> R:
    with slots:
        return call()


def _share() -> int:
    """Cores that this rank has to itself."""
    return _cores() // _ranks()


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
def _slots(number: int, process: int) -> threading.Semaphore:
    # By process: a forked child inherits slots that are taken and that nobody gives back.
    return threading.Semaphore(number)
