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
from typing import IO, Protocol

from mtdense.core.errors import ConfigError, MTDenseError

__all__ = ["GRACE_SECONDS", "LOCKED", "Job", "Program", "Start", "cores", "pinned", "run_jobs", "sole_use", "tail"]

LOCKED = "MTDENSE_RUN_LOCKED"
"""Environment variable of programs that hold the lock of their run already, because they inherited it."""

GRACE_SECONDS = 120.0
"""A training that is stopped ends its step or validation and saves; after that time it is killed."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_KILL_SECONDS = 10.0


@dataclass(frozen=True)
class Job:
    """Programs to run one after another.

    Args:
        id: For messages.
        steps: (what it is, its command, made when its turn has come), such as ("fit", ...).
        log: Where their output goes.
        done: Called after each step that succeeded, with what it is. An `MTDenseError` or `OSError` of it, or of a
            command's making, is a failure of this job alone.
        lost: Called after a step that failed, with what it is and its exit code; a text says that this is a result
            and no failure, and names it. The job's other steps are left out either way.
        lock: File that its programs inherit; None: that of all jobs. See `sole_use`.
        ended: Called once, when none of its programs runs or will be started any more; gives the lock back.
    """

    id: str
    steps: Sequence[tuple[str, Callable[[], Sequence[str]]]]
    log: Path
    done: Callable[[str], None] = lambda what: None
    lost: Callable[[str, int], str | None] = lambda what, code: None
    lock: int | None = None
    ended: Callable[[], None] = lambda: None


class Program(Protocol):
    """A running program, as `subprocess.Popen` has it."""

    @property
    def pid(self) -> int:
        """Its number, which is also that of its process group."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end; raises `subprocess.TimeoutExpired`."""

    def send_signal(self, sig: int, /) -> None:
        """Sends it a signal, if it still runs."""


Start = Callable[[Sequence[str], Mapping[str, str], IO[bytes], int | None], Program]
"""Starts a command: (command, environment, log, file that it inherits)."""


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
    grace: float = GRACE_SECONDS,
    start: Start | None = None,
) -> list[str]:
    """Runs jobs, `count` at a time. A job that fails is reported and left; the others go on.

    On Ctrl-C or SIGTERM, and on an error that is no job's own, the running programs are interrupted, as a terminal does
    it, and waited for; a second signal kills them.

    Args:
        jobs: Begun in their order; each is asked for when its turn has come.
        count: Number of jobs at a time.
        environment: Of the programs.
        say: Takes a line for the user.
        lock: File that the programs inherit; see `sole_use`.
        grace: Seconds that interrupted programs have to save and end; then they are killed.
        start: Starts a program; None: as any other.

    Returns:
        Ids of the jobs that failed.

    Raises:
        KeyboardInterrupt: After the programs have ended.
    """
    waiting, more, running, failed = iter(jobs), True, list[_Running](), list[str]()
    with _interruptible() as signals:
        try:
            while more or running:
                while more and len(running) < count:
                    job = next(waiting, None)
                    more = job is not None
                    if job is not None:
                        running.append(_Running(job, environment, lock, signals, start or _start))
                for each in list(running):
                    signals.look()
                    if not each.poll(say):
                        running.remove(each)
                        each.job.ended()
                        failed += [each.job.id] if each.failed else []
                time.sleep(0.05)
        except BaseException as error:
            if signals.count < 2:
                signals.count = 1  # the next one kills, also where the first stop was an error's
                _interrupt(running, error, say, grace)
            raise
        finally:
            signals.held = True  # nothing may interrupt the killing
            _stop(running, signal.SIGKILL, _KILL_SECONDS)
            for each in running:
                each.job.ended()
    return failed


class _Signals:
    """Handler of SIGINT and SIGTERM: the first one is noticed where `look` is called, a second one raises at once.

    An error that a handler raised just anywhere could hide a program that had been started that moment.

    Args:
        count: Signals so far.
        held: While true, a second signal raises nothing either.
    """

    def __init__(self) -> None:
        self.count = 0
        self.held = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count == 2 and not self.held:
            raise KeyboardInterrupt

    def look(self) -> None:
        """Raises KeyboardInterrupt if there was a signal."""
        if self.count:
            raise KeyboardInterrupt


