"""A callback that makes one training batch NaN."""

from __future__ import annotations

from typing import Any

import lightning as L


class PoisonStep(L.Callback):
    """Fills the images of one step with NaN.

    Args:
        step: Counted from 1.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, index: int) -> None:
        if trainer.global_step + 1 == self.step:
            batch["image"].fill_(float("nan"))
