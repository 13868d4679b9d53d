"""Callbacks that strike one rank in one step."""

from __future__ import annotations

import os
import signal
from typing import Any

import lightning as L


class StrikeRank(L.Callback):
    """Sends a signal to one rank when a step begins, and says when.

    Args:
        rank: Which.
        number: The signal's number.
        step: Counted from 0.
    """

    def __init__(self, rank: int, number: int, step: int = 2) -> None:
        self.rank = rank
        self.number = number
        self.step = step

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, index: int) -> None:
        if trainer.global_rank == self.rank and trainer.global_step == self.step:
            print(f"rank {self.rank} gets signal {self.number}", flush=True)
            os.kill(os.getpid(), signal.Signals(self.number))
