"""Checkpoint files that are whole or not there, whenever the process dies."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from mtdense.core.errors import CheckpointError
from mtdense.training.packed_weights import SUFFIX, read_packed

__all__ = ["AtomicCheckpointIO", "check_file", "remove_unfinished"]

_UNFINISHED = ".unfinished"
_DAMAGED = "use another checkpoint of the run; `--resume auto` finds the newest good one."


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
            CheckpointError: The disk is full or the folder cannot be written; what was at `path` is as it was.
        """
        if storage_options is not None:
            raise TypeError("storage_options are not supported")
        target = Path(path)
        unfinished = target.with_name(target.name + _UNFINISHED)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as stream:
                torch.save(checkpoint, stream)
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.replace(target)
            _sync_folder(target.parent)
        except (OSError, RuntimeError) as error:  # the latter is how torch's writer reports the former
            unfinished.unlink(missing_ok=True)
            raise CheckpointError(
                f"{target} could not be saved: {_reason(error)} ({_free(target.parent)})",
                f"{'the earlier file is there as it was; ' if target.is_file() else ''}make room, then go on with "
                "`--resume auto`. A run needs room for three checkpoints.",
            ) from error
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise

    def load_checkpoint(self, path: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Reads a checkpoint after its checksums were compared, or packed weights in the form of one.

        Args:
            path: The file.
            *arguments: Of Lightning's own.
            **options: Of Lightning's own.

        Raises:
            CheckpointError: The file is damaged.
        """
        if Path(path).suffix == SUFFIX:
            return read_packed(Path(path))
        check_file(path)
        content: dict[str, Any] = super().load_checkpoint(Path(path), *arguments, **options)
        return content


def check_file(path: str | os.PathLike[str]) -> None:
    """Compares a checkpoint with the checksums in it: torch writes one (CRC-32) for each tensor, and reads none.

    Args:
        path: A file that `torch.save` wrote.

    Raises:
        CheckpointError: It is cut off, or bits of it have changed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                raise zipfile.BadZipFile("holds packed parts, which torch does not write")
            bad = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint: {error}", _DAMAGED) from error
    if bad is not None:
        raise CheckpointError(f"{path} is damaged: the checksum of its part {bad} is wrong", _DAMAGED)


def remove_unfinished(folder: Path) -> None:
    """Removes what killed processes left of their saves. Nobody else may be saving there."""
    for path in folder.glob(f"*{_UNFINISHED}"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes sure that a power failure does not take the new name back; where folders cannot be opened, it may."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: BaseException) -> str:
    """The system's reason, which torch's writer keeps in the context of its own complaint."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return str(cause or error).splitlines()[0]


def _free(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:.0f} MiB are free there"
    except OSError as error:
        return str(error)
