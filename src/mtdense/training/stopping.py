"""How a run is asked to stop (Ctrl-C, SIGTERM, SIGUSR1), so that all its ranks do so at one step."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

__all__ = ["STOPPED", "StopSignals", "StoppedRun", "requeue_job", "stop_run"]

STOPPED = 75
"""Exit code of a run that was asked to stop and saved (EX_TEMPFAIL: try again later); 143 and 137 are mere kills."""

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StoppedRun(SystemExit):
    """A run that was asked to stop by a signal, and whose state is saved.

    Args:
        code: Exit code of this process.
    """


class StopSignals:
    """Hears the signals that ask for an end, and tells when.

    A batch scheduler sends them to all processes of a run, or to one; and each hears them at another step. So the ranks
    agree: at every call of `heard` they sum what they have heard in the background, and the sum is read at the next
    one. The sum is made on the CPU: a GPU does not wait for it.
    """

    def __init__(self, message: str = "") -> None:
        self.message = message
        self._begun = self._speaks = False
        self._number = 0
        self._earlier: dict[int, Any] = {}
        self._agreed = 0
        self._group: Any = None
        self._sum: Any = None
        self._waiting: Any = None

    def begin(self, trainer: L.Trainer) -> None:
        """Takes the signals over from whoever has them; Lightning's own would save in the middle of a step."""
        if self._begun:
            return
        self._begun = True
        self._number = self._agreed = 0
        self._speaks = trainer.global_rank == 0
        if trainer.world_size > 1 and dist.is_available() and dist.is_initialized():
            self._group = dist.new_group(backend="gloo")
        if threading.current_thread() is threading.main_thread():
            self._earlier = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}

    def end(self, deaf: bool = False) -> None:
        """Gives the signals back.

        Args:
            deaf: This process of many is ending by an error: another request to end shall not keep it from saying so.
                Lightning's own handler would wait for the others.
        """
        for number, handler in self._earlier.items():
            signal.signal(number, signal.SIG_IGN if deaf and number != signal.SIGINT else handler)
        self._earlier = {}
        self._begun = False
        # What others have not answered any more does not matter now.
        self._sum = self._group = None

    def heard(self, at_once: bool = False) -> int:
        """The signal that the run was asked to stop by, or 0; the same on all ranks.

        Every rank must call it equally often.

        Args:
            at_once: Wait for what the other ranks hear now; otherwise it is known at the next call.
        """
        if self._group is None:
            return self._number
        self._read()
        self._sum = torch.tensor([self._number], dtype=torch.int64)
        self._waiting = dist.all_reduce(self._sum, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        if at_once:
            self._read()
        return self._agreed

    def _read(self) -> None:
        if self._sum is not None:
            self._waiting.wait()
            self._agreed = max(self._agreed, int(self._sum.item()))
            self._sum = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._number == signal.SIGINT:
            raise KeyboardInterrupt
        self._number = number
        if self._speaks:
            again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
            name = "" if number == signal.SIGINT else f"{signal.Signals(number).name}: "
            # The signal may have come in the middle of another print.
            with contextlib.suppress(RuntimeError):
                print(f"\n{name}Stopping after this step or validation, {self.message}{again}.", flush=True)


def stop_run(trainer: L.Trainer, number: int) -> None:
    """Ends a run whose state is saved.

    Args:
        trainer: Of the run.
        number: The signal that asked for it.

    Raises:
        KeyboardInterrupt: It was Ctrl-C.
        StoppedRun: It was another.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        name = signal.Signals(number).name
        print(f"Stopped by {name}, and saved; the same command with `--resume auto` goes on.", flush=True)
    environment = getattr(trainer._accelerator_connector, "cluster_environment", None)
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue and trainer.is_global_zero:
        asked = environment.requeue_signal or getattr(signal, "SIGUSR1", None)
        if number == asked:
            requeue_job()
    # Lightning kills a main process whose children end with an error, perhaps before it has ended itself.
    launched = trainer.local_rank > 0 and not getattr(environment, "creates_processes_externally", True)
    raise StoppedRun(0 if launched else STOPPED)


def requeue_job() -> bool:
    """Asks SLURM to queue this job again; says so if it cannot be asked."""
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID", "")
    if array is not None:
        job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    if not re.fullmatch(r"\d+(_\d+)?", job):
        print(f"Not requeued: the job's number is {job!r}.", file=sys.stderr)
        return False
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=False)
        problem = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    print(f"SLURM could not requeue job {job}: {problem}" if problem else f"Requeued SLURM job {job}.", file=sys.stderr)
    return not problem
