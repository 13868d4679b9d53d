"""Images per second of ways to training samples, and where each spends its time."""

from __future__ import annotations

import cProfile
import pstats
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from mtdense.core.errors import ConfigError
from mtdense.core.progress import track
from mtdense.data.memory import keep_freed_memory

__all__ = ["Pipeline", "Throughput", "measure_throughput", "one_thread", "spent_by_stage"]

Key = tuple[int, int]


@dataclass(frozen=True)
class Pipeline:
    """A way from stored images to batches.

    Args:
        name: What it is called.
        samples: Maps (index, epoch) to a sample.
        images: Number of images.
        batch_size: Images per batch.
        collate: Makes a batch of samples; None: torch's own way.
        stages: {stage: the functions that it consists of}; for `spent_by_stage`, and none may call another one.
    """

    name: str
    samples: Dataset[Any]
    images: int
    batch_size: int
    collate: Callable[[Any], Any] | None
    stages: Mapping[str, Sequence[Callable[..., Any]]]


@dataclass(frozen=True)
class Throughput:
    """How fast a pipeline was.

    Args:
        pipeline: Its name.
        rates: {workers: images per second in each run}.
        processor: Seconds of processor time per image in each run, in one process; other load changes them little.
    """

    pipeline: str
    rates: Mapping[int, Sequence[float]]
    processor: Sequence[float]

    def rate(self, workers: int) -> float:
        """Images per second, median of the runs."""
        return statistics.median(self.rates[workers])

    @property
    def processor_seconds(self) -> float:
        """Processor time per image, median of the runs."""
        return statistics.median(self.processor)


class _Batches:
    """Keys of all images, batch by batch; each pass is an epoch."""

    def __init__(self, images: int, batch_size: int) -> None:
        self.images, self.batch_size, self.epoch = images, batch_size, 0

    def __iter__(self) -> Iterator[list[Key]]:
        keys = [(index, self.epoch) for index in range(self.images)]
        self.epoch += 1
        return (keys[i : i + self.batch_size] for i in range(0, len(keys), self.batch_size))

    def __len__(self) -> int:
        return -(-self.images // self.batch_size)


def one_thread(worker: int = 0) -> None:
    """Keeps this process to one thread, and to the memory it once had, whatever the pipeline."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    keep_freed_memory()


def measure_throughput(pipelines: Sequence[Pipeline], workers: Sequence[int], runs: int) -> list[Throughput]:
    """Measures pipelines in turn: a run is one pass over all images by each of them, with each number of workers.

    A first pass, which starts workers, fills the file cache and verifies checksums, does not count.

    Args:
        pipelines: What to measure.
        workers: Numbers of worker processes, 1 or more each.
        runs: Passes that count.

    Raises:
        ConfigError: No run, or a number of workers below 1.
    """
    if runs < 1 or not workers or min(workers) < 1:
        raise ConfigError(f"{runs} runs with {list(workers)} workers", "Give whole numbers of 1 or more.")
    one_thread()
    rates: list[dict[int, list[float]]] = [{} for _ in pipelines]
    processor: list[list[float]] = [[] for _ in pipelines]
    for number in workers:
        loaders = [_loader(pipeline, number) for pipeline in pipelines]
        for run in track(range(runs + 1), f"Measuring with {number} worker{'s' * (number > 1)}"):
            for place, loader in enumerate(loaders):
                seconds = _seconds_of_pass(loader)
                if run:
                    rates[place].setdefault(number, []).append(pipelines[place].images / seconds)
        del loaders
    for run in track(range(runs + 1), "Measuring in one process"):
        for place, pipeline in enumerate(pipelines):
            start = time.process_time()
            _use(pipeline, run)
            if run:
                processor[place].append((time.process_time() - start) / pipeline.images)
    return [Throughput(p.name, r, c) for p, r, c in zip(pipelines, rates, processor, strict=True)]


def spent_by_stage(pipeline: Pipeline) -> dict[str, float]:
    """Where the time goes: {stage: seconds of processor time per image}, and "other".

    A profiler's account of one pass in this process: it adds some time to stages of many small calls.

    Raises:
        ConfigError: A stage is made of something that no profiler tells apart.
    """
    one_thread()
    _use(pipeline, 0)
    profile = cProfile.Profile(time.process_time)
    start = time.process_time()
    profile.runcall(_use, pipeline, 1)
    total = time.process_time() - start
    stats: Any = pstats.Stats(profile)
    found = {place: row[3] for place, row in stats.stats.items()}
    spent = {
        stage: sum(found.get(_place(function), 0.0) for function in functions) / pipeline.images
        for stage, functions in pipeline.stages.items()
    }
    return {**spent, "other": max(total / pipeline.images - sum(spent.values()), 0.0)}


def _place(function: Callable[..., Any]) -> tuple[str, int, str]:
    plain = getattr(function, "__func__", function)
    if not isinstance(plain, FunctionType):
        raise ConfigError(f"{function!r} is no Python function", "Name one that is.")
    code = plain.__code__
    return code.co_filename, code.co_firstlineno, code.co_name


def _use(pipeline: Pipeline, epoch: int) -> None:
    for index in range(pipeline.images):
        pipeline.samples[index, epoch]


def _loader(pipeline: Pipeline, workers: int) -> DataLoader[Any]:
    batches: Any = _Batches(pipeline.images, pipeline.batch_size)
    return DataLoader(
        pipeline.samples,
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=True,
        collate_fn=pipeline.collate,
        worker_init_fn=one_thread,
        generator=torch.Generator(),
    )


def _seconds_of_pass(loader: DataLoader[Any]) -> float:
    start = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - start
