"""NYUD-v2 as its authors publish it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from data_modules.held_out import HeldOutDataModule
from mtdense.core.errors import ConfigError, DataError
from mtdense.data import DenseDataset
from mtdense.data.location import Location, open_root
from mtdense.data.nyud.official import NORMALS_RADIUS, OFFICIAL_NAME, NYUDOfficialDataset, check_options, official_specs
from mtdense.data.packed import open_dataset

__all__ = ["NYUDOfficialDataModule"]


class NYUDOfficialDataModule(HeldOutDataModule):
    """`nyu_depth_v2_labeled.mat`: 795 training and 654 test frames of indoor scenes, 480 x 640 pixels.

    Args:
        root: Folder of the file, or a raw pack of it.
        classes: 13 or 40.
        depth_source: "inpainted" (`depths`, every pixel has a value) or "raw" (`rawDepths`, with holes).
        derive_normals: Offer normals, computed from depth; the file holds none.
        normals_radius: Window of derived normals is 2 r + 1 pixels wide; cost grows with its area.
        crop: "full", or "valid": rows 44 to 470 and columns 40 to 600, beyond which depth is extrapolated.
        **kwargs: Options of data modules that hold out images for validation, and of all data modules.

    Raises:
        ConfigError: Options that make no sense.
    """

    name: str = OFFICIAL_NAME
    pack_codecs: ClassVar[tuple[str, ...]] = ("raw",)
    """Codecs of packs: the official file is one file already."""

    def __init__(
        self,
        root: str,
        classes: Literal[13, 40] = 13,
        depth_source: Literal["inpainted", "raw"] = "inpainted",
        derive_normals: bool = False,
        normals_radius: int = NORMALS_RADIUS,
        crop: Literal["full", "valid"] = "full",
        **kwargs: Any,
    ) -> None:
        check_options(depth_source, crop, normals_radius)
        self.root = open_root(root)
        self.classes = classes
        self.derive_normals = derive_normals
        self.reading: dict[str, Any] = {
            "classes": classes,
            "depth_source": depth_source,
            "derive_normals": derive_normals,
            "normals_radius": normals_radius,
            "crop": crop,
        }
        super().__init__(**kwargs)

    def dataset_specs(self) -> dict[str, dict[str, Any]]:
        """Classes, edges and depth; normals where they are derived."""
        return official_specs(self.classes, self.derive_normals)

    def open_published(self, split: Literal["train", "test"]) -> DenseDataset:
        """The images that are published for "train" or for "test"."""
        tasks = self.published_tasks(split)
        return open_dataset(_open_file, self.root, split, name=self.name, tasks=tasks, reading=self.reading)

    def _check(self, task_options: Mapping[str, Any]) -> None:
        if not self.derive_normals and "normals" in {*self.tasks, *self.mask_tasks}:
            raise ConfigError(
                "the official file holds no normals", "Set `data.derive_normals: true`, or leave them out."
            )
        super()._check(task_options)


def _open_file(
    root: Location, split: Literal["train", "test"], *, tasks: Sequence[str], **reading: Any
) -> NYUDOfficialDataset:
    if not isinstance(root, Path):
        raise DataError(f"{root} is a pack of source files", "Give the folder of the official file, or a raw pack.")
    return NYUDOfficialDataset(root, split, **reading)
