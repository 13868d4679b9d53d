"""NYUD-v2 as the ASTMT, MTI-Net, ATRC and InvPT line of papers uses it."""

from __future__ import annotations

from typing import Any, Literal

from data_modules.held_out import HeldOutDataModule
from mtdense.data import DenseDataset
from mtdense.data.label_coding import parse_axes
from mtdense.data.location import open_root
from mtdense.data.nyud.atrc import (
    ATRC_NAME,
    ATRC_NORMALS_AXES,
    ATRC_SIZE,
    NYUDAtrcDataset,
    atrc_specs,
    check_crop_size,
)
from mtdense.data.packed import open_dataset

__all__ = ["NYUDAtrcDataModule"]


class NYUDAtrcDataModule(HeldOutDataModule):
    """NYUD_MT or NYUDv2, 425x560: 40 classes, depth, normals and edges; 795 training and 654 test images.

    What the lists call val is the official test set. Every file type that the archives of this line of papers use is
    read.

    Args:
        root: Folder with `images/` and `gt_sets/`, or a pack of it.
        void_zero: Class 0 is void and classes are the 40 others; false: 41 classes, as in ASTMT.
        normals_axes: Camera axis (x right, y down, z forward) of each stored channel of normals.
        crop_size: Larger images are cropped to this height and width, around the centre; null: never.
        allow_overlap: Allow images that both lists name: to overfit on purpose, never for a score.
        **kwargs: Options of data modules that hold out images for validation, and of all data modules.

    Raises:
        ConfigError: Options that make no sense.
    """

    name: str = ATRC_NAME

    def __init__(
        self,
        root: str,
        void_zero: bool = True,
        normals_axes: str = ATRC_NORMALS_AXES,
        crop_size: tuple[int, int] | None = ATRC_SIZE,
        allow_overlap: bool = False,
        **kwargs: Any,
    ) -> None:
        parse_axes(normals_axes)
        self.root = open_root(root)
        self.void_zero = void_zero
        self.reading: dict[str, Any] = {
            "void_zero": void_zero,
            "normals_axes": normals_axes,
            "crop_size": check_crop_size(crop_size),
            "allow_overlap": allow_overlap,
        }
        super().__init__(**kwargs)

    def dataset_specs(self) -> dict[str, dict[str, Any]]:
        """Classes, depth, normals and edges."""
        return atrc_specs(self.void_zero)

    def open_published(self, split: Literal["train", "test"]) -> DenseDataset:
        """The images that are published for "train" or for "test"."""
        tasks = self.published_tasks(split)
        return open_dataset(NYUDAtrcDataset, self.root, split, name=self.name, tasks=tasks, reading=self.reading)
