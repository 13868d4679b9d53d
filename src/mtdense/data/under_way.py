"""Which image each data worker is reading: the only trace that a worker leaves that is killed or crashes."""

from __future__ import annotations

import multiprocessing
import os
import re
import weakref
from collections.abc import Sequence

from torch.utils.data import get_worker_info

__all__ = ["UnderWay", "images_of_dead_workers"]

_KNOWN: weakref.WeakSet[UnderWay] = weakref.WeakSet()


class UnderWay:
    """A table in memory that the main process shares with its data workers: the process and its image, by worker.

    Args:
        ids: Ids of the images.
        workers: Number of workers.
    """

    def __init__(self, ids: Sequence[str], workers: int) -> None:
        self.ids = ids
        # Each worker writes its own two numbers only: no lock.
        self.table = multiprocessing.RawArray("q", [0, -1] * workers)
        _KNOWN.add(self)

    def begin(self, index: int) -> None:
        """Notes, in a worker, that it begins to read an image."""
        worker = get_worker_info()
        if worker is not None and 2 * worker.id < len(self.table):
            self.table[2 * worker.id : 2 * worker.id + 2] = [os.getpid(), index]

    def image_of(self, process: int) -> str | None:
        """The image that a worker began last; None: no worker of this table, or it has not begun."""
        for place in range(0, len(self.table), 2):
            if self.table[place] == process and self.table[place + 1] >= 0:
                return str(self.ids[self.table[place + 1]])
        return None


def images_of_dead_workers(message: str) -> list[str] | None:
    """The images that dead workers were reading; None: this is no error of a dead worker.

    Args:
        message: What `DataLoader` says of it, which names processes.
    """
    found = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)", message)
    if found is None:
        return None
    processes = [int(number) for number in re.findall(r"\d+", found[1])]
    images = [known.image_of(process) for process in processes for known in list(_KNOWN)]
    return [image for image in images if image is not None]
