"""What a data worker does when it begins, and which signals it obeys."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import torch

from mtdense.data.memory import keep_freed_memory

__all__ = ["worker_init"]

_LOOK_SECONDS = 5.0


def worker_init(worker_id: int) -> None:
    """Keeps each worker process to one thread: parallel work is the loader's business; so is the end of workers.

    A terminal sends Ctrl-C to all processes, and torchrun, SLURM and systemd their SIGTERM or SIGUSR1: the main process
    must finish its step or validation with its workers' help. SIGTERM is obeyed only where the main process sends it,
    as torch does at the end to a worker that hangs. A worker whose main process is gone ends by itself. Behind a fork
    server (not Linux's default up to Python 3.13), threads that libraries had started before do not block SIGTERM, and
    anybody's ends the worker.
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
