"""Checkpoint files that are whole or not there, whenever the process dies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

__all__ = ["AtomicCheckpointIO"]

_UNFINISHED = ".unfinished"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, on the same disk, and moves the finished file over it.

    Lightning's own goes through the folder for temporary files: where that is another disk, its last step is a copy,
    and a process killed in it leaves half a checkpoint in the place of the good one.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Writes the checkpoint; an unfinished file of an earlier process that was killed is overwritten.

        Args:
            checkpoint: What to save.
            path: Where to; folders are made.
            storage_options: Not supported.

        Raises:
            TypeError: `storage_options` were given.
            OSError: The disk is full or the folder cannot be written; what was at `path` is as it was.
        """
        if storage_options is not None:
            raise TypeError("storage_options are not supported")
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(target.name + _UNFINISHED)
        try:
            with unfinished.open("wb") as stream:
                torch.save(checkpoint, stream)
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.replace(target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
