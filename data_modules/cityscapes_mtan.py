"""Cityscapes as MTAN pre-processed it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from data_modules.held_out import HeldOutDataModule
from mtdense.data import DenseDataset
from mtdense.data.cityscapes.mtan import (
    CITYSCAPES_MTAN_NAME,
    MTAN_TASKS,
    CityscapesMtanDataset,
    check_classes,
    cityscapes_mtan_specs,
)
from mtdense.data.location import open_root
from mtdense.data.packed import open_dataset

__all__ = ["CityscapesMtanDataModule"]


class CityscapesMtanDataModule(HeldOutDataModule):
    """Numbered .npy arrays of 128x256: 7 categories (or 19 classes) and disparity; 2,975 training and 500 test images.

    Args:
        root: Folder with `train/` and `val/`, or a pack of it.
        num_classes: 7 or 19.
        **kwargs: Options of data modules that hold out images for validation, and of all data modules.

    Raises:
        ConfigError: Options that make no sense.
    """

    name: str = CITYSCAPES_MTAN_NAME
    mask_columns: ClassVar[tuple[str, ...]] = MTAN_TASKS

    def __init__(self, root: str, num_classes: int = 7, **kwargs: Any) -> None:
        self.root = open_root(root)
        self.num_classes = check_classes(num_classes)
        self.reading: dict[str, Any] = {"num_classes": num_classes}
        super().__init__(**kwargs)

    def dataset_specs(self) -> dict[str, dict[str, Any]]:
        """Classes and disparity."""
        return cityscapes_mtan_specs(self.num_classes)

    def open_published(self, split: Literal["train", "test"]) -> DenseDataset:
        """The images that are published for "train" or for "test"."""
        tasks = self.published_tasks(split)
        return open_dataset(CityscapesMtanDataset, self.root, split, name=self.name, tasks=tasks, reading=self.reading)
