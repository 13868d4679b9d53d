"""The loader hands out exactly the rest of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from mtdense.core.errors import ConfigError
from mtdense.training.loading import ResumableLoader


class Sampler:
    """Ten images, two per batch; the key of an image says its epoch."""

    def __init__(self, images: int = 10) -> None:
        self.images = images
        self.epoch = 0
        self.start = 0

    @property
    def signature(self) -> dict[str, int]:
        return {"images": self.images}

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def skip(self, batches: int) -> None:
        self.start = batches

    def __len__(self) -> int:
        return self.images // 2

    def __iter__(self) -> Iterator[list[int]]:
        epoch, start, self.start = self.epoch, self.start, 0
        for batch in range(start, len(self)):
            yield [100 * epoch + 2 * batch, 100 * epoch + 2 * batch + 1]


class Keys(torch.utils.data.Dataset[int]):
    def __getitem__(self, key: int) -> int:
        return key


def make(workers: int, images: int = 10, **options: Any) -> ResumableLoader:
    return ResumableLoader(
        Keys(), Sampler(images), num_workers=workers, persistent_workers=workers > 0, collate_fn=list, **options
    )


def one_pass(loader: ResumableLoader, epoch: int) -> list[list[int]]:
    loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
    return list(loader)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("seen", [1, 3, 5])
def test_goes_on_with_what_was_not_seen(workers: int, seen: int) -> None:
    loader = make(workers)
    passes = [one_pass(loader, epoch) for epoch in range(4)]
    loader.batch_sampler.set_epoch(2)  # type: ignore[union-attr]
    iterator = iter(loader)
    assert [next(iterator) for _ in range(seen)] == passes[2][:seen]
    state = loader.state_dict()
    resumed = make(workers)
    resumed.load_state_dict(state)
    rest = list(resumed)
    assert rest == (passes[2][seen:] or passes[3])
    if passes[2][seen:]:
        assert one_pass(resumed, 3) == passes[3]
        assert resumed.state_dict()["epoch"] == 4


def test_counts_what_was_skipped() -> None:
    first = make(0)
    iterator = iter(first)
    next(iterator), next(iterator)
    second = make(0)
    second.load_state_dict(first.state_dict())
    next(iter(second))
    assert second.state_dict() == {"epoch": 0, "batches": 3, "order": {"images": 10}}


def test_training_may_end_epochs_earlier() -> None:
    loader = make(0, batches_per_epoch=lambda: 2)
    iterator = iter(loader)
    next(iterator), next(iterator)
    assert loader.state_dict()["epoch"] == 1
    assert loader.state_dict()["batches"] == 0


def test_another_order_is_refused_only_inside_an_epoch() -> None:
    loader = make(0)
    iterator = iter(loader)
    next(iterator)
    with pytest.raises(ConfigError, match=r"after 1 batches of an epoch with images 10; now images 12"):
        make(0, images=12).load_state_dict(loader.state_dict())
    list(iterator)
    other = make(0, images=12)
    other.load_state_dict(loader.state_dict())
    assert next(iter(other)) == [100, 101]