class _Running:
    """A job whose turn has come."""

    def __init__(
        self, job: Job, environment: Mapping[str, str], lock: int | None, signals: _Signals, start: Start
    ) -> None:
        self.job = job
        self.lock = lock if job.lock is None else job.lock
        self.environment = {**environment, **({} if self.lock is None else {LOCKED: "1"})}
        self.start = start
        self.signals = signals
        self.failed = False
        self.next = 0
        self.process: Program | None = None

    def poll(self, say: Callable[[str], None]) -> bool:
        """Whether it goes on; begins the first step, and the next one when one has ended."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return True
            if not self._ended(code, say) or self.next == len(self.job.steps):
                return False
        return self._try(self.begin, f"{self.job.steps[self.next][0]} could not be started", say)

    def begin(self) -> None:
        """Starts the next step."""
        self.signals.look()
        command = list(self.job.steps[self.next][1]())
        self.clock = time.perf_counter()
        self.job.log.parent.mkdir(parents=True, exist_ok=True)
        with self.job.log.open("ab") as log:
            self.signals.held = True
            try:
                self.process = self.start(command, self.environment, log, self.lock)
            finally:
                self.signals.held = False

    def _ended(self, code: int, say: Callable[[str], None]) -> bool:
        what = self.job.steps[self.next][0]
        told = f"{self.job.id}: {what}, {time.perf_counter() - self.clock:.0f} s"
        if code == 0:
            say(told)
            self.next += 1
            return self._try(lambda: self.job.done(what), f"{what} has ended, but", say)
        lost: list[str | None] = []
        if not self._try(lambda: lost.append(self.job.lost(what, code)), f"{what} FAILED, and", say):
            return False
        if lost[0] is not None:
            say(f"{told}: {lost[0]}")
            return False
        self.failed = True
        ended = f"exit code {code}" if code > 0 else f"signal {-code}"
        say(f"{self.job.id}: {what} FAILED ({ended}); the end of {self.job.log}:\n{tail(self.job.log)}")
        return False

    def _try(self, action: Callable[[], None], told: str, say: Callable[[str], None]) -> bool:
        """Does what may fail for this job alone, such as by a full disk or a damaged file."""
        try:
            action()
        except (MTDenseError, OSError) as error:
            self.failed = True
            _stop([self], signal.SIGKILL, _KILL_SECONDS)
            say(f"{self.job.id}: {told}: {error}")
            return False
        return True


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


def _interrupt(running: Sequence[_Running], error: BaseException, say: Callable[[str], None], grace: float) -> None:
    """Asks what runs to save and end, and waits so long."""
    if not (names := _alive(running)):
        return
    told = "Interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
    with contextlib.suppress(OSError):  # where nobody reads our output
        say(f"{told}: waiting up to {grace:g} s for {', '.join(names)} to save; Ctrl-C (again) kills ...")
    _stop(running, signal.SIGINT, grace)
    if names := _alive(running):
        with contextlib.suppress(OSError):
            say(f"Killed, for still at work after {grace:g} s (`--grace`): {', '.join(names)}.")


def _alive(running: Sequence[_Running]) -> list[str]:
    return [each.job.id for each in running if each.process is not None and each.process.poll() is None]


@contextlib.contextmanager
def _interruptible() -> Iterator[_Signals]:
    """SIGTERM as Ctrl-C, here and in the programs; only the main thread may say so.

    A shell lets what it starts in the background ignore SIGINT, and a program hands that on. A signal that has a
    handler here is given to the programs with its default action.
    """
    signals = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {number: signal.signal(number, signals) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    signals.look()  # it may have come after the last look


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, indented."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 8000))
            text = stream.read().decode(errors="replace")
    except OSError as error:
        return f"    {error}"
    kept = [line for line in text.splitlines() if line.strip()][-lines:]
    return "\n".join(f"    {line}" for line in kept)
