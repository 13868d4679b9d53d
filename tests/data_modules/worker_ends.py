"""A program that ends in five ways while it has a data worker; prints `WAY PID-OF-WORKER`, and exit codes at last.

The worker is asleep at the end, save in the way `idle`: for a second, and in the ways `stuck` and `orphan` for good.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from torch.utils.data import DataLoader, Dataset

from data_modules.workers import worker_init

WAYS = ("idle", "error", "killed", "stuck", "orphan")


class Sleepy(Dataset[int]):
    """Gives the worker's process number, then sleeps."""

    def __init__(self, way: str) -> None:
        self.seconds = {"idle": 0.0, "stuck": 1e6, "orphan": 1e6}.get(way, 1.0)

    def __getitem__(self, index: int) -> int:
        time.sleep(self.seconds if index else 0)
        return os.getpid()

    def __len__(self) -> int:
        return 8


def end(way: str) -> None:
    loader = DataLoader(Sleepy(way), num_workers=1, persistent_workers=True, worker_init_fn=worker_init)
    batches = iter(loader)
    print(way, int(next(batches)), flush=True)
    if way == "error":
        raise ValueError("an error of the main process")
    if way in ("killed", "orphan"):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    children = []
    for one in WAYS:
        children.append(os.fork())
        if children[-1] == 0:
            end(one)
            sys.exit()
    print("codes", *[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
