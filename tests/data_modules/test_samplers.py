"""Samplers: every image, in an order that belongs to seed and epoch, shared out over ranks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.fabric.utilities.data import _set_sampler_epoch
from torch.utils.data import DataLoader

from data_modules.samplers import EpochSampler, EvalSampler
from mtdense.core.errors import ConfigError


def indices(batches: list[list[tuple[int, int]]]) -> list[int]:
    return [key[0] for batch in batches for key in batch]


@settings(max_examples=80, deadline=None)
@given(n=st.integers(1, 60), batch=st.integers(1, 9), world=st.integers(1, 4), epoch=st.integers(0, 5))
def test_ranks_share_the_batches_of_one(n: int, batch: int, world: int, epoch: int) -> None:
    if n < world:
        return
    ranks = [EpochSampler(range(n), batch, 3, rank=r, world_size=world) for r in range(world)]
    single = EpochSampler(range(n), batch * world, 3)
    for sampler in (*ranks, single):
        sampler.set_epoch(epoch)
    shares, whole = [list(sampler) for sampler in ranks], list(single)
    assert {len(share) for share in shares} == {len(whole)} == {len(single)}
    for step, expected in enumerate(whole):
        union = [key for share in shares for key in share[step]]
        assert sorted(union) == sorted(expected)
    seen = indices(whole)
    assert len(set(seen)) == len(seen)  # no image twice
    assert len(seen) == n - n % (batch * world) if n >= batch * world else len(seen) == n
    assert {key.epoch for share in shares for one in share for key in one} == {epoch}


def test_order_belongs_to_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(range(40), 4, seed)
        sampler.set_epoch(epoch)
        return indices(list(sampler))

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(s, e)) for s in range(3) for e in range(3)}) == 9
    assert sorted(order(0, 2)) == list(range(40))


def test_images_left_out_change_with_the_epoch() -> None:
    sampler = EpochSampler(range(10), 4, 0)
    seen = set()
    for epoch in range(10):
        sampler.set_epoch(epoch)
        seen.update(indices(list(sampler)))
    assert seen == set(range(10))


def test_a_subset_of_images() -> None:
    assert sorted(indices(list(EpochSampler([3, 5, 9, 11], 2, 0)))) == [3, 5, 9, 11]


def test_lightning_reaches_the_epoch() -> None:
    sampler = EpochSampler(range(8), 2, 0)
    loader: DataLoader[int] = DataLoader(range(8), batch_sampler=sampler)  # type: ignore[arg-type]
    _set_sampler_epoch(loader, 7)
    assert sampler.epoch == 7


def test_a_pass_begun_keeps_its_epoch() -> None:
    sampler = EpochSampler(range(8), 2, 0)
    sampler.set_epoch(1)
    iterator = iter(sampler)
    first = next(iterator)
    sampler.set_epoch(2)
    assert {key.epoch for batch in [first, *iterator] for key in batch} == {1}


@pytest.mark.parametrize(("n", "world"), [(0, 1), (1, 2)])
def test_too_few_images(n: int, world: int) -> None:
    with pytest.raises(ConfigError, match="training images"):
        EpochSampler(range(n), 2, 0, world_size=world)


def test_bad_batch_size() -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        EpochSampler(range(3), 0, 0)


@given(n=st.integers(0, 50), world=st.integers(1, 8))
def test_evaluation_repeats_and_loses_no_image(n: int, world: int) -> None:
    shares = [list(EvalSampler(n, rank=r, world_size=world)) for r in range(world)]
    assert sorted(key[0] for share in shares for key in share) == list(range(n))
    assert [len(share) for share in shares] == [len(EvalSampler(n, rank=r, world_size=world)) for r in range(world)]
