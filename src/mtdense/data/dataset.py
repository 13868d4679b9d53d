"""Data sets: from files or a renderer to samples that show only what a label mask admits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from mtdense.core.errors import ConfigError, DataError, MTDenseError
from mtdense.core.seeds import derive_rng
from mtdense.core.words import counted
from mtdense.data.label_masks import BoolArray, LabelMask
from mtdense.data.sample import Batch, BatchMeta, RawImage, Sample, SampleKey
from mtdense.data.under_way import UnderWay
from mtdense.tasks.base import ArrayAny, Task
from mtdense.tasks.label_kind import LabelKind

__all__ = [
    "DatasetSubset",
    "DenseDataset",
    "PartialLabelDataset",
    "collate",
    "draw_label_mask",
    "full_label_mask",
    "has_content",
    "label_table",
    "require_labels",
]


class DenseDataset(ABC):
    """Images with dense labels, as stored; knows nothing of masks, augmentation or batches."""

    ids: Sequence[str]
    """Image ids: unique, usable as file names."""
    version: str
    """Names the data: runs with different versions are not comparable."""
    derived: frozenset[str] = frozenset()
    """Tasks of which some labels are computed from other labels and not stored."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.ids)

    @abstractmethod
    def task_specs(self) -> dict[str, dict[str, Any]]:
        """Specifications for `build_label_kinds` of every task that this data set can label."""

    @abstractmethod
    def available(self, index: int) -> frozenset[str]:
        """Tasks of which the image has a label; must be cheap."""

    def eligible(self, index: int, task: str) -> bool:
        """Whether drawing this label for the image makes sense (human parts: a person is there)."""
        return task in self.available(index)

    @abstractmethod
    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        """Reads the image, and the labels of these tasks and no others.

        Raises:
            DataError: A file is missing or damaged, or a label is out of range.
        """


class DatasetSubset(DenseDataset):
    """Some images of a data set.

    Args:
        dataset: The data set.
        ids: Its images to keep, in the order wanted.

    Raises:
        DataError: An id is unknown or named twice.
    """

    def __init__(self, dataset: DenseDataset, ids: Sequence[str]) -> None:
        place = {image_id: index for index, image_id in enumerate(dataset.ids)}
        for image_id in ids:
            if image_id not in place:
                raise DataError(f"the data have no image {image_id!r}", "Choose among the ids of the data set.")
        if len(set(ids)) != len(ids):
            twice = next(image_id for image_id in ids if list(ids).count(image_id) > 1)
            raise DataError(f"the image {twice!r} was asked for twice", "Name each image once.")
        self.dataset = dataset
        self.ids = list(ids)
        self.version = dataset.version
        self.derived = dataset.derived
        self._places = [place[image_id] for image_id in ids]

    def task_specs(self) -> dict[str, dict[str, Any]]:
        """Those of the whole."""
        return self.dataset.task_specs()

    def available(self, index: int) -> frozenset[str]:
        """As the whole says."""
        return self.dataset.available(self._places[index])

    def eligible(self, index: int, task: str) -> bool:
        """As the whole says."""
        return self.dataset.eligible(self._places[index], task)

    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        """Reads an image of the whole."""
        return self.dataset.load(self._places[index], tasks)


def has_content(task: Task, label: ArrayAny) -> bool:
    """Whether a stored label has a valid pixel once it is finished; see `Task.content_dependent`."""
    return bool(task.valid(task.to_target(task.finish_label(label))[None]).any())


def label_table(dataset: DenseDataset, tasks: Sequence[str], *, eligible: bool = False) -> BoolArray:
    """Table (images, tasks) of the labels that exist, or of those eligible for a random label mask."""
    table = np.zeros((len(dataset), len(tasks)), dtype=np.bool_)
    for i in range(len(dataset)):
        available = dataset.available(i)
        for t, task in enumerate(tasks):
            table[i, t] = task in available and (not eligible or dataset.eligible(i, task))
    return table


def full_label_mask(dataset: DenseDataset, tasks: Sequence[str]) -> LabelMask:
    """Mask with every label that exists; evaluation uses it."""
    return LabelMask.full(dataset.ids, tasks, label_table(dataset, tasks))


def draw_label_mask(dataset: DenseDataset, tasks: Sequence[str], setting: str, seed: int) -> LabelMask:
    """Draws the training mask of a label setting.

    `full` takes every label that exists; the others draw among eligible labels only.

    Raises:
        DataError: A task gets no label at all.
    """
    table = label_table(dataset, tasks, eligible=setting != "full")
    mask = LabelMask.draw(setting, dataset.ids, tasks, seed, table)
    require_labels(mask, f"label setting {setting!r}")
    return mask


def require_labels(mask: LabelMask, origin: str) -> None:
    """Raises a `DataError`, which names the mask's `origin`, if a task has no label at all."""
    without = [task for task, count in mask.counts().items() if count == 0]
    if without:
        raise DataError(
            f"no training image carries a label of {', '.join(without)} ({origin}, {counted(len(mask.ids), 'image')})",
            "Add labels or images, or take the task out of `tasks` (and `mask_tasks`).",
        )


