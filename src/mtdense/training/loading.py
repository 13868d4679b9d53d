"""The training loader that goes on where a checkpoint was written, in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from mtdense.core.errors import ConfigError

__all__ = ["RestoreLoader", "ResumableLoader", "ResumableSampler"]


class ResumableSampler(Protocol):
    """What the loader asks of its batch sampler."""

    epoch: int

    @property
    def signature(self) -> dict[str, int]:
        """What the order of images depends on, besides the epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next pass."""

    def skip(self, batches: int) -> None:
        """Lets the next pass begin after so many batches."""

    def __len__(self) -> int:
        """Batches per epoch."""

    def __iter__(self) -> Iterator[list[Any]]:
        """Yields the batches of a pass."""


class ResumableLoader(DataLoader[Any]):
    """A loader whose state is (epoch, batches handed out); Lightning saves and restores it with its loops.

    Batches that workers have prepared but nobody has seen do not count. With a sampler and samples that are functions
    of (seed, epoch, image), as ours are, a restored loader hands out exactly the rest of the epoch.

    Args:
        dataset: Samples by the keys of the sampler.
        batch_sampler: Batches of keys.
        batches_per_epoch: Tells after how many batches training ends an epoch; None: the length of the sampler.
        **options: Of `torch.utils.data.DataLoader`.
    """

    def __init__(
        self,
        dataset: Any,
        batch_sampler: ResumableSampler,
        *,
        batches_per_epoch: Callable[[], float] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(dataset, batch_sampler=batch_sampler, **options)
        self._order = batch_sampler
        self._batches_per_epoch = batches_per_epoch
        self._epoch = batch_sampler.epoch
        self._batches = 0
        self._start = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Begins a pass; with workers they begin to read at once."""
        self._epoch, self._batches, self._start = self._order.epoch, self._start, 0
        return self._count(super().__iter__())

    def _count(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self._batches += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The epoch of the present pass, how many of its batches were handed out, and what their order depends on."""
        length = len(self._order) if self._batches_per_epoch is None else self._batches_per_epoch()
        epoch, batches = (self._epoch, self._batches) if self._batches < length else (self._epoch + 1, 0)
        return {"epoch": epoch, "batches": batches, "order": self._order.signature}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Lets the next pass go on from a state.

        Raises:
            ConfigError: The state is from the middle of an epoch whose images come in another order here.
        """
        if state["batches"]:
            changed = {key: value for key, value in self._order.signature.items() if state["order"].get(key) != value}
            if changed:
                then = ", ".join(f"{key} {state['order'].get(key)}" for key in changed)
                now = ", ".join(f"{key} {value}" for key, value in changed.items())
                raise ConfigError(
                    f"the checkpoint stopped after {state['batches']} batches of an epoch with {then}; now {now}",
                    "Resume with the batch_size, number of devices, seed and data of that run.",
                )
        self._order.set_epoch(state["epoch"])
        self._order.skip(state["batches"])
        self._start = state["batches"]


class RestoreLoader(Callback):
    """Gives the training loader its state where Lightning (2.6) forgets to.

    It restores a loader only when it builds it, and builds it before anything is restored if the number of steps was
    asked for: for a schedule of a run that is bounded by epochs.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restores the loader and begins its pass again; the first one may have read ahead from the epoch's begin."""
        loop = trainer.fit_loop
        states = loop._combined_loader_states_to_load
        if states and loop._combined_loader is not None and loop._data_fetcher is not None:
            loop._combined_loader._load_state_dicts(states)
            loop._combined_loader_states_to_load = []
            iter(loop._data_fetcher)
