"""People's own pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from data_modules.base import DenseDataModule
from mtdense.core.errors import ConfigError
from mtdense.core.suggest import did_you_mean
from mtdense.data import FolderDataset, FolderIndex, LabelCoding, SplitRule
from mtdense.data.folder import DERIVATIONS
from mtdense.geometry import camera_matrix
from mtdense.tasks import Task, spec_options, task_names

__all__ = ["FolderDataModule"]


class FolderDataModule(DenseDataModule):
    """A folder with `images/` and one folder of labels per task.

    Files belong together by path and stem; extensions may differ (.png, .jpg, .npy, .webp, .bmp, .tif), sub-folders and
    links are fine, and any image may lack any label.

    Args:
        root: The folder.
        images: Name of the image folder in it.
        folders: {task: its folder} where that is not called after the task.
        num_classes: {task: number of classes}, for class maps: semseg (and human_parts if it is not 7).
        class_names: {task: names of its classes}; then the number need not be given.
        ignore_values: {task: stored values that count for nothing}; 255 never counts in class maps.
        label_offset: {task: number subtracted from stored class ids}, for class maps.
        positive_above: {task: stored value above which saliency or edges are positive}; default 127, or 0.5 for floats.
        depth_unit: "metres" or "disparity".
        depth_scale: Stored units per metre (millimetres: 1000); null: files are floating point, in metres.
        depth_invalid_values: Stored values without depth.
        normals_axes: Camera axis (x right, y down, z forward) of each stored channel, such as "+x+z-y".
        derive: Labels to compute where none is stored: "edges_from_semseg", "normals_from_depth". Marked as derived in
            records.
        camera: fx, fy, cx, cy in pixels of the stored images.
        normals_radius: Normals from depth are fitted to windows of 2 * radius + 1 pixels; 2 or 3 for noisy sensors.
        resize_labels: "nearest" brings labels of another size to their image's; null: an error.
        split_files: {split: text file with one image per line}, relative to `root`.
        split_folders: {split: sub-folder of the image folder}.
        val_fraction: Without these: share of images drawn by lot for validation.
        test_fraction: The same for the test.
        split_seed: Seeds the lot.
        **kwargs: Options of all data modules.
    """

    name: str = "folder"

    def __init__(
        self,
        root: str,
        images: str = "images",
        folders: dict[str, str] | None = None,
        num_classes: dict[str, int] | None = None,
        class_names: dict[str, list[str]] | None = None,
        ignore_values: dict[str, list[float]] | None = None,
        label_offset: dict[str, int] | None = None,
        positive_above: dict[str, float] | None = None,
        depth_unit: Literal["metres", "disparity"] = "metres",
        depth_scale: float | None = None,
        depth_invalid_values: tuple[float, ...] = (0.0,),
        normals_axes: str = "+x+y+z",
        derive: list[str] | None = None,
        camera: tuple[float, float, float, float] | None = None,
        normals_radius: int = 1,
        resize_labels: Literal["nearest"] | None = None,
        split_files: dict[str, str] | None = None,
        split_folders: dict[str, str] | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.root = Path(root).expanduser()
        self.images = images
        self.folders = dict(folders or {})
        self.derive = list(derive or [])
        self.depth_unit = depth_unit
        self.class_options = _class_options(num_classes or {}, class_names or {})
        _check_tasks("folders", folders or {})
        _check_tasks("ignore_values", ignore_values or {})
        _check_tasks("label_offset", label_offset or {}, lambda task: Task.registered[task].stored_as == "classes")
        _check_tasks("positive_above", positive_above or {}, lambda task: Task.registered[task].stored_as == "binary")
        self.coding = LabelCoding(
            ignore_values or {},
            label_offset or {},
            positive_above or {},
            depth_scale,
            tuple(depth_invalid_values),
            normals_axes,
        )
        self.split_rule = SplitRule(split_files or {}, split_folders or {}, val_fraction, test_fraction, split_seed)
        self.camera = None if camera is None else camera_matrix(*camera)
        self.normals_radius = normals_radius
        self.resize_labels = resize_labels
        self._index: FolderIndex | None = None
        self._check_derivations(camera)
        super().__init__(**kwargs)

    def dataset_specs(self) -> dict[str, dict[str, Any]]:
        """Every task that the suite knows, with the classes and the unit given."""
        specs: dict[str, dict[str, Any]] = {task: {} for task in task_names()}
        for task, options in self.class_options.items():
            specs[task].update(options)
        specs["depth"]["unit"] = self.depth_unit
        return specs

    def make_dataset(self, split: str) -> FolderDataset:
        """The images of a split."""
        if self._index is None:
            self._index = FolderIndex(self.root, self.mask_tasks, self.images, self.folders, self.derive)
        stems = self.split_rule.select(split, self._index.stems, self.root, self.images)
        known = self.dataset_specs()
        specs = {task: self.task_specs.get(task, known[task]) for task in self._tasks_read()}
        return FolderDataset(
            self._index,
            stems,
            specs,
            self.coding,
            camera=self.camera,
            resize_labels=self.resize_labels,
            normals_radius=self.normals_radius,
        )

    def _tasks_read(self) -> list[str]:
        """Tasks whose labels are read: what a task is derived from need not be carried itself."""
        sources = [source for made, source in map(DERIVATIONS.__getitem__, self.derive) if made in self.mask_tasks]
        return list(dict.fromkeys([*self.mask_tasks, *sources]))

    def _check(self, task_options: Mapping[str, Any]) -> None:
        super()._check(task_options)
        known = self.dataset_specs()
        for task in self._tasks_read():
            given = {**known[task], **task_options.get(task, {})}
            for option, required in spec_options(task).items():
                if required and option not in given:
                    place = f"data.task_options: {{{task}: {{{option}: ...}}}}"
                    if option == "num_classes":
                        place = f"data.num_classes: {{{task}: ...}}` or `data.class_names: {{{task}: [...]}}"
                    raise ConfigError(f"task {task!r} needs {option}", f"Set `{place}`.")

    def _check_derivations(self, camera: tuple[float, ...] | None) -> None:
        for name in self.derive:
            if name not in DERIVATIONS:
                raise ConfigError(f"unknown derivation {name!r}", f"Use {' or '.join(DERIVATIONS)}.")
        if camera is not None and not (all(map(math.isfinite, camera)) and min(camera[:2]) > 0):
            raise ConfigError(f"camera {list(camera)} is none", "Give fx, fy, cx, cy in pixels.")
        if "normals_from_depth" in self.derive and (camera is None or self.depth_unit != "metres"):
            raise ConfigError(
                "normals can only be derived from depth in metres and with a camera",
                "Set `camera: [fx, fy, cx, cy]` and `depth_unit: metres`.",
            )


def _class_options(num_classes: dict[str, int], class_names: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    _check_tasks("num_classes", num_classes, lambda task: "num_classes" in spec_options(task))
    _check_tasks("class_names", class_names, lambda task: {"num_classes", "class_names"} <= spec_options(task).keys())
    options: dict[str, dict[str, Any]] = {}
    for task, names in class_names.items():
        options[task] = {"num_classes": len(names), "class_names": list(names)}
    for task, number in num_classes.items():
        options.setdefault(task, {})["num_classes"] = number  # build_tasks compares it with the names
    return options


def _check_tasks(option: str, given: Mapping[str, Any], takes: Callable[[str], bool] = lambda task: True) -> None:
    """Raises unless an option by task names known tasks, and those only that it means anything to."""
    known = task_names()
    for task in given:
        if task not in known:
            raise ConfigError(
                f"unknown task {task!r} in `{option}`", f"{did_you_mean(task, known)}Known tasks: {', '.join(known)}."
            )
        if not takes(task):
            raise ConfigError(
                f"`{option}` names {task!r}, to which it means nothing",
                f"Leave it out; `{option}` is for {', '.join(filter(takes, known))}.",
            )