class PartialLabelDataset(Dataset[Sample]):
    """The torch data set: reads an image with the labels its mask admits, and transforms them.

    A sample is a function of (seed, epoch, image id) and of the labels that the mask admits; labels that it does not
    admit are not even read.

    Args:
        dataset: Source of images.
        tasks: Tasks that a sample shall have targets of.
        mask: Label mask over the images of `dataset`, in their order; may have more tasks.
        transform: Makes the sample from a raw image and a generator.
        seed: Seeds the augmentation.

    Raises:
        DataError: The mask is of other images or lacks a task.
    """

    def __init__(
        self,
        dataset: DenseDataset,
        tasks: Mapping[str, LabelKind],
        mask: LabelMask,
        transform: Callable[[RawImage, np.random.Generator], Sample],
        seed: int,
    ) -> None:
        if tuple(dataset.ids) != mask.ids:
            raise DataError(
                f"the label mask lists other images than the data set ({len(mask.ids)} and {len(dataset)})",
                "Draw the mask from this data set.",
            )
        missing = [task for task in tasks if task not in mask.tasks]
        if missing:
            raise DataError(f"the label mask has no column for {', '.join(missing)}", "Draw it over all tasks.")
        self.dataset = dataset
        self.tasks = dict(tasks)
        self.mask = mask
        self.transform = transform
        self.seed = seed
        self._under_way: UnderWay | None = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.dataset)

    def watch(self, workers: int) -> None:
        """Lets so many data workers leave word of what they read; see `images_of_dead_workers`."""
        self._under_way = UnderWay(self.dataset.ids, workers) if workers else None

    def __getitem__(self, key: SampleKey | int) -> Sample:
        """The sample of an image in an epoch (a plain index means epoch 0).

        Raises:
            MTDenseError: The image cannot be read; names it.
        """
        index, epoch = key if isinstance(key, tuple) else (key, 0)
        if self._under_way is not None:
            self._under_way.begin(index)
        image_id = str(self.dataset.ids[index])
        try:
            return self._sample(index, epoch)
        except MTDenseError as error:
            if image_id in str(error):
                raise
            raise type(error)(f"image {image_id!r}: {error.problem}", error.mend) from error
        except MemoryError:
            raise
        except Exception as error:
            raise DataError(
                f"image {image_id!r} could not be read or augmented: {type(error).__name__}: {error}",
                "Look at this image and its labels (`mtdense data check`).",
            ) from error

    def _sample(self, index: int, epoch: int) -> Sample:
        wanted = [task for task in self.tasks if task in self.mask.tasks_of(index)]
        raw = self.dataset.load(index, wanted)
        lacking = [task for task in wanted if task not in raw.labels]
        if lacking:
            raise DataError(
                f"image {raw.id!r} came without its {', '.join(lacking)} label", "Restore the file, or redraw the mask."
            )
        # A data set that returns more than it was asked for must not leak it into the transform.
        labels = {task: raw.labels[task] for task in wanted}
        admitted = RawImage(raw.id, raw.image, labels, raw.camera, raw.baseline)
        sample = self.transform(admitted, derive_rng(self.seed, "augment", epoch, raw.id))
        sample["meta"]["data_version"] = self.dataset.version
        return sample


def collate(samples: Sequence[Sample]) -> Batch:
    """Stacks samples of one size to a batch; targets that are no maps (3-D boxes) become a list.

    Raises:
        ConfigError: Sizes differ.
    """
    sizes = {tuple(sample["image"].shape[-2:]) for sample in samples}
    if len(sizes) > 1:
        listed = ", ".join(f"{s['id']}: {s['image'].shape[-2]}x{s['image'].shape[-1]}" for s in samples[:4])
        raise ConfigError(f"samples of different sizes cannot be stacked ({listed})", "Give all one canvas: `size`.")
    metas = [sample["meta"] for sample in samples]

    def gather(targets: list[Any]) -> Any:
        return stack(targets) if isinstance(targets[0], Tensor) else targets

    def stack(tensors: list[Tensor]) -> Tensor:
        stacked: Tensor = default_collate(tensors)  # in a worker: straight into the memory that the processes share
        return stacked

    return Batch(
        image=stack([sample["image"] for sample in samples]),
        targets={task: gather([sample["targets"][task] for sample in samples]) for task in samples[0]["targets"]},
        labelled={task: torch.tensor([s["labelled"][task] for s in samples]) for task in samples[0]["labelled"]},
        id=[sample["id"] for sample in samples],
        meta=BatchMeta(
            original_size=stack([meta["original_size"] for meta in metas]),
            content=stack([meta["content"] for meta in metas]),
            window=stack([meta["window"] for meta in metas]),
            zoom=stack([meta["zoom"] for meta in metas]),
            flip=stack([meta["flip"] for meta in metas]),
            camera=stack([meta["camera"] for meta in metas]),
            baseline=stack([meta["baseline"] for meta in metas]),
            mount=stack([meta["mount"] for meta in metas]),
            data_version=[meta["data_version"] for meta in metas],
        ),
    )
