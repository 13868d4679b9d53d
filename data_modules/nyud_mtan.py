"""NYUD-v2 as MTAN pre-processed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from data_modules.held_out import HeldOutDataModule
from mtdense.data.label_coding import parse_axes
from mtdense.data.nyud.mtan import MTAN_NAME, MTAN_NORMALS_AXES, NYUDMtanDataset, mtan_specs

__all__ = ["NYUDMtanDataModule"]


class NYUDMtanDataModule(HeldOutDataModule):
    """Numbered .npy arrays of 288x384: 13 classes, depth and normals; 795 training and 654 test images.

    What the files call val is the official test set.

    Args:
        root: Folder with `train/` and `val/`.
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
        self.root = Path(root).expanduser()
        self.normals_axes = normals_axes
        super().__init__(**kwargs)

    def dataset_specs(self) -> dict[str, dict[str, Any]]:
        """Classes, depth and normals."""
        return mtan_specs()

    def open_published(self, split: Literal["train", "test"]) -> NYUDMtanDataset:
        """The images that are published for "train" or for "test"."""
        return NYUDMtanDataset(self.root, split, tasks=self.published_tasks(split), normals_axes=self.normals_axes)
