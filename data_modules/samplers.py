"""Which images a step sees: functions of (seed, epoch) alone, shared out over ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch.utils.data import DistributedSampler, Sampler

from mtdense.core.errors import ConfigError
from mtdense.core.seeds import derive_rng
from mtdense.data.sample import SampleKey

__all__ = ["EpochSampler", "EvalSampler"]


class EpochSampler(Sampler[list[SampleKey]]):
    """Batches of a shuffled epoch; every image at most once, incomplete batches left out.

    A global batch has `batch_size * world_size` images, of which each rank gets its slice: N ranks with batches of B
    see what one rank with batches of N * B sees. With fewer images than that an epoch is one short batch of all of
    them. The epoch travels with each key, so worker processes that outlive an epoch stay right.

    Args:
        indices: Images to show.
        batch_size: Images per batch and rank.
        seed: Seeds the order, together with the epoch.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        ConfigError: No images, fewer images than ranks, or a batch size below 1.
    """

    def __init__(
        self, indices: Sequence[int], batch_size: int, seed: int, *, rank: int = 0, world_size: int = 1
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}", "Give a number of 1 or more.")
        if len(indices) < world_size or not indices:
            raise ConfigError(
                f"{len(indices)} training images for {world_size} processes", "Add images, or use fewer devices."
            )
        self.indices = list(indices)
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    @property
    def sampler(self) -> EpochSampler:
        """Itself: Lightning announces the epoch to `batch_sampler.sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches per epoch."""
        return max(1, len(self.indices) // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yields the batches of this rank."""
        epoch = self.epoch  # a pass that has begun keeps its epoch
        order = [int(i) for i in derive_rng(self.seed, "order", epoch).permutation(self.indices)]
        size = min(self.batch_size * self.world_size, len(order))
        for start in range(0, len(self) * size, size):
            batch = order[start : start + size]
            yield [SampleKey(index, epoch) for index in batch[self.rank :: self.world_size]]


class EvalSampler(DistributedSampler[SampleKey]):
    """Every image once over all ranks, in order, without padding: an epoch of evaluation counts no image twice.

    It is a `DistributedSampler` so that Lightning leaves it in place; torch's own repeats images to even out the ranks.

    Args:
        length: Number of images.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(self, length: int, *, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(range(length), num_replicas=world_size, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.length = length

    def __len__(self) -> int:
        """Images of this rank."""
        return len(range(self.rank, self.length, self.num_replicas))

    def __iter__(self) -> Iterator[SampleKey]:
        """Yields the images of this rank."""
        return (SampleKey(index, 0) for index in range(self.rank, self.length, self.num_replicas))
