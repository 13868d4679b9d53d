"""Programs that need not start: children of a process that has imported everything."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.reduction import DupFd
from typing import IO, Any

__all__ = ["WarmStart"]

_MODULES = ["mtdense.cli.main", "mtdense.cli.lightning_cli"]


class WarmStart:
    """Starts `python -m mtdense ...` in children of one process that has imported it; for many short runs on the CPU.

    Every child is a process of its own: it can be interrupted, killed or fail like a program, and writes to its log.

    Args:
        environment: Of the process, such as its number of threads; it is started by the first program.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.context: ForkServerContext = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(_MODULES)

    @staticmethod
    def possible() -> bool:
        """Whether this system can."""
        return "forkserver" in multiprocessing.get_all_start_methods()

    def __call__(
        self, command: Sequence[str], environment: Mapping[str, str], log: IO[bytes], lock: int | None
    ) -> WarmProcess:
        """Starts one; the same as `subprocess.Popen` of the command in that environment."""
        words = list(command)
        if words[:3] != [sys.executable, "-m", "mtdense"]:
            raise ValueError(f"not a command of mtdense: {words[:3]}")
        log.write(f"$ {' '.join(words)}\n".encode())
        log.flush()
        with _environment(self.environment):
            multiprocessing.forkserver.ensure_running()
        files = (_Sent(log.fileno()), None if lock is None else _Sent(lock))
        process = self.context.Process(target=_run, args=(words[3:], dict(environment), *files))
        process.start()
        return WarmProcess(process)


class WarmProcess:
    """What `WarmStart` has started, with what the runner asks of a `subprocess.Popen`.

    Args:
        process: The child.
    """

    def __init__(self, process: ForkServerProcess) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        """Its number, which is also that of its group."""
        return int(self.process.pid or 0)

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end.

        Raises:
            subprocess.TimeoutExpired: It has not ended in that time.
        """
        self.process.join(timeout)
        code = self.process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("mtdense", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Sends it a signal."""
        if self.poll() is None:
            os.kill(self.pid, number)


class _Sent:
    """A file that the child is to hold: it is handed over when the child's arguments are."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __getstate__(self) -> dict[str, Any]:
        return {"sent": DupFd(self.number)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.number = state["sent"].detach()


def _run(arguments: list[str], environment: dict[str, str], log: _Sent, lock: _Sent | None) -> None:
    """The child: a session of its own, its output in the log, and then the program."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    for stream in (1, 2):
        os.dup2(log.number, stream)
    import torch

    threads = environment.get("OMP_NUM_THREADS", "")
    if threads.isdigit():
        torch.set_num_threads(int(threads))
    sys.argv = ["mtdense", *arguments]
    runpy.run_module("mtdense", run_name="__main__")


@contextlib.contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
