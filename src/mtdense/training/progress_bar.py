"""The progress bar of training."""

from __future__ import annotations

from lightning.pytorch.callbacks import Callback, RichProgressBar

__all__ = ["ProgressBar"]


class ProgressBar(RichProgressBar):
    """Lightning's, without the number of epochs where steps end the training: "Epoch 6", not "Epoch 6/-2"."""

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

    def _get_train_description(self, current_epoch: int) -> str:
        if self.trainer.max_epochs != -1:
            return super()._get_train_description(current_epoch)
        # As wide as the other bar's, so that neither jumps.
        return f"Epoch {current_epoch}".ljust(len(self.validation_description))
