"""NYUD-v2 as MTAN pre-processed it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from data_modules.held_out import HeldOutDataModule
from mtdense.data import DenseDataset
from mtdense.data.label_coding import parse_axes
from mtdense.data.location import open_root
from mtdense.data.nyud.mtan import MTAN_NAME, MTAN_NORMALS_AXES, NYUDMtanDataset, mtan_specs
from mtdense.data.packed import open_dataset

__all__ = ["NYUDMtanDataModule"]


class NYUDMtanDataModule(HeldOutDataModule):
    """Numbered .npy arrays of 288x384: 13 classes, depth and normals; 795 training and 654 test images.

    What the files call val is the official test set.

    Args:
        root: Folder with `train/` and `val/`, or a pack of it.
        normals_axes: Camera axis (x right, y down, z forward) of each stored channel of normals.
        **kwargs: Options of data modules that hold out images for validation, and of all data modules.

    Raises:
        ConfigError: Options that make no sense.
    """

    name: str = MTAN_NAME
    mask_columns: ClassVar[tuple[str, ...]] = ("semseg", "depth", "normals")

    def __init__(
        self,
        root: str,
        normals_axes: str = MTAN_NORMALS_AXES,
        **kwargs: Any,
    ) -> None:
        parse_axes(normals_axes)
        self.root = open_root(root)
        self.reading: dict[str, Any] = {"normals_axes": normals_axes}
        super().__init__(**kwargs)

    def dataset_specs(self) -> dict[str, dict[str, Any]]:
        """Classes, depth and normals."""
        return mtan_specs()

    def open_published(self, split: Literal["train", "test"]) -> DenseDataset:
        """The images that are published for "train" or for "test"."""
        tasks = self.published_tasks(split)
        return open_dataset(NYUDMtanDataset, self.root, split, name=self.name, tasks=tasks, reading=self.reading)
