"""What the program says where training breaks off for a reason that lies outside of it."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from mtdense.cli.main import LOST_RANK
from mtdense.core.errors import DataError, LostRankError, MTDenseError
from mtdense.data.under_way import images_of_dead_workers
from mtdense.training.distributed import world_size
from mtdense.training.stopping import STOPPED, StoppedRun

__all__ = ["EndWithTheOthers", "explained", "explanation", "memory_advice"]

# What gloo and NCCL say where the other side has gone.
_LOST = re.compile(
    r"connection (closed|reset|refused|was likely closed)|broken pipe|timed out waiting|gloo.*(read|write)error"
    r"|socket timeout|watchdog|remote process exited|peer .*(closed|exited)|nccl.*(remote error|aborted)",
    re.IGNORECASE | re.DOTALL,
)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns errors of libraries into ours where we know more than they, and gives advice where memory ran out.

    Raises:
        StoppedRun: SIGTERM came before training began, or while scoring; there was nothing to save.
    """
    try:
        yield
    except SIGTERMException as error:
        print("mtdense: stopped by SIGTERM; nothing of this session was saved, for nothing was trained.")
        raise StoppedRun(STOPPED) from error
    except MTDenseError:
        raise
    except Exception as error:
        told = explanation(error)
        if told is not None:
            raise told from error
        advice = memory_advice(error)
        if advice is not None:
            error.add_note(advice)
        raise


class EndWithTheOthers(Callback):
    """Says that another process has died, and ends this one at once; the last callback of the program's own.

    Ending in order would wait for messages of the dead, and whoever launched the processes kills this one meanwhile,
    perhaps before it has said anything.
    """

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Ends the process if the error is of that kind."""
        told = explanation(exception)
        if isinstance(told, LostRankError):
            print(f"mtdense: error: {told}", file=sys.stderr)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(LOST_RANK)


def explanation(error: BaseException) -> MTDenseError | None:
    """Our error in the place of a library's, or None.

    Args:
        error: What was raised while training or scoring.
    """
    text = str(error)
    images = images_of_dead_workers(text)
    if images is not None:
        where = f" while it read {', '.join(repr(image) for image in images)}" if images else ""
        return DataError(
            f"a data worker died{where}: {text.strip().splitlines()[0]}",
            "look at these images (`mtdense data check`). Killed means that memory ran out: lower `data.num_workers`, "
            "or give the container more shared memory (`--shm-size`). `--data.num_workers 0` shows the error itself.",
        )
    if world_size() > 1 and isinstance(error, RuntimeError) and _LOST.search(text):
        return LostRankError(
            f"another of the {world_size()} processes of this run has died or cannot be reached "
            f"(this is process {torch.distributed.get_rank()}): {text.strip().splitlines()[0]}",
            "look for its own message (above, or in its node's log); then run the same command with `--resume auto`.",
        )
    return None


def memory_advice(error: BaseException) -> str | None:
    """What to do about an error of too little memory; None: it is another."""
    text = str(error).lower()
    ran_out = isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )
    if not ran_out:
        return None
    return (
        "mtdense: memory ran out.\n"
        "  Mend: halve `data.batch_size` and double `trainer.accumulate_grad_batches` (partial labels are then counted "
        "by the smaller batch, see docs/distributed.md); or `--trainer.precision bf16-mixed`; or a smaller "
        "`data.size`. In validation and test lower `data.eval_batch_size`. `mtdense profile` says what a network needs."
    )
