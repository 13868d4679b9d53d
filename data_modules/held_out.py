"""Data sets that publish images for training and for the test, but none for validation."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

from data_modules.base import DenseDataModule
from mtdense.core.errors import ConfigError
from mtdense.data import DatasetSubset, DenseDataset
from mtdense.data.splits import check_fraction, hold_out

__all__ = ["HeldOutDataModule"]


class HeldOutDataModule(DenseDataModule):
    """Base of data modules that hold out some of the training images for validation, by lot.

    Nobody then chooses a model by its test score. The papers train on all training images (`val_fraction: 0`), and
    take the last weights or, some of them, the best of the test.

    Args:
        val_fraction: Share of the training images held out for validation; 0 trains on all of them.
        split_seed: Seeds that lot.
        **kwargs: Options of all data modules.

    Raises:
        ConfigError: Options that make no sense.
    """

    def __init__(self, val_fraction: float = 0.1, split_seed: int = 0, **kwargs: Any) -> None:
        check_fraction(val_fraction)
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self._published: DenseDataset | None = None
        super().__init__(**kwargs)

    @abstractmethod
    def open_published(self, split: Literal["train", "test"]) -> DenseDataset:
        """The images that are published for "train" or for "test"."""

    def published_tasks(self, split: str) -> list[str]:
        """Tasks whose files must be there: those of the label mask to train, those carried for the test."""
        return self.mask_tasks if split == "train" else self.tasks

    @property
    def has_validation(self) -> bool:
        """Whether images are held out for validation."""
        return self.val_fraction > 0

    def published_train(self) -> DenseDataset:
        """All published training images in their order, those held out included."""
        if self._published is None:
            self._published = self.open_published("train")
        return self._published

    def make_dataset(self, split: str) -> DenseDataset:
        """The images of a split.

        Raises:
            ConfigError: Asked for validation images where none are held out.
        """
        if split == "test":
            return self.open_published("test")
        if split == "val" and not self.has_validation:
            raise ConfigError(f"the {self.name} data hold no validation images", "Set `data.val_fraction` above 0.")
        kept, held = hold_out(self.published_train().ids, self.val_fraction, self.split_seed)
        return DatasetSubset(self.published_train(), held if split == "val" else kept)
