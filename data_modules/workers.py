"""What a data worker does when it begins, and which signals it obeys."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import torch

from mtdense.data.memory import keep_freed_memory

__all__ = ["worker_init"]


def worker_init(worker_id: int) -> None:
    """Keeps each worker process to one thread: parallel work is the loader's business; so is the end of workers.

    A terminal sends Ctrl-C to all processes, and torchrun, SLURM and systemd their SIGTERM or SIGUSR1: the main process
    must finish its step or validation with its workers' help. SIGTERM is obeyed only where the main process sends it,
    as torch does at the end to a worker that hangs. A worker whose main process is gone ends by itself.
    """
    import cv2

    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and hasattr(signal, "sigwaitinfo"):  # Linux; elsewhere nobody tells who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_if_told_by, args=(parent.pid,), daemon=True, name="sigterm").start()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    keep_freed_memory()


def _end_if_told_by(parent: int | None) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
