"""Runs the programs of a comparison, several at a time, and ends them cleanly."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from mtdense.core.errors import ConfigError

__all__ = ["Job", "cores", "pinned", "run_jobs", "sole_use"]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_GRACE_SECONDS = 120.0
"""A training that is stopped ends its step or validation and saves; then it is killed."""


@dataclass(frozen=True)
class Job:
    """Programs to run one after another.

    Args:
        id: For messages.
        steps: (what it is, its command, made when its turn has come), such as ("fit", ...).
        log: Where their output goes.
        done: Called after each step that succeeded, with what it is.
    """

    id: str
    steps: Sequence[tuple[str, Callable[[], Sequence[str]]]]
    log: Path
    done: Callable[[str], None] = lambda what: None


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pinned(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    """An environment in which numerical libraries take that many threads."""
    return {**environment, **dict.fromkeys(_THREADS, str(threads))}


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[int | None]:
    """Keeps other comparisons out of the folder; gives the file that children must inherit.

    The lock belongs to the open file, so it lasts until the last process that inherited it has ended: a training that
    outlived a killed comparison is not joined by a second one in its folder.

    Raises:
        ConfigError: Another process works there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows
        yield None
        return
    with (folder / "lock").open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"a comparison, or a run that it left behind, is at work in {folder}", "wait for it, or end it."
            ) from error
        yield stream.fileno()


def run_jobs(
    jobs: Iterable[Job],
    count: int,
    environment: Mapping[str, str],
    say: Callable[[str], None],
    lock: int | None = None,
) -> list[str]:
    """Runs jobs, `count` at a time. A job whose program fails is reported and left; the others go on.

    On Ctrl-C or SIGTERM the running programs are interrupted, as a terminal does it, and waited for; a second Ctrl-C
    kills them.

    Args:
        jobs: Begun in their order.
        count: Number of jobs at a time.
        environment: Of the programs.
        say: Takes a line for the user.
        lock: File that the programs inherit; see `sole_use`.

    Returns:
        Ids of the jobs that failed.

    Raises:
        KeyboardInterrupt: After the programs have ended.
    """
    waiting, running, failed = list(jobs), list[_Running](), list[str]()
    with _interruptible():
        try:
            while waiting or running:
                while waiting and len(running) < count:
                    running.append(_Running(waiting.pop(0), environment, lock))
                    running[-1].begin()
                for each in list(running):
                    if not each.poll(say):
                        running.remove(each)
                        failed += [each.job.id] if each.failed else []
                time.sleep(0.05)
        except KeyboardInterrupt:
            say("Interrupted: waiting for the runs to save; Ctrl-C again kills them ...")
            try:
                _stop(running, signal.SIGINT, _GRACE_SECONDS)
            finally:
                _stop(running, signal.SIGKILL, 10.0)
            raise
        except BaseException:
            _stop(running, signal.SIGKILL, 10.0)
            raise
    return failed


class _Running:
    """A job that was begun."""

    def __init__(self, job: Job, environment: Mapping[str, str], lock: int | None) -> None:
        self.job = job
        self.environment = dict(environment)
        self.lock = lock
        self.failed = False
        self.next = 0
        self.process: subprocess.Popen[bytes] | None = None

    def poll(self, say: Callable[[str], None]) -> bool:
        """Whether it goes on; begins the next step when one has ended."""
        assert self.process is not None
        code = self.process.poll()
        if code is None:
            return True
        what = self.job.steps[self.next][0]
        seconds = time.perf_counter() - self.clock
        if code != 0:
            self.failed = True
            ended = f"exit code {code}" if code > 0 else f"signal {-code}"
            say(f"{self.job.id}: {what} FAILED ({ended}); the end of {self.job.log}:\n{_tail(self.job.log)}")
            return False
        say(f"{self.job.id}: {what}, {seconds:.0f} s")
        self.job.done(what)
        self.next += 1
        if self.next == len(self.job.steps):
            return False
        self.begin()
        return True

    def begin(self) -> None:
        """Starts the next step."""
        command = list(self.job.steps[self.next][1]())
        self.clock = time.perf_counter()
        self.job.log.parent.mkdir(parents=True, exist_ok=True)
        with self.job.log.open("ab") as log:
            self.process = _start(command, self.environment, log, self.lock)


def _start(
    command: Sequence[str], environment: Mapping[str, str], log: IO[bytes], lock: int | None
) -> subprocess.Popen[bytes]:
    log.write(f"$ {' '.join(command)}\n".encode())
    log.flush()
    # A session of its own: the terminal's Ctrl-C comes to us, and we pass it on once.
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        start_new_session=True,
        pass_fds=() if lock is None else (lock,),
    )


def _stop(running: Sequence[_Running], number: signal.Signals, seconds: float) -> None:
    """Sends a signal to what still runs, and waits. A kill goes to the program's workers as well."""
    processes = [each.process for each in running if each.process is not None and each.process.poll() is None]
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
    end = time.monotonic() + seconds
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, end - time.monotonic()))


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM as Ctrl-C, here and in the programs; only the main thread may say so.

    A shell lets what it starts in the background ignore SIGINT, and a program hands that on. A signal that has a
    handler here is given to the programs with its default action.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, indented."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 8000))
        text = stream.read().decode(errors="replace")
    kept = [line for line in text.splitlines() if line.strip()][-lines:]
    return "\n".join(f"    {line}" for line in kept)
