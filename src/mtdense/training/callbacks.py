"""Lightning callbacks that every training run has."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.utilities import rank_zero_warn

from mtdense.core.errors import ConfigError
from mtdense.training.checkpoint_io import remove_unfinished
from mtdense.training.distributed import gather_over_ranks
from mtdense.training.stopping import StopSignals, stop_run

__all__ = ["AMID_STEP", "RandomState", "SaveLast"]

AMID_STEP = "mtdense_amid_step"
"""Key of a checkpoint (of the best weights, say) that was saved between the batches of an accumulated step."""

_RANDOM_STATE = "mtdense_random_state"
"""Key of the generators' states in a checkpoint."""


class SaveLast(Checkpoint):
    """Keeps `last.ckpt`: every so many steps, after each validation, when training ends, and when it is interrupted.

    It is only written at moments from which a run goes on exactly: after a step that no validation follows, or after
    the validation. Ctrl-C, SIGTERM and SIGUSR1 are therefore heard at the end of the step or validation, by all ranks
    at the same one; a second Ctrl-C stops at once. As a `Checkpoint` it comes after all other callbacks, those that
    keep the best weights included, and saves what they did.

    A run that ends with an error keeps the checkpoint of its last good moment: the weights may be what is wrong.
    `DenseModule` refuses to have weights saved that are not finite.

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
        self._signals = StopSignals(f"and saving {self.path}")

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Removes what a killed process left of a save."""
        if stage == "fit" and trainer.is_global_zero:
            remove_unfinished(self.path.parent)

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes over the signals that ask for an end; they are heard after the first step."""
        self._signals.begin(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """As before the sanity check, where there was none."""
        self._signals.begin(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves on schedule; with accumulated gradients only once a step."""
        # The last step, too: then Lightning counts its epoch as done, and a larger `max_steps` would leave images out.
        ends = trainer.global_step == trainer.max_steps
        due = (ends or trainer.global_step % self.every == 0) and trainer.global_step != self._saved
        asked = self._signals.heard()
        if (due or asked) and not _gradients_pending(trainer) and not _validation_follows(trainer):
            self._save(trainer)
            if asked:
                stop_run(trainer, asked)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves, with what the validation changed."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking and not _gradients_pending(trainer):
            self._saved = -1
            self._save(trainer)
            asked = self._signals.heard(at_once=True)
            if asked:
                stop_run(trainer, asked)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the final step, wherever the last validation was."""
        self._save(trainer)
        self._signals.end()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Saves nothing: in the middle of a step, weights and counters need not fit together."""
        self._signals.end(deaf=trainer.world_size > 1)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Marks what others save while gradients wait for the next batches': no run goes on exactly from there."""
        if _gradients_pending(trainer):
            checkpoint[AMID_STEP] = True

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Says where a run that is continued by hand goes on from such a one."""
        if checkpoint.get(AMID_STEP):
            rank_zero_warn(
                f"The checkpoint was saved between the batches of a step (accumulate_grad_batches), after step "
                f"{checkpoint['global_step']}: gradients of the first are lost. `--resume auto` goes on exactly."
            )

    def _save(self, trainer: L.Trainer) -> None:
        if getattr(trainer, "fast_dev_run", False) or trainer.global_step == self._saved:
            return
        self._saved = trainer.global_step
        trainer.save_checkpoint(self.path, weights_only=False)


def _gradients_pending(trainer: L.Trainer) -> bool:
    """Whether gradients of this batch wait for the next batches' (`accumulate_grad_batches`); nobody saves these."""
    return trainer.fit_loop._should_accumulate()


def _validation_follows(trainer: L.Trainer) -> bool:
    """Whether a validation comes right after this step; a run resumed from before it would leave it out."""
    loop = trainer.fit_loop
    if loop._data_fetcher is None or not loop.epoch_loop._should_check_val_fx(loop._data_fetcher):
        return False
    # Data without a validation split give no batches, and then nothing follows. Not built yet: it may.
    validation = loop.epoch_loop.val_loop
    return validation._combined_loader is None or sum(validation.max_batches) > 0


class RandomState(Callback):
    """Keeps the state of the global random generators in checkpoints, of every rank, and sets it when a run goes on.

    Samples do not depend on these; dropout and its like do.
    """

    def __init__(self) -> None:
        self._restored: list[dict[str, Any]] | None = None

    # Not `state_dict`: Lightning would miss this callback in every test of the checkpoint, and say so.
    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Writes the states of all ranks, in plain values and tensors."""
        checkpoint[_RANDOM_STATE] = gather_over_ranks(_random_state())

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps the states until training starts: setting up may draw random numbers."""
        self._restored = checkpoint.get(_RANDOM_STATE)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sets this rank's generators."""
        if self._restored is None:
            return
        if len(self._restored) == trainer.world_size:
            _set_random_state(self._restored[trainer.global_rank])
        else:
            rank_zero_warn(
                f"The checkpoint was written by {len(self._restored)} processes and goes on in {trainer.world_size}: "
                "dropout and the like will not be what they would have been."
            )
        self._restored = None


def _random_state() -> dict[str, Any]:
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - others draw from it
    version, numbers, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, cached],
        "python": [version, list(numbers), gauss],
    }


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([device.cpu() for device in state["cuda"]])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
