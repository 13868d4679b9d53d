"""The progress bar of training."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.callbacks import Callback, RichProgressBar

__all__ = ["ProgressBar"]

Shown = dict[str, int | str | float | dict[str, float]]


class ProgressBar(RichProgressBar):
    """Lightning's, but where steps end the training, it says "Epoch 6", not "Epoch 6/-2".

    And what stands beside it is read only as often as it is logged while a network trains: Lightning's reads it after
    every step, and so waits for the GPU to finish each.
    """

    _shown: Shown | None = None

    @classmethod
    def instead_of(cls, callback: Callback) -> Callback:
        """Lightning's as this one, with its options; others as they are.

        Configurations name Lightning's, so that they and those of earlier runs stay the same.
        """
        if type(callback) is not RichProgressBar:
            return callback
        bar = cls()
        vars(bar).update(vars(callback))
        return bar

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> Shown:
        """What stands beside the bar, as it was when last read."""
        often: int = max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]
        seldom = trainer.global_step <= 1 or trainer.global_step % often == 0
        if self._shown is None or seldom or not trainer.training:
            self._shown = super().get_metrics(trainer, pl_module)
        return self._shown

    def _get_train_description(self, current_epoch: int) -> str:
        if self.trainer.max_epochs != -1:
            return super()._get_train_description(current_epoch)
        # As wide as the other bar's, so that neither jumps.
        return f"Epoch {current_epoch}".ljust(len(self.validation_description))
