"""Callbacks that make one training batch or a weight NaN."""

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


class PoisonWeights(L.Callback):
    """Makes a weight NaN at the end of a step, as an optimiser does on a GPU whose gradients are looked at later.

    Args:
        step: Counted from 1.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if trainer.global_step == self.step:
            next(pl_module.parameters()).data.fill_(float("nan"))
