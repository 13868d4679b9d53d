"""From data set to batch: only admitted labels, whatever the data set offers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
import torch

from mtdense.core.errors import ConfigError, DataError
from mtdense.data import (
    DatasetSubset,
    DenseDataset,
    JointTransform,
    LabelMask,
    PartialLabelDataset,
    RawImage,
    SampleKey,
    collate,
    draw_label_mask,
    full_label_mask,
)
from mtdense.data.procedural_dataset import ProceduralDataset
from mtdense.tasks import build_tasks

SPECS: dict[str, dict[str, Any]] = {"semseg": {"num_classes": 4}, "depth": {}}
TASKS = build_tasks(SPECS)


class Toy(DenseDataset):
    """Six images; the last lacks depth. `eager` returns labels that nobody asked for."""

    version = "toy-1"

    def __init__(self, eager: bool = False) -> None:
        self.ids = [f"toy-{i}" for i in range(6)]
        self.eager = eager
        self.asked: list[frozenset[str]] = []

    def task_specs(self) -> dict[str, dict[str, Any]]:
        return SPECS

    def available(self, index: int) -> frozenset[str]:
        return frozenset({"semseg"} if index == 5 else {"semseg", "depth"})

    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        self.asked.append(frozenset(tasks))
        rng = np.random.default_rng(index)
        labels = {"semseg": rng.integers(0, 4, (12, 16)), "depth": rng.random((12, 16), dtype=np.float32)}
        given = self.available(index) if self.eager else tasks
        return RawImage(
            self.ids[index], rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), {t: labels[t] for t in given}
        )


def make(dataset: DenseDataset, mask: LabelMask, seed: int = 0) -> PartialLabelDataset:
    options: dict[str, Any] = {"scale_range": (1.0, 2.0), "flip_probability": 0.5, "photometric": "mild"}
    return PartialLabelDataset(dataset, TASKS, mask, JointTransform(TASKS, (8, 8), train=True, **options), seed)


def test_only_admitted_labels_are_read() -> None:
    toy = Toy()
    mask = draw_label_mask(toy, list(TASKS), "one-label", 0)
    data = make(toy, mask)
    for i in range(6):
        sample = data[i]
        assert toy.asked[-1] == mask.tasks_of(i)
        assert {task for task, has in sample["labelled"].items() if has} == mask.tasks_of(i)
    assert mask.tasks_of(5) == {"semseg"}


def test_labels_offered_unasked_are_dropped() -> None:
    mask = draw_label_mask(Toy(), list(TASKS), "one-label", 0)
    for i in range(6):
        modest, eager = make(Toy(), mask)[i], make(Toy(eager=True), mask)[i]
        assert torch.equal(modest["image"], eager["image"])
        for task in TASKS:
            assert torch.equal(modest["targets"][task], eager["targets"][task])
            if task not in mask.tasks_of(i):
                assert not TASKS[task].valid(eager["targets"][task][None]).any()


def test_a_sample_depends_on_seed_epoch_and_id() -> None:
    mask = full_label_mask(Toy(), list(TASKS))
    first = make(Toy(), mask)[SampleKey(1, 3)]
    assert torch.equal(first["image"], make(Toy(), mask)[SampleKey(1, 3)]["image"])
    assert not torch.equal(first["image"], make(Toy(), mask)[SampleKey(1, 4)]["image"])
    assert not torch.equal(first["image"], make(Toy(), mask, seed=1)[SampleKey(1, 3)]["image"])
    assert first["meta"]["data_version"] == "toy-1"


def test_full_takes_all_that_exists() -> None:
    assert full_label_mask(Toy(), list(TASKS)).counts() == {"semseg": 6, "depth": 5}


def test_a_task_without_any_label_is_an_error() -> None:
    with pytest.raises(DataError, match="normals"):
        draw_label_mask(Toy(), [*TASKS, "normals"], "full", 0)


def test_masks_must_fit() -> None:
    with pytest.raises(DataError, match="other images"):
        make(Toy(), LabelMask.full(["x"], list(TASKS)))
    with pytest.raises(DataError, match="depth"):
        make(Toy(), LabelMask.full(Toy().ids, ["semseg"]))


def test_an_admitted_label_that_is_gone_is_an_error() -> None:
    class Lossy(Toy):
        def load(self, index: int, tasks: Collection[str]) -> RawImage:
            return super().load(index, [])

    with pytest.raises(DataError, match=r"'toy-0' came without its semseg, depth"):
        make(Lossy(), full_label_mask(Toy(), list(TASKS)))[0]


def test_collate_stacks_everything() -> None:
    data = make(Toy(), full_label_mask(Toy(), list(TASKS)))
    batch = collate([data[4], data[5]])
    assert batch["image"].shape == (2, 3, 8, 8)
    assert batch["targets"]["depth"].shape == (2, 8, 8)
    assert batch["labelled"]["depth"].tolist() == [True, False]
    assert batch["labelled"]["depth"].dtype == torch.bool
    assert batch["id"] == ["toy-4", "toy-5"]
    shapes = {key: tuple(value.shape) for key, value in batch["meta"].items() if isinstance(value, torch.Tensor)}
    assert shapes == {
        "original_size": (2, 2),
        "content": (2, 4),
        "window": (2, 4),
        "zoom": (2,),
        "flip": (2,),
        "camera": (2, 3, 3),
        "baseline": (2,),
        "mount": (2, 3, 4),
    }
    assert batch["meta"]["data_version"] == ["toy-1", "toy-1"]


def test_collate_refuses_sizes_that_differ() -> None:
    small, large = (
        JointTransform(TASKS, (s, s), train=False)(Toy().load(0, []), np.random.default_rng(0)) for s in (8, 9)
    )
    with pytest.raises(ConfigError, match="8x8, toy-0: 9x9"):
        collate([small, large])


def test_a_subset_shows_some_images_in_the_order_wanted() -> None:
    whole = ProceduralDataset((16, 24), "train", 5)
    ids = [whole.ids[3], whole.ids[1]]
    part = DatasetSubset(whole, ids)
    assert list(part.ids) == ids
    assert (part.version, part.derived, part.task_specs()) == (whole.version, whole.derived, whole.task_specs())
    one, other = part.load(0, ["depth"]), whole.load(3, ["depth"])
    assert one.id == other.id
    np.testing.assert_array_equal(one.labels["depth"], other.labels["depth"])
    assert part.available(1) == whole.available(1)
    assert [part.eligible(i, "human_parts") for i in (0, 1)] == [whole.eligible(i, "human_parts") for i in (3, 1)]
    with pytest.raises(DataError, match="no image 'val-000000'"):
        DatasetSubset(whole, ["val-000000"])
    with pytest.raises(DataError, match="asked for twice"):
        DatasetSubset(whole, [ids[0], ids[0]])
