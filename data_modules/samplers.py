"""Which images a step sees: functions of (seed, epoch) alone, shared out over ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import DistributedSampler, Sampler

from data_modules.balance import BatchPlan, plan_batches
from mtdense.core.errors import ConfigError
from mtdense.core.seeds import derive_rng
from mtdense.core.words import counted
from mtdense.data.sample import SampleKey

__all__ = ["EvalSampler", "PartialLabelBatchSampler"]


class PartialLabelBatchSampler(Sampler[list[SampleKey]]):
    """Batches of a shuffled epoch: every image, in batches of even size, which may all hold labels of every task.

    A global batch has up to `batch_size * world_size` images, of which each rank gets its slice: N ranks with batches
    of B see what one rank with batches of N * B sees. No image is left out: an epoch has the fewest batches that hold
    all images, and their sizes differ by one at most, so that none is too small for batch normalisation. Every rank has
    an image of every batch; where sizes would not allow that (`batch_size` 1), there are fewer and larger batches.

    With `min_labelled` m each global batch holds at least m different images labelled for every task. Tasks with too
    few labelled images have some shown repeatedly ("top-ups", as few as the planner finds, see `plan_batches`), in no
    batch twice; a global batch then never exceeds `batch_size * world_size`, there are more of them instead, and one
    with fewer images than ranks is filled with repeats. How many images are repeated is the same in every epoch.

    The epoch travels with each key, so worker processes that outlive an epoch stay right.

    Args:
        indices: Images to show.
        batch_size: Images per batch and rank.
        seed: Seeds the order, together with the epoch.
        labelled: (images, tasks) bool, rows in the order of `indices`; needed for `min_labelled`.
        tasks: Names of the columns of `labelled`.
        min_labelled: Different images labelled for every task in each global batch; 0: leave it to chance.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        ConfigError: No images, fewer images than ranks, a batch size below 1, or a `min_labelled` that is negative,
            comes without labels, or that the images or the batches are too few for.
    """

    def __init__(
        self,
        indices: Sequence[int],
        batch_size: int,
        seed: int,
        *,
        labelled: npt.NDArray[np.bool_] | None = None,
        tasks: Sequence[str] = (),
        min_labelled: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}", "Give a number of 1 or more.")
        if len(indices) < world_size or len(indices) == 0:
            raise ConfigError(
                f"{counted(len(indices), 'training image')} for {world_size} processes",
                "Add images, or use fewer devices.",
            )
        self.indices = [int(index) for index in indices]
        self.batch_size = batch_size
        self.seed = seed
        self.tasks = tuple(tasks)
        self.min_labelled = min_labelled
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self._skip = 0
        self._plan = self._make_plan(labelled)

    @property
    def sampler(self) -> PartialLabelBatchSampler:
        """Itself: Lightning announces the epoch to `batch_sampler.sampler`."""
        return self

    @property
    def top_ups(self) -> dict[str, int]:
        """Per task, images repeated in an epoch for its sake, over all ranks."""
        numbers = (0,) * len(self.tasks) if self._plan is None else self._plan.top_ups
        return dict(zip(self.tasks, numbers, strict=True))

    @property
    def extra_images(self) -> int:
        """Images that an epoch shows over all ranks beyond showing each once."""
        return 0 if self._plan is None else sum(self._plan.top_ups) + self._plan.fills

    @property
    def signature(self) -> dict[str, int]:
        """What the batches of an epoch depend on; a run that goes on in the middle of one must have the same."""
        return {
            "images": len(self.indices),
            "images per step": self.batch_size * self.world_size,
            "batches": len(self),
            "seed": self.seed,
            "min_labelled": self.min_labelled,
        }

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next pass."""
        self.epoch = epoch

    def skip(self, batches: int) -> None:
        """Lets the next pass, and only that one, start after this many batches; `len` stays that of a whole epoch.

        Raises:
            ConfigError: An epoch does not have as many.
        """
        if not 0 <= batches <= len(self):
            raise ConfigError(
                f"{batches} batches are to be skipped, but an epoch has {len(self)}",
                "Resume with the data, batch size and number of devices of the interrupted run.",
            )
        self._skip = batches

    def __len__(self) -> int:
        """Batches per epoch."""
        if self._plan is not None:
            return len(self._plan)
        number = -(-len(self.indices) // (self.batch_size * self.world_size))
        return min(number, len(self.indices) // self.world_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yields the batches of this rank."""
        # A generator: it takes epoch and skip when first advanced, since torch's loader makes iterators it never uses.
        epoch, start = self.epoch, self._skip
        self._skip = 0
        for batch in self._batches(epoch)[start:]:
            yield [SampleKey(int(index), epoch) for index in batch[self.rank :: self.world_size]]

    def _batches(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        indices = np.asarray(self.indices, dtype=np.int64)
        if self._plan is not None:
            return [indices[rows] for rows in self._plan.draw(self.seed, epoch)]
        return np.array_split(derive_rng(self.seed, "order", epoch).permutation(indices), len(self))

    def _make_plan(self, labelled: npt.NDArray[np.bool_] | None) -> BatchPlan | None:
        if self.min_labelled < 0:
            raise ConfigError(f"min_labelled is {self.min_labelled}", "Give 0 or more.")
        if labelled is not None and (
            labelled.shape != (len(self.indices), len(self.tasks)) or labelled.dtype != np.bool_
        ):
            raise ConfigError(
                f"labels {labelled.shape} of {labelled.dtype} do not fit {counted(len(self.indices), 'image')} and "
                f"{counted(len(self.tasks), 'task')}",
                "Give one boolean row per image to show and one column per task.",
            )
        if self.min_labelled == 0:
            return None
        if labelled is None:
            raise ConfigError(
                f"min_labelled is {self.min_labelled}, but nothing says which images are labelled",
                "Pass `labelled` and `tasks`, or use min_labelled 0.",
            )
        return plan_batches(
            labelled, self.tasks, self.min_labelled, batch_size=self.batch_size, world_size=self.world_size
        )


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
