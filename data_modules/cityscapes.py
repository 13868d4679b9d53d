"""Cityscapes as published."""

from __future__ import annotations

from typing import Any, Literal

from data_modules.held_out import HeldOutDataModule
from mtdense.core.errors import ConfigError
from mtdense.data import DenseDataset
from mtdense.data.cityscapes.official import CITYSCAPES_NAME, CityscapesDataset, cityscapes_specs
from mtdense.data.cityscapes.protocols import depth_protocol as find_protocol
from mtdense.data.location import open_root
from mtdense.data.packed import open_dataset

__all__ = ["CityscapesDataModule"]


class CityscapesDataModule(HeldOutDataModule):
    """Street scenes of 1024x2048: 19 classes and depth; 2,975 training and 500 test images.

    The test images are those of the folder `val`, as in the multi-task literature; labels of the official test set are
    not public.

    Args:
        root: Folder with `leftImg8bit/`, `gtFine/`, `disparity/` and, for metres, `camera/`; or a pack of it.
        depth_protocol: What depth means, and which of it is scored: "disparity", "taskprompter", "mtmamba" (both also
            with `_legacy` behind) or "metres"; see `mtdense.data.cityscapes.protocols`.
        score_size: Height and width at which predictions are scored; "protocol": as it says, null: `size`.
        **kwargs: Options of data modules that hold out images for validation, and of all data modules.

    Raises:
        ConfigError: Options that make no sense, or a protocol that would carry class labels into the depth of images
            whose class labels are withheld.
    """

    name: str = CITYSCAPES_NAME

    def __init__(
        self,
        root: str,
        depth_protocol: str = "disparity",
        score_size: tuple[int, int] | Literal["protocol"] | None = "protocol",
        **kwargs: Any,
    ) -> None:
        self.root = open_root(root)
        self.depth_protocol = depth_protocol
        self.reading: dict[str, Any] = {"protocol": depth_protocol}
        size = find_protocol(depth_protocol).score_size if score_size == "protocol" else score_size
        super().__init__(score_size=size, **kwargs)
        self._check_leak()

    def dataset_specs(self) -> dict[str, dict[str, Any]]:
        """Classes, and depth as the protocol has it."""
        return cityscapes_specs(find_protocol(self.depth_protocol))

    def open_published(self, split: Literal["train", "test"]) -> DenseDataset:
        """The images that are published for "train" or for "test"."""
        tasks = self.published_tasks(split)
        return open_dataset(CityscapesDataset, self.root, split, name=self.name, tasks=tasks, reading=self.reading)

    def _check_leak(self) -> None:
        reads_classes = find_protocol(self.depth_protocol).zero_label is not None
        if reads_classes and self.label_setting != "full" and {"depth", "semseg"} <= set(self.mask_tasks):
            raise ConfigError(
                f"depth_protocol {self.depth_protocol!r} marks the sky in depth labels by its class label, which label "
                f"setting {self.label_setting!r} withholds from most images",
                "Use `depth_protocol: disparity` or `metres` with partial labels.",
            )
