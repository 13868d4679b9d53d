"""What all data modules share: label masks, transforms, samplers and loaders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from data_modules.samplers import EvalSampler, PartialLabelBatchSampler
from data_modules.workers import start_method, worker_init
from mtdense.core.errors import ConfigError, DataError
from mtdense.core.suggest import did_you_mean
from mtdense.core.words import counted
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
    label_table,
    read_label_mask,
    require_labels,
)
from mtdense.tasks import build_label_kinds
from mtdense.training.loading import ResumableLoader

__all__ = ["DenseDataModule"]


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
        label_setting: "full" (all labels), "one-label" (one per image, balanced), "random-label" (1 to m - 1 of m) or
            "file".
        label_seed: Seeds the label mask, if it is drawn.
        label_file: The label mask of "file": ours or one of the published forms, see `read_label_mask`.
        mask_tasks: Tasks over which the label mask is drawn; null: `tasks`. A single-task network that is compared with
            a network of several tasks names all of them here, and so trains on the very labels that the other sees.
        only_labelled: Train only on images that carry a label of `tasks`.
        min_labelled: Labelled images of every task in each batch (of all devices together); images are repeated where
            labels are too few. 0: a plain shuffle.
        size: Height and width of the images that the network sees.
        score_size: Height and width at which predictions are scored, being scaled to it; null: `size`.
        resize: "fit" scales each image, aspect kept, to the largest size within `size`; null leaves it as it is.
        scale_range: Augmentation: smallest and largest random zoom, drawn uniformly.
        scale_choices: Augmentation: or a list of zooms of which one is drawn.
        crop_max_share: Augmentation: draw another crop (10 at most) while one class covers this share; null: off.
        flip_probability: Augmentation: probability of a mirror, left to right.
        photometric: Augmentation of colours: "none", "mild" or "strong".
        task_options: Options by task, over those of the data set, for example {normals: {loss: cosine}}; of any task
            of the mask.

    Raises:
        ConfigError: An unknown task, or options that make no sense.
    """

    name: str
    """Id of the data set in records and tables."""
    mask_columns: ClassVar[tuple[str, ...]] = ()
    """Tasks in the order of the columns of published label masks that do not name them; empty: there are none."""

    def __init__(
        self,
        tasks: list[str],
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
        label_setting: Literal["full", "one-label", "random-label", "file"] = "full",
        label_seed: int = 0,
        label_file: str | None = None,
        mask_tasks: list[str] | None = None,
        only_labelled: bool = False,
        min_labelled: int = 0,
        size: tuple[int, int] = (96, 128),
        score_size: tuple[int, int] | None = None,
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
        self.label_file = label_file
        self.only_labelled = only_labelled
        self.min_labelled = min_labelled
        self._transform_options: dict[str, Any] = {
            "score_size": score_size,
            "resize": resize,
            "scale_range": scale_range,
            "scale_choices": scale_choices,
            "crop_max_share": crop_max_share,
            "flip_probability": flip_probability,
            "photometric": photometric,
        }
        self._check(task_options or {})
        self._specs = self._merge_specs(task_options or {})
        self._tasks = build_label_kinds(self._specs)
        JointTransform(self._tasks, self.size, train=True, **self._transform_options)  # checks the options
        self._datasets: dict[str, DenseDataset] = {}
        self._mask: LabelMask | None = None
        self._sampler: PartialLabelBatchSampler | None = None
        self._restored: dict[str, Any] = {}

    # ---- for subclasses ---------------------------------------------------------------------------------------------
    @abstractmethod
    def dataset_specs(self) -> dict[str, dict[str, Any]]:
        """Specifications for `build_label_kinds` of every task of this data set, without reading a file."""

    @abstractmethod
    def make_dataset(self, split: str) -> DenseDataset:
        """The images of a split: "train", "val" or "test". They must not overlap."""

    def published_train(self) -> DenseDataset:
        """The training images as published, in that order, with those that are held out for validation.

        Label masks are made over these: rows of published masks mean them, and what is held out changes no label.
        """
        return self.dataset("train")

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation split; without one nothing is validated while training."""
        return True

    # ---- what others ask --------------------------------------------------------------------------------------------
    @property
    def task_specs(self) -> dict[str, dict[str, Any]]:
        """Specifications for `build_label_kinds` of the tasks carried, in order."""
        return {task: dict(spec) for task, spec in self._specs.items()}

    @property
    def label_mask(self) -> LabelMask:
        """Label mask of the training images, over `mask_tasks`."""
        if self._mask is None:
            self._mask = self.published_mask().select(self.dataset("train").ids)
            require_labels(self._mask, f"label setting {self.label_setting!r}, without the images held out")
        return self._mask

    def published_mask(self) -> LabelMask:
        """Label mask of `published_train`, over `mask_tasks`: drawn, or read from `label_file`.

        Raises:
            DataError: A task gets no label, the file does not fit, or it admits labels that do not exist.
        """
        train = self.published_train()
        if self.label_file is None:
            return draw_label_mask(train, self.mask_tasks, self.label_setting, self.label_seed)
        path = Path(self.label_file).expanduser()
        columns = self.mask_columns or None
        mask = read_label_mask(path, train.ids, self.mask_tasks, columns=columns, dataset=self.name)
        absent = np.argwhere(mask.labelled & ~label_table(train, self.mask_tasks))
        if len(absent):
            image, task = absent[0]
            raise DataError(
                f"{path} admits {len(absent)} labels that the data do not have, for example "
                f"{self.mask_tasks[task]} of image {train.ids[image]!r}",
                "Restore the label files, or use the mask of these data.",
            )
        return mask

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
            "label_seed": self.label_seed if self.label_setting in LABEL_SETTINGS else None,
            "min_labelled": self.min_labelled,
            "seed": self.seed,
            "derived": sorted(self._derived().intersection(self.mask_tasks)),
            "mask_checksum": None,
            "label_counts": None,
            "top_ups": None,
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
            if split != "val" or self.has_validation:
                self.dataset(split)
        if stage == "fit":
            _ = self.label_mask

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled, augmented, with the labels that the mask admits."""
        mask = self.label_mask
        data = PartialLabelDataset(self.dataset("train"), self._tasks, mask, self._transform(train=True), self.seed)
        data.watch(self.num_workers)
        indices = mask.images_with(self.tasks) if self.only_labelled else range(len(data))
        columns = [mask.tasks.index(task) for task in self.tasks]
        rank, world_size = self._rank()
        self._sampler = PartialLabelBatchSampler(
            indices,
            self.batch_size,
            self.seed,
            labelled=mask.labelled[list(indices)][:, columns],
            tasks=self.tasks,
            min_labelled=self.min_labelled,
            rank=rank,
            world_size=world_size,
        )
        if self._sampler.extra_images > len(indices):
            rank_zero_warn(
                f"min_labelled {self.min_labelled} shows {counted(self._sampler.extra_images, 'image')} again in each "
                f"epoch of {len(indices)}, for labels are few: lower it, or raise batch_size."
            )
        trainer = self.trainer
        length = None if trainer is None else lambda: trainer.num_training_batches
        return ResumableLoader(data, self._sampler, batches_per_epoch=length, **self._loader_options())

    def val_dataloader(self) -> DataLoader[Sample] | list[DataLoader[Sample]]:
        """All images of the validation split, once, with all labels; no loader where there is no such split.

        Raises:
            ConfigError: `mtdense validate` without a validation split.
        """
        if self.has_validation:
            return self._eval_loader("val")
        if self.trainer is not None and self.trainer.state.fn == "validate":
            raise ConfigError(
                f"the {self.name} data hold no validation images", "Set `data.val_fraction` above 0, or use `test`."
            )
        return []

    def test_dataloader(self) -> DataLoader[Sample]:
        """All images of the test split, once, with all labels."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader[Sample]:
        """As for the test."""
        return self._eval_loader("test")

    def state_dict(self) -> dict[str, Any]:
        """Facts about the training data, stored in checkpoints."""
        known = self.description
        facts = ("mask_checksum", "label_counts", "top_ups", "train_size", "val_size")
        return {**{key: known[key] for key in facts}, "made_of": self._made_of()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what the checkpoint says of its training data.

        Raises:
            DataError: Training is to go on with another label mask, other data or other augmentation.
        """
        state_dict = dict(state_dict)
        before = state_dict.pop("made_of", {})
        wanted = state_dict.get("mask_checksum")
        if self._mask is not None and wanted is not None and wanted != self._mask.checksum():
            raise DataError(
                f"the checkpoint was trained with another label mask ({wanted[:12]}, not {self._mask.checksum()[:12]})",
                "Resume with the data, label_setting, label_seed (or label_file) and mask_tasks of that run and, where "
                "images are held out, its val_fraction and split_seed.",
            )
        if self._mask is not None:
            now = self._made_of()
            for key in now.keys() & before.keys():
                if before[key] != now[key]:
                    raise DataError(
                        f"the checkpoint was trained with {key} {before[key]}, not {now[key]}",
                        f"Resume with the {key} of that run.",
                    )
        self._restored = state_dict

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
            # The runs of a comparison share their options, whichever of its tasks each carries.
            if task not in self.mask_tasks:
                raise ConfigError(
                    f"`task_options` for {task!r}, which is not carried", f"Leave it out, or name {task} in `tasks`."
                )
        if self.label_setting not in (*LABEL_SETTINGS, "file"):
            raise ConfigError(
                f"unknown label_setting {self.label_setting!r}", f"Use one of {', '.join(LABEL_SETTINGS)}, file."
            )
        if (self.label_file is not None) != (self.label_setting == "file"):
            raise ConfigError(
                f"label_setting {self.label_setting!r} with label_file {self.label_file!r}",
                "Give `label_setting: file` and `label_file: PATH` together, or neither.",
            )
        if self.min_labelled < 0:
            raise ConfigError(f"min_labelled is {self.min_labelled}", "Give 0 or more.")
        for option in ("batch_size", "eval_batch_size"):
            if getattr(self, option) < 1:
                raise ConfigError(f"{option} is {getattr(self, option)}", "Give a number of 1 or more.")
        if self.num_workers < 0:
            raise ConfigError(f"num_workers is {self.num_workers}", "Give 0 or more.")

    def _merge_specs(self, task_options: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        known = self.dataset_specs()
        return {task: {**known[task], **task_options.get(task, {})} for task in self.tasks}

    def _made_of(self) -> dict[str, Any]:
        """What samples depend on besides seed, mask and order."""
        train = self._datasets.get("train")
        options = {key: list(v) if isinstance(v, tuple) else v for key, v in self._transform_options.items()}
        return {"data version": None if train is None else train.version, "size": list(self.size), **options}

    def _derived(self) -> frozenset[str]:
        return frozenset().union(*(data.derived for data in self._datasets.values()))

    def _measured(self) -> dict[str, Any]:
        """What the opened data sets say."""
        facts: dict[str, Any] = {f"{split}_size": len(data) for split, data in self._datasets.items()}
        if self._mask is not None:
            facts["mask_checksum"] = self._mask.checksum()
            facts["label_counts"] = self._mask.counts()
        if self._sampler is not None:
            facts["top_ups"] = {"images": self._sampler.extra_images, **self._sampler.top_ups}
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
        data.watch(self.num_workers)
        rank, world_size = self._rank()
        sampler = EvalSampler(len(data), rank=rank, world_size=world_size)
        return DataLoader(data, batch_size=self.eval_batch_size, sampler=sampler, **self._loader_options())

    def _loader_options(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "multiprocessing_context": start_method() if self.num_workers > 0 else None,
            "worker_init_fn": worker_init,
            # Of its own: torch's global generator, kept in checkpoints, must not depend on how often loaders begin.
            "generator": torch.Generator(),
            "collate_fn": collate,
            "pin_memory": torch.cuda.is_available(),
        }
