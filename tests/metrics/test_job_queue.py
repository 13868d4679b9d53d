from __future__ import annotations

import os
import pickle
import signal
import threading
import time

import pytest

from mtdense.core.errors import DataError
from mtdense.metrics import job_queue
from mtdense.metrics.job_queue import JobQueue, usable_workers


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Eight cores, one rank."""
    monkeypatch.setattr(job_queue, "_cores", lambda: 8)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)


@pytest.mark.parametrize(("ranks", "wanted", "given"), [(1, 4, 4), (1, 99, 8), (3, 99, 2), (8, 99, 1), (9, 99, 0)])
def test_all_ranks_together_stay_within_the_cores(monkeypatch, ranks, wanted, given):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    assert usable_workers(wanted) == given


def test_results_come_in_order_and_never_too_many_at_once():
    running, most, lock = 0, 0, threading.Lock()

    def job(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.002 * (number % 3))
        with lock:
            running -= 1
        return number

    queue: JobQueue[int] = JobQueue(3)
    results = []
    for number in range(30):
        results += queue.submit(number, job, number)
        assert len(queue._pending) <= 6
    results += queue.join()
    assert results == list(range(30))
    assert most == 3


def test_two_queues_share_the_cores(monkeypatch):
    monkeypatch.setattr(job_queue, "_cores", lambda: 2)
    running, most, lock = 0, 0, threading.Lock()

    def job() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.003)
        with lock:
            running -= 1

    queues: list[JobQueue[None]] = [JobQueue(2), JobQueue(2)]
    for _ in range(4):
        for queue in queues:
            queue.submit(0, job)
    for queue in queues:
        queue.join()
    assert most == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_name_the_image(workers):
    def job(number: int) -> int:
        if number == 1:
            raise DataError("bad value", "mend it")
        if number == 3:
            raise KeyError("x")
        return number

    queue: JobQueue[int] = JobQueue(workers)
    with pytest.raises(DataError, match="image 1: bad value") as error:
        for number in range(3):
            queue.submit(number, job, number)
        queue.join()
    assert error.value.mend == "mend it"
    assert queue.join() == [], "the others are dropped"
    with pytest.raises(KeyError) as other:
        queue.submit(3, job, 3)
        queue.join()
    assert other.value.__notes__ == ["while scoring image 3"]


def test_without_a_core_to_spare_jobs_run_in_the_caller(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "9")
    queue: JobQueue[int] = JobQueue(4)
    assert queue.submit(0, threading.get_ident) == [threading.get_ident()]
    assert not queue.threaded


def test_no_more_jobs_wait_than_two_per_thread_in_use(monkeypatch):
    monkeypatch.setattr(job_queue, "_cores", lambda: 2)
    gate = threading.Event()
    queue: JobQueue[bool] = JobQueue(64)
    caller = threading.Thread(target=lambda: [queue.submit(i, gate.wait, 20) for i in range(20)], daemon=True)
    caller.start()
    end = time.monotonic() + 10
    while len(queue._pending) < 5 and time.monotonic() < end:
        caller.join(0.01)
    caller.join(0.1)
    waiting = len(queue._pending)
    gate.set()
    caller.join(20)
    assert waiting == 5, "the fifth waits for the first of four"
    assert not caller.is_alive()


def test_threads_that_run_keep_their_share_of_the_cores(monkeypatch):
    queue: JobQueue[int] = JobQueue(2)
    queue.submit(0, int)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "9")  # no core to spare any more
    results: list[int] = []
    reader = threading.Thread(target=lambda: results.extend(queue.submit(1, int) + queue.join()), daemon=True)
    reader.start()
    reader.join(10)
    assert not reader.is_alive()
    assert 0 in results


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*")
def test_a_forked_child_has_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(job_queue, "_cores", lambda: 1)  # the one slot is taken when the process forks
    gate = threading.Event()
    queue: JobQueue[int] = JobQueue(1)

    def job(number: int) -> int:
        started.set()
        gate.wait(20)
        return number

    started = threading.Event()
    results = queue.submit(0, job, 0) + queue.submit(1, job, 1)
    assert started.wait(20)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        gate = threading.Event()
        gate.set()
        found = results + queue.submit(2, job, 2) + queue.join()
        queue.submit(3, job, 3)
        queue.discard()
        os._exit(0 if found == [0, 1, 2] and queue.join() == [] else 1)
    gate.set()
    assert os.waitpid(child, 0)[1] == 0
    assert queue.join() == [0, 1]


def test_copies_start_afresh_and_only_when_idle():
    gate = threading.Event()
    queue: JobQueue[bool] = JobQueue(1)
    queue.submit(0, gate.wait, 20)
    with pytest.raises(RuntimeError, match="join it first"):
        pickle.dumps(queue)
    gate.set()
    queue.join()
    copy = pickle.loads(pickle.dumps(queue))
    assert (copy.workers, copy.threaded) == (1, False)
