"""Lightning callbacks that every training run has."""

from __future__ import annotations

from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback

__all__ = ["SaveLast"]


class SaveLast(Callback):
    """Saves `last.ckpt` when training ends, so that it holds the final step wherever the last validation was.

    A run that ends with an error keeps the checkpoint of its last good moment.

    Args:
        folder: Where checkpoints go.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "last.ckpt"

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves on all ranks, as sharded strategies need."""
        if not getattr(trainer, "fast_dev_run", False):
            trainer.save_checkpoint(self.path, weights_only=False)
