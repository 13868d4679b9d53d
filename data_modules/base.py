"""What all data modules share: label masks, transforms, samplers and loaders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from data_modules.samplers import EpochSampler, EvalSampler
from mtdense.core.errors import ConfigError, DataError
from mtdense.core.suggest import did_you_mean
from mtdense.data import (
    LABEL_SETTINGS,
    SPLITS,
    DenseDataset,
    JointTransform,
    LabelMask,
    PartialLabelDataset,
    Sample,
    collate,
    draw_label_mask,
    full_label_mask,
)
from mtdense.tasks import build_tasks

__all__ = ["DenseDataModule", "worker_init"]


def worker_init(worker_id: int) -> None:
    """Keeps each worker process to one thread: parallel work is the loader's business."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)


class DenseDataModule(LightningDataModule, ABC):
    """Base of all data modules: a subclass says which data sets there are, and adds its own options.

    Training sees what the label mask admits; validation, test and prediction see every label that exists. A subclass
    stores its own options first and then calls `super().__init__(**kwargs)`.

    Args:
        tasks: Tasks to carry, in this order.
        batch_size: Training images per step and device.
        eval_batch_size: Images per step in evaluation; null: as in training.
        num_workers: Worker processes per loader; samples do not depend on it.
        seed: Seeds the order of images and their augmentation.
        label_setting: "full" (all labels), "one-label" (one per image, balanced) or "random-label" (1 to m - 1 of m).
        label_seed: Seeds the label mask.
        mask_tasks: Tasks over which the label mask is drawn; null: `tasks`. A single-task network that is compared with
            a network of several tasks names all of them here, and so trains on the very labels that the other sees.
        only_labelled: Train only on images that carry a label of `tasks`.
        size: Height and width of the images that the network sees.
        resize: "fit" scales each image, aspect kept, to the largest size within `size`; null leaves it as it is.
        scale_range: Augmentation: smallest and largest random zoom, drawn uniformly.
        scale_choices: Augmentation: or a list of zooms of which one is drawn.
        crop_max_share: Augmentation: draw another crop (10 at most) while one class covers this share; null: off.
        flip_probability: Augmentation: probability of a mirror, left to right.
        photometric: Augmentation of colours: "none", "mild" or "strong".
        task_options: Options by task, over those of the data set, for example {normals: {loss: cosine}}.

    Raises:
        ConfigError: An unknown task, or options that make no sense.
    """

    name: str
    """Id of the data set in records and tables."""

    def __init__(
        self,
        tasks: list[str],
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
        label_setting: Literal["full", "one-label", "random-label"] = "full",
        label_seed: int = 0,
        mask_tasks: list[str] | None = None,
        only_labelled: bool = False,
        size: tuple[int, int] = (96, 128),
        resize: Literal["fit"] | None = "fit",
        scale_range: tuple[float, float] | None = None,
        scale_choices: list[float] | None = None,
        crop_max_share: float | None = None,
        flip_probability: float = 0.5,
        photometric: Literal["none", "mild", "strong"] = "none",
        task_options: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.tasks = list(tasks)
        self.mask_tasks = list(tasks if mask_tasks is None else mask_tasks)
        self.size = [int(length) for length in size]
        self.batch_size = batch_size
        self.eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.label_setting = label_setting
        self.label_seed = label_seed
        self.only_labelled = only_labelled
        self._transform_options: dict[str, Any] = {
            "resize": resize,
            "scale_range": scale_range,
            "scale_choices": scale_choices,
            "crop_max_share": crop_max_share,
            "flip_probability": flip_probability,
            "photometric": photometric,
        }
        self._check(task_options or {})
        self._specs = self._merge_specs(task_options or {})
        self._tasks = build_tasks(self._specs)
        JointTransform(self._tasks, self.size, train=True, **self._transform_options)  # checks the options
        self._datasets: dict[str, DenseDataset] = {}
        self._mask: LabelMask | None = None
        self._restored: dict[str, Any] = {}

    # ---- for subclasses ---------------------------------------------------------------------------------------------
    @abstractmethod
    def dataset_specs(self) -> dict[str, dict[str, Any]]:
        """Specifications for `build_tasks` of every task of this data set, without reading a file."""

    @abstractmethod
    def make_dataset(self, split: str) -> DenseDataset:
        """The images of a split: "train", "val" or "test". They must not overlap."""

    # ---- what others ask --------------------------------------------------------------------------------------------
    @property
    def task_specs(self) -> dict[str, dict[str, Any]]:
        """Specifications for `build_tasks` of the tasks carried, in order."""
        return {task: dict(spec) for task, spec in self._specs.items()}

    @property
    def label_mask(self) -> LabelMask:
        """Label mask of the training images, over `mask_tasks`."""
        if self._mask is None:
            train = self.dataset("train")
            self._mask = draw_label_mask(train, self.mask_tasks, self.label_setting, self.label_seed)
        return self._mask

    @property
    def description(self) -> dict[str, Any]:
        """What the data are, in plain values, for records and checkpoints.

        Facts about training images are known once `setup` was called for fitting, or a checkpoint restored.
        """
        facts: dict[str, Any] = {
            "name": self.name,
            "version": next((data.version for data in self._datasets.values()), None),
            "tasks": list(self.tasks),
            "mask_tasks": list(self.mask_tasks),
            "size": list(self.size),
            "label_setting": self.label_setting,
            "label_seed": self.label_seed,
            "seed": self.seed,
            "derived": sorted(self._derived().intersection(self.mask_tasks)),
            "mask_checksum": None,
            "label_counts": None,
        }
        facts.update({f"{split}_size": None for split in SPLITS})
        facts.update(self._restored)
        return {**facts, **self._measured()}

    def dataset(self, split: str) -> DenseDataset:
        """The data set of a split ("train", "val" or "test"), made when first asked for."""
        if split not in self._datasets:
            self._datasets[split] = self.make_dataset(split)
        return self._datasets[split]

    # ---- Lightning --------------------------------------------------------------------------------------------------
    def setup(self, stage: str) -> None:
        """Opens the data sets of a stage; for fitting the label mask is drawn, too."""
        stages = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}
        for split in stages[stage]:
            self.dataset(split)
        if stage == "fit":
            _ = self.label_mask

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled, augmented, with the labels that the mask admits."""
        mask = self.label_mask
        data = PartialLabelDataset(self.dataset("train"), self._tasks, mask, self._transform(train=True), self.seed)
        indices: Sequence[int] = range(len(data))
        if self.only_labelled:
            indices = mask.images_with(self.tasks)
        rank, world_size = self._rank()
        sampler = EpochSampler(indices, self.batch_size, self.seed, rank=rank, world_size=world_size)
        return DataLoader(data, batch_sampler=sampler, **self._loader_options())

    def val_dataloader(self) -> DataLoader[Sample]:
        """All images of the validation split, once, with all labels."""
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[Sample]:
        """All images of the test split, once, with all labels."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader[Sample]:
        """As for the test."""
        return self._eval_loader("test")

    def state_dict(self) -> dict[str, Any]:
        """Facts about the training data, stored in checkpoints."""
        known = self.description
        return {key: known[key] for key in ("mask_checksum", "label_counts", "train_size", "val_size")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what the checkpoint says of its training data.

        Raises:
            DataError: Training is to go on with another label mask.
        """
        wanted = state_dict.get("mask_checksum")
        if self._mask is not None and wanted is not None and wanted != self._mask.checksum():
            raise DataError(
                f"the checkpoint was trained with another label mask ({wanted[:12]}, not {self._mask.checksum()[:12]})",
                "Resume with the data, label_setting, label_seed and mask_tasks of that run.",
            )
        self._restored = dict(state_dict)

    # ---- inside -----------------------------------------------------------------------------------------------------
    def _check(self, task_options: Mapping[str, Any]) -> None:
        known = self.dataset_specs()
        if not self.tasks:
            raise ConfigError("no task is given", f"Name some in `tasks`: {', '.join(known)}.")
        for option, names in (("tasks", self.tasks), ("mask_tasks", self.mask_tasks)):
            for task in names:
                if task not in known:
                    raise ConfigError(
                        f"unknown task {task!r} in `{option}`",
                        f"{did_you_mean(task, known)}The {self.name} data have: {', '.join(known)}.",
                    )
            if len(set(names)) != len(names):
                raise ConfigError(f"`{option}` names a task twice: {', '.join(names)}", "Name each once.")
        if not set(self.tasks) <= set(self.mask_tasks):
            raise ConfigError(
                f"`mask_tasks` ({', '.join(self.mask_tasks)}) lacks one of `tasks` ({', '.join(self.tasks)})",
                "Draw the mask over all tasks of the comparison.",
            )
        for task in task_options:
            if task not in self.tasks:
                raise ConfigError(
                    f"`task_options` for {task!r}, which is not carried", f"Leave it out, or name {task} in `tasks`."
                )
        if self.label_setting not in LABEL_SETTINGS:
            raise ConfigError(
                f"unknown label_setting {self.label_setting!r}", f"Use one of {', '.join(LABEL_SETTINGS)}."
            )
        for option in ("batch_size", "eval_batch_size"):
            if getattr(self, option) < 1:
                raise ConfigError(f"{option} is {getattr(self, option)}", "Give a number of 1 or more.")
        if self.num_workers < 0:
            raise ConfigError(f"num_workers is {self.num_workers}", "Give 0 or more.")

    def _merge_specs(self, task_options: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        known = self.dataset_specs()
        return {task: {**known[task], **task_options.get(task, {})} for task in self.tasks}

    def _derived(self) -> frozenset[str]:
        return frozenset().union(*(data.derived for data in self._datasets.values()))

    def _measured(self) -> dict[str, Any]:
        """What the opened data sets say."""
        facts: dict[str, Any] = {f"{split}_size": len(data) for split, data in self._datasets.items()}
        if self._mask is not None:
            facts["mask_checksum"] = self._mask.checksum()
            facts["label_counts"] = self._mask.counts()
        return facts

    def _transform(self, *, train: bool) -> JointTransform:
        return JointTransform(self._tasks, self.size, train=train, **self._transform_options)

    def _rank(self) -> tuple[int, int]:
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)

    def _eval_loader(self, split: str) -> DataLoader[Sample]:
        dataset = self.dataset(split)
        mask = full_label_mask(dataset, self.tasks)
        data = PartialLabelDataset(dataset, self._tasks, mask, self._transform(train=False), self.seed)
        rank, world_size = self._rank()
        sampler = EvalSampler(len(data), rank=rank, world_size=world_size)
        return DataLoader(data, batch_size=self.eval_batch_size, sampler=sampler, **self._loader_options())

    def _loader_options(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "worker_init_fn": worker_init,
            "collate_fn": collate,
            "pin_memory": torch.cuda.is_available(),
        }
