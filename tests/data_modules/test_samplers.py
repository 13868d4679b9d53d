"""Samplers: every image, in an order that belongs to seed and epoch, shared out over ranks."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.fabric.utilities.data import _set_sampler_epoch
from torch.utils.data import DataLoader, Dataset

from data_modules.samplers import EvalSampler, PartialLabelBatchSampler
from mtdense.core.errors import ConfigError
from mtdense.core.seeds import derive_rng
from mtdense.data import LabelMask
from mtdense.data.sample import SampleKey

Bools = npt.NDArray[np.bool_]
TASKS = ("semseg", "depth", "normals")


def indices(batches: list[list[SampleKey]]) -> list[int]:
    return [key.image_index for batch in batches for key in batch]


def mask(setting: str, images: int, seed: int = 0) -> Bools:
    if setting == "skewed":  # some images without any label
        return np.asarray(np.random.default_rng(seed).random((images, 3)) < (0.15, 0.3, 0.8))
    return LabelMask.draw(setting, [f"{i:05d}" for i in range(images)], TASKS, seed).labelled


def balanced(images: int = 60, batch_size: int = 4, *, seed: int = 0, **options: Any) -> PartialLabelBatchSampler:
    labelled = mask("one-label", images)
    return PartialLabelBatchSampler(
        range(images), batch_size, seed, labelled=labelled, tasks=TASKS, min_labelled=1, **options
    )


@settings(max_examples=120, deadline=None)
@given(
    n=st.integers(1, 60),
    batch=st.integers(1, 9),
    world=st.integers(1, 5),
    epoch=st.integers(0, 5),
    least=st.integers(0, 2),
    setting=st.sampled_from(["full", "one-label", "random-label", "skewed"]),
)
def test_ranks_share_the_batches_of_one(n: int, batch: int, world: int, epoch: int, least: int, setting: str) -> None:
    labelled = mask(setting, n, seed=n)
    if n < world or labelled.sum(axis=0).min() < least or (least and least * 3 >= batch * world):
        return

    def make(size: int, **options: int) -> PartialLabelBatchSampler:
        sampler = PartialLabelBatchSampler(
            range(100, 100 + n), size, 3, labelled=labelled, tasks=TASKS, min_labelled=least, **options
        )
        sampler.set_epoch(epoch)
        return sampler

    ranks = [make(batch, rank=r, world_size=world) for r in range(world)]
    shares = [list(sampler) for sampler in ranks]
    whole = [[key for share in shares for key in share[step]] for step in range(len(ranks[0]))]
    assert {len(share) for share in shares} == {len(sampler) for sampler in ranks} == {len(whole)}
    for parts in zip(*shares, strict=True):
        sizes = [len(part) for part in parts]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1
    for step in whole:
        seen = [key.image_index for key in step]
        assert len(set(seen)) == len(seen)
        assert (labelled[np.array(seen) - 100].sum(axis=0) >= least).all()
    shown = Counter(indices(whole))
    assert set(shown) == set(range(100, 100 + n))  # no image lost
    assert shown.total() == n + ranks[0].extra_images
    assert sum(ranks[0].top_ups.values()) <= ranks[0].extra_images
    if least == 0:
        assert ranks[0].extra_images == 0
        sizes = [len(step) for step in whole]
        assert max(sizes) - min(sizes) <= 1
    if batch > 1:  # one rank with batches of all the ranks together sees the same
        alone = [sorted(step) for step in make(batch * world)]
        assert alone == [sorted(step) for step in whole]
    assert {key.epoch for step in whole for key in step} == {epoch}


@pytest.mark.parametrize(("n", "batch", "world"), [(24, 4, 1), (24, 3, 2), (7, 8, 1), (5, 2, 4)])
def test_whole_batches_are_slices_of_a_permutation(n: int, batch: int, world: int) -> None:
    images = [3 * i for i in range(n)]
    for epoch in range(2):
        order = derive_rng(11, "order", epoch).permutation(images).tolist()
        for rank in range(world):
            sampler = PartialLabelBatchSampler(images, batch, 11, rank=rank, world_size=world)
            sampler.set_epoch(epoch)
            size = min(batch * world, n)
            expected = [order[start : start + size][rank::world] for start in range(0, n, size)]
            assert [[key.image_index for key in step] for step in sampler] == expected


def test_sizes_are_even() -> None:
    assert [len(batch) for batch in PartialLabelBatchSampler(range(33), 8, 0)] == [7, 7, 7, 6, 6]
    shares = [[len(b) for b in PartialLabelBatchSampler(range(9), 1, 0, rank=r, world_size=4)] for r in range(4)]
    assert shares == [[2, 1], [1, 1], [1, 1], [1, 1]]  # not two batches of four and a rank that is left without


@pytest.mark.parametrize("least", [0, 1])
def test_order_belongs_to_seed_and_epoch(least: int) -> None:
    labelled = mask("one-label", 40)

    def order(seed: int, epoch: int) -> list[int]:
        sampler = PartialLabelBatchSampler(range(40), 5, seed, labelled=labelled, tasks=TASKS, min_labelled=least)
        sampler.set_epoch(epoch)
        return indices(list(sampler))

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(s, e)) for s in range(3) for e in range(3)}) == 9
    assert sorted(order(0, 2)) == list(range(40))


def test_rows_of_the_labels_belong_to_the_images_shown() -> None:
    labelled = np.zeros((6, 1), dtype=np.bool_)
    labelled[:2] = True
    sampler = PartialLabelBatchSampler([30, 31, 2, 3, 4, 5], 3, 0, labelled=labelled, tasks=["depth"], min_labelled=1)
    for epoch in range(5):
        sampler.set_epoch(epoch)
        assert sorted(key.image_index for batch in sampler for key in batch) == [2, 3, 4, 5, 30, 31]
        assert all({30, 31} & {key.image_index for key in batch} for batch in sampler)


def test_repeats_are_counted_by_task() -> None:
    labelled = np.eye(2, dtype=np.bool_)[[0] * 3 + [1] * 27]
    sampler = PartialLabelBatchSampler(range(30), 5, 0, labelled=labelled, tasks=["depth", "edges"], min_labelled=1)
    # 3 + 4 repeats and 27 others make 34 images: 7 batches of 5
    assert len(sampler) == 7
    assert sampler.top_ups == {"depth": 4, "edges": 0}
    assert sampler.extra_images == 4
    lengths = set()
    for epoch in range(4):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        lengths.add((len(batches), len(indices(batches))))
    assert lengths == {(7, 34)}
    plain = PartialLabelBatchSampler(range(30), 5, 0, labelled=labelled, tasks=["depth", "edges"])
    assert plain.top_ups == {"depth": 0, "edges": 0}


@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize("skipped", [0, 3, 15])
def test_a_pass_can_start_midway(least: int, skipped: int) -> None:
    options = {"labelled": mask("one-label", 60), "tasks": TASKS, "min_labelled": least}
    whole, tail = [PartialLabelBatchSampler(range(60), 4, 2, **options) for _ in range(2)]  # type: ignore[arg-type]
    expected = list(whole)
    tail.skip(skipped)
    assert len(tail) == len(expected) == 15
    assert list(tail) == expected[skipped:]
    assert list(tail) == expected  # forgotten


def test_setting_the_epoch_keeps_what_is_to_be_skipped() -> None:
    sampler = balanced()
    sampler.set_epoch(4)
    expected = list(sampler)
    other = balanced()
    other.skip(2)
    other.set_epoch(4)
    assert list(other) == expected[2:]


@pytest.mark.parametrize("batches", [-1, 16])
def test_no_more_is_skipped_than_there_is(batches: int) -> None:
    with pytest.raises(ConfigError, match="an epoch has 15"):
        balanced().skip(batches)


def test_an_iterator_that_is_never_used_takes_nothing() -> None:
    sampler = balanced()
    expected = list(sampler)
    sampler.skip(5)
    unused = iter(sampler)
    assert list(sampler) == expected[5:]
    sampler.set_epoch(1)
    assert next(unused)[0].epoch == 1


def test_lightning_reaches_the_epoch() -> None:
    sampler = balanced()
    loader: DataLoader[int] = DataLoader(range(60), batch_sampler=sampler)  # type: ignore[arg-type]
    _set_sampler_epoch(loader, 7)
    assert sampler.epoch == 7


def test_a_pass_begun_keeps_its_epoch() -> None:
    sampler = balanced()
    sampler.set_epoch(1)
    iterator = iter(sampler)
    first = next(iterator)
    sampler.set_epoch(2)
    assert {key.epoch for batch in [first, *iterator] for key in batch} == {1}


class Keys(Dataset[SampleKey]):
    def __getitem__(self, key: SampleKey) -> SampleKey:
        return key


def test_workers_get_the_epoch_and_the_rest_of_it() -> None:
    sampler, twin = balanced(), balanced()
    loader: DataLoader[SampleKey] = DataLoader(
        Keys(), batch_sampler=sampler, num_workers=2, persistent_workers=True, collate_fn=list
    )
    sampler.skip(4)
    for epoch, start in ((0, 4), (1, 0)):
        sampler.set_epoch(epoch)
        twin.set_epoch(epoch)
        assert len(loader) == 15
        assert list(loader) == list(twin)[start:]


@pytest.mark.parametrize(("n", "world"), [(0, 1), (1, 2)])
def test_too_few_images(n: int, world: int) -> None:
    with pytest.raises(ConfigError, match="training image"):
        PartialLabelBatchSampler(range(n), 2, 0, world_size=world)


@pytest.mark.parametrize(
    ("batch_size", "options", "message"),
    [
        (0, {}, "batch_size is 0"),
        (2, {"min_labelled": -1}, "min_labelled is -1"),
        (2, {"min_labelled": 1}, "nothing says which images are labelled"),
        (2, {"labelled": np.ones((3, 3), np.bool_), "tasks": TASKS}, r"labels \(3, 3\) of bool do not fit 4 images"),
        (2, {"labelled": np.ones((4, 3), np.bool_), "tasks": TASKS[:2]}, "and 2 tasks"),
        (2, {"labelled": np.ones((4, 3), np.int64), "tasks": TASKS}, "of int64"),
        (2, {"labelled": np.eye(4, 3) > 0, "tasks": TASKS, "min_labelled": 1}, "Raise batch_size to 4"),
        (2, {"labelled": np.eye(4, 3) > 1, "tasks": TASKS, "min_labelled": 1}, "labelled for 'semseg'"),
    ],
)
def test_options_that_make_no_sense(batch_size: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PartialLabelBatchSampler(range(4), batch_size, 0, **options)


@given(n=st.integers(0, 50), world=st.integers(1, 60))
def test_evaluation_repeats_and_loses_no_image(n: int, world: int) -> None:
    shares = [list(EvalSampler(n, rank=r, world_size=world)) for r in range(world)]
    assert sorted(key.image_index for share in shares for key in share) == list(range(n))
    assert [len(share) for share in shares] == [len(EvalSampler(n, rank=r, world_size=world)) for r in range(world)]
    for rank, share in enumerate(shares):
        sampler = EvalSampler(n, rank=rank, world_size=world)
        sampler.set_epoch(3)
        assert list(sampler) == share  # nothing depends on the epoch
