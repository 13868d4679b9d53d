"""Lightning callbacks that every training run has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from mtdense.core.errors import ConfigError

__all__ = ["SaveLast"]


class SaveLast(Callback):
    """Keeps `last.ckpt`: every so many steps, when training ends, and when it is interrupted from the keyboard.

    A run that ends with an error keeps the checkpoint of its last good moment: the weights may be what is wrong.

    Args:
        folder: Where checkpoints go.
        every: Optimiser steps between saves.

    Raises:
        ConfigError: `every` is not positive.
    """

    def __init__(self, folder: str | Path, every: int = 200) -> None:
        if every < 1:
            raise ConfigError(f"last.ckpt every {every} steps", "give a number of 1 or more in `save_every`.")
        self.path = Path(folder) / "last.ckpt"
        self.every = every
        self._saved = -1

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves on schedule; with accumulated gradients only once a step."""
        if trainer.global_step % self.every == 0:
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the final step, wherever the last validation was."""
        self._save(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Saves on Ctrl-C in a single process; the ranks of a distributed run do not stop at one step."""
        if isinstance(exception, KeyboardInterrupt) and trainer.world_size == 1 and trainer.global_step > 0:
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        if getattr(trainer, "fast_dev_run", False) or trainer.global_step == self._saved:
            return
        self._saved = trainer.global_step
        trainer.save_checkpoint(self.path, weights_only=False)
