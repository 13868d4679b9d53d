"""Cityscapes with 3-D boxes of vehicles."""

from __future__ import annotations

from typing import Any, Literal

from data_modules.cityscapes import CityscapesDataModule
from mtdense.core.errors import DataError
from mtdense.data import DatasetSubset, DenseDataset
from mtdense.data.cityscapes.protocols import depth_protocol as find_protocol
from mtdense.data.cityscapes.vehicles import CITYSCAPES_3D_NAME, Cityscapes3DDataset, cityscapes_3d_specs
from mtdense.data.packed import open_dataset

__all__ = ["Cityscapes3DDataModule"]


class Cityscapes3DDataModule(CityscapesDataModule):
    """Street scenes of 1024x2048: 19 classes, depth, and 3-D boxes of vehicles; 2,975 training and 500 test images.

    Boxes count as a label like any other: `one-label` and `random-label` give images with vehicles to `detection_3d`,
    and `min_labelled` counts them. Options are those of `CityscapesDataModule` and

    Args:
        root: Folder with `leftImg8bit/`, `gtFine/`, `disparity/`, `gtBbox3d/` and, for metres, `camera/`; or a pack.
        with_vehicles: Train on images with a vehicle only, as the public code of TaskPrompter does; the test always has
            all images.
        **kwargs: Options of `CityscapesDataModule`.

    Raises:
        ConfigError: Options that make no sense.
    """

    name: str = CITYSCAPES_3D_NAME

    def __init__(self, root: str, with_vehicles: bool = False, **kwargs: Any) -> None:
        self.with_vehicles = with_vehicles
        super().__init__(root=root, **kwargs)

    def dataset_specs(self) -> dict[str, dict[str, Any]]:
        """Classes, depth as the protocol has it, and six vehicles."""
        return cityscapes_3d_specs(find_protocol(self.depth_protocol))

    def open_published(self, split: Literal["train", "test"]) -> DenseDataset:
        """The images that are published for "train" or for "test"."""
        chosen = self.with_vehicles and split == "train"
        tasks = list(dict.fromkeys([*self.published_tasks(split), *(["detection_3d"] if chosen else [])]))
        data = open_dataset(Cityscapes3DDataset, self.root, split, name=self.name, tasks=tasks, reading=self.reading)
        if not chosen:
            return data
        # Of boxes, a label is eligible where there is a vehicle.
        ids = [image_id for index, image_id in enumerate(data.ids) if data.eligible(index, "detection_3d")]
        if not ids:
            raise DataError(f"no training image of {self.root} shows a vehicle", "Set `data.with_vehicles` to false.")
        return DatasetSubset(data, ids)
