"""How data workers begin, what they do then, and which signals they obey."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading

import torch

from mtdense.data.memory import keep_freed_memory

__all__ = ["start_method", "worker_init"]

_LOOK_SECONDS = 5.0


def start_method() -> str | None:
    """How `worker_init` needs workers to begin: by fork on Linux; None, where `multiprocessing` decides.

    Fork is Linux's own choice up to Python 3.13. Behind a fork server, the later choice, or in a spawned interpreter,
    threads that libraries start on import, before `worker_init`, would take anybody's SIGTERM, and end the worker. Who
    has set another method than Python's by `multiprocessing.set_start_method` keeps it, and such an end of workers.
    """
    if sys.platform != "linux":
        return None
    # The first of all is Python's own, to which the first use of `multiprocessing` sets it, too.
    usual = (None, "fork", multiprocessing.get_all_start_methods()[0])
    return "fork" if multiprocessing.get_start_method(allow_none=True) in usual else None


def worker_init(worker_id: int) -> None:
    """Keeps each worker process to one thread: parallel work is the loader's business; so is the end of workers.

    A terminal sends Ctrl-C to all processes, and torchrun, SLURM and systemd their SIGTERM or SIGUSR1: the main process
    must finish its step or validation with its workers' help. SIGTERM is obeyed only where the main process sends it,
    as torch does at the end to a worker that hangs, and where the worker began as `start_method` says. A worker whose
    main process is gone ends by itself.
    """
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and hasattr(signal, "sigwaitinfo"):  # Linux; elsewhere nobody tells who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_if_told_by, args=(parent.pid,), daemon=True, name="sigterm").start()
    import cv2  # not before: its threads are to block SIGTERM, too

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    keep_freed_memory()


def _end_if_told_by(parent: int | None) -> None:
    """Ends the worker also where its main process is gone: torch looks for it between samples only."""
    above = os.getppid()
    while os.getppid() == above:
        told = signal.sigtimedwait({signal.SIGTERM}, _LOOK_SECONDS)
        if told is not None and told.si_pid == parent:
            break
    os._exit(0)
